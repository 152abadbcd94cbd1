"""A run directory: created or continued, one writer, any reader, and nothing lost when the disk ends."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from tempfile import gettempdir

import pytest

import reflectionflow
from reflectionflow.errors import MisuseError, RunMismatchError, StorageError
from reflectionflow.runs import RunDirectory, RunSpec, verify
from reflectionflow.runs.storage import file_system_of, require_local_disk
from tests.support.running import SPEC, run_all, search, story
from tests.support.strategies import CHAINS_STRATEGY
from tests.support.world import stack

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(reflectionflow.__file__).parents[1])}


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=False, timeout=120, capture_output=True, text=True)


def test_results_are_read_back_as_they_were(tmp_path):
    searches = [search("a red star", CHAINS_STRATEGY, images=7), search("a blue moon", images=3)]
    results = run_all(tmp_path, searches, stack())
    with RunDirectory.read(tmp_path) as run:
        stored = run.results()
        assert [found.result for found in stored] == results
        assert [found.position for found in stored] == [0, 1]
        assert stored[0].search["strategy"] == "chains"
        assert stored[0].search["task"]["budget"]["images"] == 7
        best = results[0].best.candidate
        assert run.image(best.image).size == (best.width, best.height)
        assert run.image_path(best.image).read_bytes().startswith(b"\x89PNG")
        assert next(event["kind"] for event in run.events()) == "run_started"


def test_a_result_that_an_earlier_version_stored_is_read_without_what_it_did_not_know(tmp_path):
    result = run_all(tmp_path, [search("a red star", CHAINS_STRATEGY, images=7)], stack())[0]
    with sqlite3.connect(tmp_path / "journal.sqlite") as journal:
        stored = json.loads(journal.execute("SELECT result FROM results").fetchone()[0])
        del stored["failed_calls"]
        for step in [*stored["steps"], stored["best"]]:
            step["candidate"].pop("left_out", None)
        journal.execute("UPDATE results SET result = ?", (json.dumps(stored),))
    with RunDirectory.read(tmp_path) as run:
        assert run.results()[0].result == result
    assert verify(tmp_path).ok


def test_a_larger_budget_replaces_the_result_of_the_same_search(tmp_path):
    run_all(tmp_path, [search(images=2)], stack())
    run_all(tmp_path, [search(images=4)], stack())
    with RunDirectory.read(tmp_path) as run:
        assert [len(found.result.steps) for found in run.results()] == [4]


def test_another_spec_is_refused_naming_what_differs(tmp_path):
    RunDirectory.open(tmp_path, {"stack": "tiny", "seed": 1, "budget": {"images": 2}}).close()
    with pytest.raises(RunMismatchError, match=r"seed \(1 there, 2 now\)") as caught:
        RunDirectory.open(tmp_path, {"stack": "tiny", "seed": 2, "budget": {"images": 2}})
    assert "stack" not in str(caught.value)


def test_what_differs_is_named_down_to_the_nested_key(tmp_path):
    RunDirectory.open(tmp_path, {"models": {"generator": "a@1", "verifier": "v@1"}}).close()
    with pytest.raises(RunMismatchError, match=r'other values of models\.generator \("a@1" there, "b@2" now\);'):
        RunDirectory.open(tmp_path, {"models": {"generator": "b@2", "verifier": "v@1"}})


def test_the_budget_of_a_run_may_change_and_is_kept_up_to_date(tmp_path):
    RunDirectory.open(tmp_path, {"stack": "tiny", "budget": {"images": 2}}).close()
    RunDirectory.open(tmp_path, {"stack": "tiny", "budget": {"images": 9}}).close()
    with RunDirectory.read(tmp_path) as run:
        assert run.spec.resolved["budget"] == {"images": 9}


def test_a_spec_is_kept_as_passed_and_as_resolved(tmp_path):
    RunDirectory.open(tmp_path, RunSpec({"stack": "scenes"}, {"stack": "scenes@1", "steps": 20})).close()
    RunDirectory.open(tmp_path, RunSpec({"stack": "scenes@1"}, {"stack": "scenes@1", "steps": 20})).close()
    with RunDirectory.read(tmp_path) as run:
        assert run.spec == RunSpec({"stack": "scenes@1"}, {"stack": "scenes@1", "steps": 20})
        assert run.header["packages"]["numpy"]


def test_a_directory_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(MisuseError, match=r"thesis\.tex"):
        RunDirectory.open(tmp_path, SPEC)
    with pytest.raises(MisuseError, match="is a file"):
        RunDirectory.open(tmp_path / "thesis.tex", SPEC)
    with pytest.raises(MisuseError, match="is not a run"):
        RunDirectory.read(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_second_process_is_told_who_writes_the_run(tmp_path):
    attempt = (
        "import sys; from reflectionflow.runs import RunDirectory; from reflectionflow.errors import RunMismatchError\n"
        "try: RunDirectory.open(sys.argv[1], {'stack': 'tiny'})\n"
        "except RunMismatchError as error: print(error)\n"
        "else: print('opened')\n"
    )
    with RunDirectory.open(tmp_path, SPEC) as run:
        refused = python(attempt, tmp_path)
        assert f"is being written by process {os.getpid()}" in refused.stdout, refused
        with pytest.raises(RunMismatchError, match="is being written"):
            RunDirectory.open(tmp_path, SPEC)
        with RunDirectory.read(tmp_path) as reader:
            assert reader.spec == run.spec
    assert python(attempt, tmp_path).stdout == "opened\n"


@pytest.mark.parametrize("place", ["journal", "header"])
def test_another_schema_version_is_refused(tmp_path, place):
    RunDirectory.open(tmp_path, SPEC).close()
    if place == "journal":
        with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
            connection.execute("UPDATE meta SET value = '99'")
        connection.close()
    else:
        header = json.loads((tmp_path / "run.json").read_text())
        (tmp_path / "run.json").write_text(json.dumps({**header, "schema_version": 99}))
    for attempt in (lambda: RunDirectory.open(tmp_path, SPEC), lambda: RunDirectory.read(tmp_path)):
        with pytest.raises(RunMismatchError, match=r"schema version 99.*start a new run"):
            attempt()


def test_leftovers_of_a_killed_process_are_noted_and_removed_on_opening(tmp_path):
    run_all(tmp_path, [search(images=2)], stack())
    folder = next(path for path in (tmp_path / "images").iterdir())
    (folder / ".abc.png.17.tmp").write_bytes(b"half")
    with (tmp_path / "events.jsonl").open("ab") as events:
        events.write(b'{"kind": "dra')
    report = verify(tmp_path)
    assert report.ok
    assert "1 temporary files" in report.notes[0]
    with RunDirectory.read(tmp_path) as run:
        before = list(run.events())
    RunDirectory.open(tmp_path, SPEC).close()
    assert not (folder / ".abc.png.17.tmp").exists()
    assert (tmp_path / "events.jsonl").read_bytes().endswith(b"}\n")
    with RunDirectory.read(tmp_path) as run:
        assert list(run.events()) == before


def open_to_all(folder):
    """Let everybody into a test's folder: those above it are pytest's own, more of them in a process of several."""
    above = (path for path in (folder, *folder.parents) if path.is_relative_to(Path(gettempdir())))
    for path in above:
        if path != Path(gettempdir()) and path.stat().st_uid == os.getuid():
            path.chmod(0o755)


def test_a_finished_run_can_be_read_from_a_read_only_directory(tmp_path):
    results = run_all(tmp_path / "run", [search(images=2)], stack())
    code = (
        "import os, sys; from reflectionflow.runs import RunDirectory\n"
        "os.setuid(65534)\n"  # somebody who may read but not write
        "run = RunDirectory.read(sys.argv[1]); print(len(run.results()[0].result.steps))\n"
    )
    open_to_all(tmp_path)
    if os.getuid() == 0:
        assert python(code, tmp_path / "run").stdout == "2\n"
    else:
        (tmp_path / "run").chmod(0o555)
        try:
            with RunDirectory.read(tmp_path / "run") as run:
                assert run.results()[0].result == results[0]
        finally:
            (tmp_path / "run").chmod(0o755)


def test_an_unwritable_place_is_said_in_a_sentence(tmp_path):
    code = (
        "import os, sys; from reflectionflow.runs import RunDirectory\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "from reflectionflow.errors import MisuseError\n"
        "try: RunDirectory.open(sys.argv[1] + '/run', {})\n"
        "except MisuseError as error: print(error)\n"
    )
    open_to_all(tmp_path)
    tmp_path.chmod(0o555)
    done = python(code, tmp_path)
    assert "cannot be made (Permission denied); choose another directory" in done.stdout, done


LIMITED = """
import resource, sys
from reflectionflow.errors import StorageError
from reflectionflow.types import StopReason
from tests.support.running import run_all, search
from tests.support.world import stack
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try: run_all(__import__("pathlib").Path(sys.argv[1]), [search(images=40)], stack())
except StorageError as error: print(error)
"""


def test_when_the_disk_is_full_nothing_journaled_is_lost(tmp_path):
    done = python(LIMITED, tmp_path / "a", 60_000)  # no file may grow beyond this, as on a full disk
    assert "run the same command again to continue" in done.stdout, done
    kept = verify(tmp_path / "a")
    assert kept.ok, kept.problems
    assert kept.calls > 0
    continued = run_all(tmp_path / "a", [search(images=40)], stack())[0]
    whole = run_all(tmp_path / "b", [search(images=40)], stack())[0]
    assert story(continued) == story(whole)
    assert continued.paid.images < 40


Partition = namedtuple("Partition", "mountpoint fstype")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p", "ceph", "lustre"])
def test_a_network_file_system_is_refused(kind):
    mounts = [Partition("/", "ext4"), Partition("/home", kind)]
    with pytest.raises(MisuseError, match=rf"network file system \({kind}\)"):
        require_local_disk(Path("/home/ada/run"), mounts)
    require_local_disk(Path("/homework/run"), mounts)


def test_the_innermost_mount_counts_and_the_last_of_several_on_one_place():
    mounts = [
        Partition("/", "ext4"),
        Partition("/data", "nfs"),
        Partition("/data/fast", "xfs"),
        Partition("/", "btrfs"),
    ]
    assert file_system_of(Path("/data/fast/run"), mounts) == "xfs"
    assert file_system_of(Path("/data/run"), mounts) == "nfs"
    assert file_system_of(Path("/run"), mounts) == "btrfs"
    assert file_system_of(Path("relative"), []) == ""


def test_closing_twice_does_nothing(tmp_path):
    run = RunDirectory.open(tmp_path, SPEC)
    run.close()
    run.close()


def test_a_damaged_header_is_said_in_a_sentence(tmp_path):
    RunDirectory.open(tmp_path, SPEC).close()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StorageError, match=r"run\.json is damaged"):
        RunDirectory.open(tmp_path, SPEC)
