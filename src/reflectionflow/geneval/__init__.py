"""GenEval's prompts, and its decision rules for detections from any detector.

Reimplements `prompts/create_prompts.py`, `evaluation/evaluate_images.py` and `evaluation/summary_scores.py` of
djghosh13/geneval @ af4902f (MIT) from their description: what is asked for, which detections count, when a picture
satisfies its prompt, what the scores of a suite are.
Detectors and colour classifiers are arguments; this package needs numpy alone and imports nothing else of ours.

One deviation: when two relations hold at once, the reason names them in the order left, right, above, below, where the
original joins a Python set in an order that changes from run to run.
"""

from __future__ import annotations

from reflectionflow.geneval.filtering import keep, overlap
from reflectionflow.geneval.records import ResultRecord, read_records, write_records
from reflectionflow.geneval.relations import relations
from reflectionflow.geneval.rules import ColourClassifier, decide, own_colours, threshold_for
from reflectionflow.geneval.scores import Summary, TagScore, summarise
from reflectionflow.geneval.suite import (
    METADATA_SHA256,
    NAMES_SHA256,
    PROMPTS_SHA256,
    metadata_text,
    names_text,
    prompts_text,
    suite,
)
from reflectionflow.geneval.types import (
    COLORS,
    COUNTING,
    RELATIONS,
    Clause,
    Decision,
    Detection,
    Metadata,
    Options,
    Position,
)
from reflectionflow.geneval.vocabulary import OBJECTS

__all__ = [
    "COLORS",
    "COUNTING",
    "METADATA_SHA256",
    "NAMES_SHA256",
    "OBJECTS",
    "PROMPTS_SHA256",
    "RELATIONS",
    "Clause",
    "ColourClassifier",
    "Decision",
    "Detection",
    "Metadata",
    "Options",
    "Position",
    "ResultRecord",
    "Summary",
    "TagScore",
    "decide",
    "keep",
    "metadata_text",
    "names_text",
    "overlap",
    "own_colours",
    "prompts_text",
    "read_records",
    "relations",
    "suite",
    "summarise",
    "threshold_for",
    "write_records",
]
