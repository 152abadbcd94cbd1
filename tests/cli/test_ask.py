"""`generate --ask`: a person sees every reflection before it is used."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from PIL import Image
from tests.support.running import run_all, search
from tests.support.stacks import PLUGINS, ROOT, tiny_stack
from tests.support.world import Brightness, Critic, Painter, Reordered, stack

from reflectionflow.models.person import ATTEMPTS, InTurn, Person, Review, asking
from reflectionflow.roles import ReflectRequest, Worker
from reflectionflow.runs import RunDirectory
from reflectionflow.search.reflection import REFLECTION
from reflectionflow.types import Candidate, Failure, Recipe, Reflection

PROMPT = "a red star"


class Says:
    """A person with a fixed way of answering, who remembers what was shown."""

    def __init__(self, answer):
        self.answer = answer
        self.shown: list[Review] = []

    def review(self, item: Review) -> str:
        self.shown.append(item)
        return self.answer(item)


def request() -> ReflectRequest:
    candidate = Candidate(Recipe("g@1", PROMPT, 1, 16, 16, 5, 3.5), "ab" * 32, 16, 16)
    return ReflectRequest(candidate, Image.new("RGB", (16, 16)), PROMPT)


def test_an_accepted_reflection_keeps_the_models_edits():
    person = Person(Says(lambda item: item.suggestion.text), Critic())
    found = person.reflect([request()])[0]
    assert found.text == "make it brighter than 0.0000 (0 before)"
    assert found.edits == (found.text,)
    assert found.reflector == person.name == "person@1(critic@1)"


def test_a_replaced_reflection_is_the_persons():
    found = Person(Says(lambda item: " paint the star red "), Critic()).reflect([request()])[0]
    assert (found.text, found.edits) == ("paint the star red", ("paint the star red",))


def test_a_skipped_picture_has_nothing_to_correct():
    assert Person(Says(lambda item: ""), Critic()).reflect([request()])[0].nothing_to_correct


def test_a_failed_suggestion_leaves_the_word_to_the_person():
    class Mute(Critic):
        def _reflect(self, item):
            return Reflection(item.candidate.id, self.name, failure="No words came.")

    says = Says(lambda item: "redder")
    assert Person(says, Mute()).reflect([request()])[0].text == "redder"
    assert says.shown[0].suggestion.failure == "No words came."


def test_an_adviser_out_of_reach_is_asked_again_before_the_person_is(tmp_path):
    tries = []

    def at_first(answers):
        tries.append(answers)
        return answers if len(tries) > 1 else [Failure(item.candidate, "time-out", transient=True) for item in answers]

    says = Says(lambda item: "more light")
    models = asking(stack(reflector=Reordered(Critic(), at_first)), says)
    result = run_all(tmp_path, [search(strategy=REFLECTION.configured(width=1, drafts=1), images=2)], models)[0]
    assert result.steps[1].candidate.recipe.reflection == "more light"
    assert (len(tries), len(says.shown)) == (2, 1)


def test_an_adviser_out_of_reach_for_good_leaves_the_word_to_the_person():
    away = Reordered(Critic(), lambda answers: [Failure(item.candidate, "gone") for item in answers])
    says = Says(lambda item: "redder")
    assert Person(says, away).reflect([request()])[0].text == "redder"
    assert says.shown[0].suggestion.failure == "gone"


@pytest.mark.parametrize("adviser", [Critic(), None], ids=["with a model", "alone"])
def test_a_person_takes_part_in_a_search_and_is_never_asked_twice(tmp_path, adviser):
    says = Says(lambda item: "more light")
    models = asking(stack(reflector=adviser), says)
    assert models.reflector.worker is Worker.REMOTE
    chosen = REFLECTION.configured(width=1, drafts=2, rank="score")
    result = run_all(tmp_path, [search(strategy=chosen, images=5)], models)[0]
    assert {step.candidate.recipe.reflection for step in result.steps[2:]} == {"more light"}
    assert len(says.shown) == 3
    assert all((item.suggestion is None) == (adviser is None) for item in says.shown)
    assert all(item.score is not None for item in says.shown)
    run_all(tmp_path, [search(strategy=chosen, images=6)], models)
    assert len(says.shown) == 4


KNOWN = replace(Painter().capabilities, words=frozenset(["make", "the", "star", "bigger"]))


def test_a_person_is_told_which_words_cannot_be_painted_and_asked_again():
    answers = iter(["make the star bigger and sparkly", "make the star glow", "make the star bigger"])
    says = Says(lambda item: next(answers))
    found = Person(says, None, Painter(name="corrector@1", capabilities=KNOWN)).reflect([request()])[0]
    assert (found.text, found.failure) == ("make the star bigger", None)
    problems = [item.problem for item in says.shown]
    assert problems[0] == ""
    assert problems[1] == ("corrector@1 does not know the words 'and', 'sparkly'; it knows bigger, make, star, the.")
    assert "'glow'" in problems[2]


def test_a_picture_may_be_skipped_after_words_that_cannot_be_painted():
    answers = iter(["sparkly", ""])
    person = Person(Says(lambda item: next(answers)), None, Painter(capabilities=KNOWN))
    assert person.reflect([request()])[0].nothing_to_correct


def test_a_program_in_the_place_of_a_person_that_never_learns_fails_that_reflection(tmp_path):
    says = Says(lambda item: "sparkly")
    models = asking(stack(corrector=Painter(name="corrector@1", capabilities=KNOWN)), says)
    chosen = REFLECTION.configured(width=1, drafts=1, rank="score")
    wanted = search("make the star bigger", chosen, images=3)
    result = run_all(tmp_path, [wanted], models)[0]
    assert len(says.shown) == 2 * ATTEMPTS
    assert all("does not know the word 'sparkly'" in lost.reason for lost in result.failed_calls)
    assert len(result.failed_calls) == 2


def test_a_model_of_several_roles_is_asked_by_one_thread_at_a_time():
    class Both(Critic, Brightness):
        def __init__(self):
            Critic.__init__(self)
            self.inside = 0
            self.entered, self.go_on = Event(), Event()

        def reflect(self, items):
            self.entered.set()
            assert self.go_on.wait(60)
            return Critic.reflect(self, items)

        def judge(self, questions):
            assert self.go_on.is_set(), "judged while it was reflecting"
            return []

    model = Both()
    models = asking(stack(reflector=model, verifier=model), Says(lambda item: "more"))
    assert isinstance(models.verifier, InTurn)
    assert models.verifier.name == model.name
    reflecting = Thread(target=models.reflector.reflect, args=([request()],))
    reflecting.start()
    assert model.entered.wait(60)
    judging = Thread(target=models.verifier.judge, args=([],))
    judging.start()
    model.go_on.set()
    reflecting.join()
    judging.join()


# the terminal


def command(tmp_path, *arguments, corrector="PAINTER"):
    path = tiny_stack(tmp_path / "tiny.toml", corrector=corrector)
    base = [sys.executable, "-m", "reflectionflow", "generate", PROMPT, "--stack", str(path), "--ask", "--json"]
    strategy = ["--strategy", "reflection", "--width", "1", "--drafts", "1", "--no-refine", "--out", "out"]
    return [*base, *strategy, *arguments]


def environment(**more):
    paths = [str(PLUGINS), str(ROOT), str(ROOT / "src")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def ask(tmp_path, answers, *arguments, corrector="PAINTER", **more):
    return subprocess.run(
        command(tmp_path, *arguments, corrector=corrector),
        input=answers,
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env=environment(**more),
        check=False,
    )


def reflections(folder):
    with RunDirectory.read(folder) as run:
        steps = run.results()[0].result.steps
    return [step.candidate.recipe.reflection for step in steps]


def test_accept_replace_edit_and_skip(tmp_path):
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nprintf "edited: " | cat - "$1" > "$1.new" && mv "$1.new" "$1"\n')
    editor.chmod(0o755)
    done = ask(tmp_path, "\npaint it red\ne\ns\n", "--images", "5", VISUAL=str(editor))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["spend"]["images"] == 5
    draft, accepted, replaced, edited, skipped = reflections(tmp_path / "out")
    assert draft is None
    assert accepted.startswith("make it brighter than")
    assert replaced == "paint it red"
    assert edited.startswith("edited: make it brighter than")
    assert skipped is None  # a fresh draft in place of a correction
    shown = re.findall(r"^Picture: (\S+\.png) \(score 0\.\d{4}\)$", done.stderr, re.MULTILINE)
    assert len(shown) == 4
    assert all((tmp_path / path).is_file() for path in shown)
    assert "Reflection: make it brighter" in done.stderr


def test_words_that_the_corrector_does_not_know_are_told_and_asked_for_again(tmp_path):
    done = ask(tmp_path, "a sparkly star\npaint it red\n", "--images", "2", corrector="LITERAL")
    assert done.returncode == 0, done.stderr
    assert "That cannot be used: painter@1 does not know the word 'sparkly'; it knows" in done.stderr
    assert reflections(tmp_path / "out")[1] == "paint it red"


def test_the_end_of_the_input_is_a_sentence_and_the_same_command_goes_on(tmp_path):
    first = ask(tmp_path, "paint it red\n", "--images", "4")
    assert first.returncode == 1
    assert "Error: The input ended before every reflection had an answer" in first.stderr
    assert "Traceback" not in first.stderr
    assert first.stdout == ""
    second = ask(tmp_path, "paint it blue\npaint it green\n", "--images", "4")
    assert second.returncode == 0, second.stderr
    assert reflections(tmp_path / "out") == [None, "paint it red", "paint it blue", "paint it green"]


def test_an_editor_that_does_not_work_is_told_and_asked_again(tmp_path):
    done = ask(tmp_path, "e\nby hand\n", "--images", "2", VISUAL="no-such-editor")
    assert done.returncode == 0
    assert "The editor 'no-such-editor' did not work" in done.stderr
    assert reflections(tmp_path / "out")[1] == "by hand"


def test_ctrl_c_while_a_person_is_asked_ends_with_130(tmp_path):
    process = subprocess.Popen(
        command(tmp_path, "--images", "3"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(),
    )
    shown = b""
    while not shown.endswith(b"> "):
        shown += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert b"the same command continues there" in err
    assert b"Fatal" not in err
    assert b"Traceback" not in err


def test_on_a_terminal_the_bar_leaves_the_screen_to_the_question(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(tmp_path, "--images", "3"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=tmp_path,
        env=environment(TERM="xterm", COLUMNS="120"),
    )
    os.close(theirs)
    shown, answered = b"", 0
    with os.fdopen(ours, "r+b", buffering=0) as screen, suppress(OSError):  # Linux reports the last writer's end so
        while part := screen.read(4096):
            shown += part
            while shown.count(b"\n> ") > answered:
                answered += 1
                screen.write(b"paint it red\n")
    out, _ = process.communicate()
    assert process.returncode == 0, shown.decode()
    assert answered == 2
    assert json.loads(out)["spend"]["images"] == 3
    text = shown.decode()
    for question in text.split("Picture: ")[1:]:
        asked = question.split("\r\n> ")[0]
        assert "pictures painted" not in asked  # the bar is not drawn into the question
    assert "3 of 3 pictures painted" in text
    assert reflections(Path(tmp_path, "out"))[1:] == ["paint it red"] * 2
