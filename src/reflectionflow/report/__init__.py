"""What a finished search looks like to a person: the HTML page, the sheets, the picture with its own story.

Everything here is made from a `Story`, which a run directory alone can tell, so that old runs can be drawn again.
"""

from __future__ import annotations

from reflectionflow.report.page import html_page
from reflectionflow.report.picture import best_picture, describe_picture
from reflectionflow.report.sheet import contact_sheet
from reflectionflow.report.story import Story
from reflectionflow.report.strip import Way, chain_sheet, path_sheet

__all__ = [
    "Story",
    "Way",
    "best_picture",
    "chain_sheet",
    "contact_sheet",
    "describe_picture",
    "html_page",
    "path_sheet",
]
