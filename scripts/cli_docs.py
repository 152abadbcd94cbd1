"""Write docs/cli.md from the command line's own help: `python scripts/cli_docs.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from reflectionflow.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """# The command line

Written by `python scripts/cli_docs.py` from the commands' own help; a test fails when it is out of date.

Results for programs go to stdout, everything for people to stderr. Exit codes: 0 done; 1 a model, its files or the disk
failed, or no picture could be painted and judged; 2 the command asked for something that cannot be done; 130 it was
interrupted (the same command continues).

## What `generate --json` prints

One JSON object:

```json
{
  "best": {"path": "runs/…/best.png", "candidate": "rf1:…", "score": 0.8312},
  "spend": {"images": 16, "denoiser_evaluations": 320, "verifier_calls": 16, "reflector_calls": 0,
            "refiner_calls": 0, "tokens": 0, "seconds": 21.5},
  "paid": {"images": 0, "…": 0},
  "stop": "budget",
  "failed": {"reflections": {"failed": 2, "asked": 9, "reason": "The reflector's answer is empty."}},
  "run": "runs/…"
}
```

`spend` is charged as if the search had run alone; `paid` is what this command really computed, so it is zero when
the run's journal already held every answer. `best` is null when nothing could be painted and judged (exit code 1).
`failed` counts the reflections and refinements that failed, with the most frequent reason; it is empty if none did.
With several prompts, or with `--prompts`, it is `{"results": [...]}` with one such object per prompt, in their order,
each with its `"prompt"` and, as `"run"`, the folder of its own inside the run directory.
"""


def pages(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every command that has help of its own, depth first."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from pages(child, (*path, name))


def text() -> str:
    """Return the whole page."""
    runner = CliRunner()
    parts = [HEAD]
    for path in pages(typer.main.get_command(app)):
        help_text = runner.invoke(app, [*path, "--help"], prog_name="reflectionflow").stdout
        parts.append(f"## `{' '.join(('reflectionflow', *path))}`\n\n```text\n{help_text.strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
