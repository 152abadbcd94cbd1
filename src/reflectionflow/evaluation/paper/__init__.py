"""The tables and figures of arXiv 2504.16080, with our numbers and the paper's own beside them, from one evaluation.

methods.py    which methods the paper compares, and which of them a stack can play
picking.py    other verifiers pick from the pictures of one method
exhibits.py   every table and figure as numbers with intervals
published.py  what the paper printed
writing.py    paper.md, paper.html, paper.json
"""

from __future__ import annotations

from reflectionflow.evaluation.paper.making import chosen, make
from reflectionflow.evaluation.paper.methods import Lineup, lineup

__all__ = ["Lineup", "chosen", "lineup", "make"]
