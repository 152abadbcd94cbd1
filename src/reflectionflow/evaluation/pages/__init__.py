"""What a finished evaluation looks like to a person: Markdown, one self-contained HTML page, a page per prompt."""

from __future__ import annotations

from reflectionflow.evaluation.pages.writing import write_all

__all__ = ["write_all"]
