"""Stack files of the tiny world, for tests of the whole program."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "tests" / "plugins"
USUAL = {
    "generator": "PAINTER",
    "verifier": "BRIGHTNESS",
    "corrector": "PAINTER",
    "reflector": "CRITIC",
    "refiner": "REWRITER",
}


def tiny_stack(path: Path, **parts: str | None) -> Path:
    """Write a stack of the tiny world's models, some replaced by another spec or left out; return its file."""
    tables = [
        f'[{role}]\nmodel = "tiny_world:{spec}"\n' for role, spec in {**USUAL, **parts}.items() if spec is not None
    ]
    path.write_text("\n".join(['name = "tiny"\ndescription = "a test"\n', *tables]), encoding="utf-8")
    return path
