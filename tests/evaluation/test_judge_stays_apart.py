"""The judge of evaluations is nobody's verifier, labeller or teacher: imports are read from the source, not run."""

import ast
import shutil
from pathlib import Path

import pytest

import reflectionflow
from reflectionflow.evaluation.geneval import ScenesJudge as FolderJudge
from reflectionflow.evaluation.judges import ScenesJudge
from reflectionflow.evaluation.revision import rules_revision, scenes_revision

HOME = Path(reflectionflow.__file__).parent
JUDGE = "reflectionflow.evaluation"
NEVER_JUDGED_BY = ("genref", "tuning", "search", "models", "runtime", "runs")
JUDGE_B = ("scenes_judge", "explain", "shapes", "silhouettes", "colours")


def imported(source, package):
    """Return the absolute names of all modules a source imports, at the top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            home = ".".join([*parts, *([node.module] if node.module else [])])
            names |= {home, *(f"{home}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            # importlib.import_module("…") and the like.
            names |= {node.args[0].value} if isinstance(node.args[0].value, str) else set()
    return names


def sources(folder):
    for path in sorted((HOME / folder).rglob("*.py")):
        parts = path.relative_to(HOME.parent).with_suffix("").parts
        yield path.relative_to(HOME).as_posix(), imported(path.read_text(encoding="utf-8"), ".".join(parts[:-1]))


def within(name, package):
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("folder", NEVER_JUDGED_BY)
def test_nothing_that_searches_labels_or_trains_imports_the_judge(folder):
    guilty = [path for path, names in sources(folder) if any(within(name, JUDGE) for name in names)]
    assert guilty == []


def test_the_judge_imports_nothing_that_searches_labels_trains_or_draws():
    forbidden = [f"reflectionflow.{name}" for name in (*NEVER_JUDGED_BY, "scenes.renderer", "scenes.world")]
    used = {path: names for path, names in sources("evaluation") if Path(path).stem in JUDGE_B}
    assert len(used) == len(JUDGE_B)
    guilty = [(path, name) for path, names in used.items() for name in names for bad in forbidden if within(name, bad)]
    assert guilty == []


def test_genevals_rules_import_numpy_and_nothing_else_of_ours():
    names = {name for _, found in sources("geneval") for name in found}
    ours = {name for name in names if within(name, "reflectionflow") and not within(name, "reflectionflow.geneval")}
    assert ours == set()
    assert not any(within(name, heavy) for name in names for heavy in ("torch", "scipy", "PIL"))


@pytest.mark.parametrize(
    "source",
    [
        "import reflectionflow.evaluation",
        "from reflectionflow.evaluation.scenes_judge import judge",
        "from reflectionflow import evaluation",
        "def late():\n    from reflectionflow.evaluation import shapes",
        "from ..evaluation import scenes_judge",
        "import importlib\nimportlib.import_module('reflectionflow.evaluation.scenes_judge')",
    ],
)
def test_the_check_sees_every_way_of_importing(source):
    assert any(within(name, JUDGE) for name in imported(source, "reflectionflow.search"))


@pytest.mark.parametrize("name", ["rules", "relations", "filtering", "types"])
def test_other_rules_make_other_judges(name, tmp_path):
    home = tmp_path / "reflectionflow"
    for folder in ("evaluation", "geneval"):
        shutil.copytree(HOME / folder, home / folder)
    assert (scenes_revision(home), rules_revision(home)) == (scenes_revision(), rules_revision())
    with (home / "geneval" / f"{name}.py").open("a") as file:
        file.write("# another rule")
    assert scenes_revision(home) != scenes_revision()
    assert rules_revision(home) != rules_revision()


def test_both_judges_of_scenes_are_named_by_what_they_decide_by():
    assert ScenesJudge().name == f"scenes-judge@{scenes_revision()}"
    assert FolderJudge().name == f"scenes@{scenes_revision()}"
