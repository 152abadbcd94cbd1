"""No page of the project leads to a file that is not there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
MARKDOWN = re.compile(r"\]\(([^)\s]+)\)")
HTML = re.compile(r'(?:href|src)="([^"]+)"')
ELSEWHERE = ("http://", "https://", "mailto:", "data:", "#")


def targets(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = (MARKDOWN if page.suffix == ".md" else HTML).findall(text)
    return {target.split("#")[0] for target in found if not target.startswith(ELSEWHERE)}


def test_every_link_of_the_projects_pages_leads_somewhere() -> None:
    listed = subprocess.run(["git", "ls-files", "*.md", "*.html"], cwd=ROOT, capture_output=True, text=True, check=True)
    pages = [
        ROOT / name
        for name in listed.stdout.split()
        if (ROOT / name).exists() and not name.startswith(("tests/", "src/"))
    ]
    assert len(pages) > 30
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in sorted(targets(page))
        if not (page.parent / target).exists()
    ]
    assert dead == []
