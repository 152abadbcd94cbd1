"""The tables and figures of arXiv 2504.16080, with our numbers and the paper's own beside them, from one evaluation.

methods.py    which methods the paper compares, and which of them a stack can play
named.py      further models that a user names
picking.py    other verifiers pick from the pictures of one method (Figure 4)
reflecting.py other reflectors criticise the same failed drafts, criticism.py tells what they are worth (Figure 2)
control.py    another generator, tuned without a condition, in place of the stack's
chains.py     chains to look at (Figure 5)
dataset.py    the data set in numbers (Figure 1)
exhibits.py   every table and figure as numbers with intervals; scoped.py: those of several sets of prompts;
              material.py: what they are made from
published.py  what the paper printed
writing.py    paper.md and paper.html, with pictures by looking.py; records.py: paper.json
"""

from __future__ import annotations

from reflectionflow.evaluation.paper.making import Beside, Made, chosen, make, nobody
from reflectionflow.evaluation.paper.methods import Lineup, lineup

__all__ = ["Beside", "Lineup", "Made", "chosen", "lineup", "make", "nobody"]
