from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from reflectionflow import stack

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
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ndescription = "a test"\n[generator]\nmodel = "example-discs"\n'
        '[verifier]\nmodel = "brightness:SPEC"\ntarget = 0.8\n'
    )
    assert stack.load(path).verifier.target == 0.8
