from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

from reflectionflow import stack
from reflectionflow.cli import app

ROOT = Path(__file__).parent.parent.parent


def test_the_page_of_the_command_line_is_current():
    spec = importlib.util.spec_from_file_location("cli_docs", ROOT / "scripts" / "cli_docs.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    assert program.PAGE.read_text(encoding="utf-8") == program.text(), "run `python scripts/cli_docs.py`"


def test_the_plug_in_of_the_docs_runs_and_has_twenty_lines(example, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith("#")]) <= 20
    (tmp_path / "brightness.py").write_text(code, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "brightness", raising=False)
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ndescription = "a test"\n[generator]\nmodel = "example-discs"\n'
        '[verifier]\nmodel = "brightness:SPEC"\ntarget = 0.8\n'
    )
    before = list(sys.path)
    assert stack.load(path).verifier.target == 0.8
    assert sys.path == before


def commands():
    """Yield (page, command line) of every whole command that the README and the docs tell to run."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^(?: {4}|)(?:\.venv/bin/)?reflectionflow [^\n]*", text, re.MULTILINE)
        inline = re.findall(r"`(?:time )?(?:\.venv/bin/)?(reflectionflow [a-z][^`\n]*)`", text)
        for line in [*blocks, *inline]:
            for command in re.split(r" && ", line):
                bare = re.sub(r"[\[\]]", "", re.sub(r" {2,}[#\w].*| #.*", "", command.strip()))
                found = re.sub(
                    r"\|\S+", "", bare.removeprefix(".venv/bin/")
                )  # of a choice the first, of [ ] the inside
                if found.startswith("reflectionflow ") and page.name != "cli.md":
                    yield page.name, found


def parsed(words: list[str]):
    """Parse a command line as the program does, down to its verb, and run nothing."""
    command, context = typer.main.get_command(app), None
    while True:
        context = command.make_context(command.name, list(words), parent=context)
        if not hasattr(command, "commands"):
            return command.name
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])


def read_as_the_program_does(line: str) -> None:
    """Parse a command line; a verb that running text only names may lack what it requires."""
    filled = re.sub(r"\b(PRICE|S)\b", "1", re.sub(r" …(?= |$)", "", line))
    try:
        parsed(shlex.split(filled)[1:])
    except typer.Exit as done:
        if done.exit_code != 0:
            raise
    except typer.BadParameter as error:
        if type(error).__name__ != "MissingParameter":
            raise


def test_every_command_of_the_readme_and_the_docs_is_one_the_program_takes(capsys):
    told = list(commands())
    assert len(told) > 50
    assert {"README.md", "evaluation.md", "search.md", "geneval.md"} <= {page for page, _ in told}
    for _, line in told:
        read_as_the_program_does(line)


@pytest.mark.parametrize(
    "line", ["generate x --strategie noise", "generate x --images many", "generrate x", "genref biuld", "paper --oracl"]
)
def test_a_command_that_the_program_does_not_take_would_be_found(line):
    with pytest.raises(Exception, match=r"No such|not a valid|valid integer") as found:
        read_as_the_program_does(f"reflectionflow {line}")
    assert not isinstance(found.value, SystemExit)
