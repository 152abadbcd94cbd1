"""When a picture satisfies its prompt (`evaluate` and `evaluate_image` in djghosh13/geneval)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from reflectionflow.geneval.filtering import keep
from reflectionflow.geneval.relations import relations
from reflectionflow.geneval.types import COLORS, COUNTING, Clause, Decision, Detection, Metadata, Options, Position

Objects = tuple[Detection, ...]


class ColourClassifier(Protocol):
    """Names the colour of detected objects; closes over the picture they were found in."""

    def __call__(self, class_name: str, detections: Sequence[Detection]) -> Sequence[str]:
        """Return one of `COLORS` for each detection, in order; called once per colour clause with all it must name."""


def own_colours(class_name: str, detections: Sequence[Detection]) -> Sequence[str]:
    """Return the colours that the detector itself gave.

    Raises:
        ValueError: if a detection has none.
    """
    missing = sum(item.colour is None for item in detections)
    if missing:
        raise ValueError(
            f"{missing} of {len(detections)} detections of {class_name!r} have no colour; "
            "use a detector that names colours or pass a colour classifier."
        )
    return [item.colour for item in detections if item.colour is not None]


def threshold_for(tag: str, options: Options) -> float:
    """Return the score a detection must exceed for prompts of this tag."""
    return options.counting_threshold if tag == COUNTING else options.threshold


def decide(
    metadata: Metadata,
    detections: Mapping[str, Sequence[Detection]],
    colours_of: ColourClassifier = own_colours,
    options: Options | None = None,
) -> Decision:
    """Decide whether the detections satisfy the prompt.

    Args:
        metadata: The prompt and its clauses.
        detections: What a detector saw, per class, unfiltered and in its own order; `Decision.kept` follows the
            mapping's order of classes.
        colours_of: Asked for the colour of the `count` most confident objects of each colour clause, and no others.
        options: Thresholds; the official ones when none.

    Raises:
        ValueError: if the colour classifier answers with a name outside `COLORS`, or with too few or too many names.
    """
    options = options or Options()
    threshold = threshold_for(metadata.tag, options)
    kept = {name: keep(items, threshold, options) for name, items in detections.items()}
    kept = {name: items for name, items in kept.items() if items}
    faults: list[str] = []
    groups: list[Objects | None] = []
    for clause in metadata.include:
        found = kept.get(clause.class_name, ())[: clause.count]
        fault = _clause_fault(clause, found, groups, colours_of, options)
        groups.append(found if fault is None else None)
        faults += [] if fault is None else [fault]
    for clause in metadata.exclude:
        number = len(kept.get(clause.class_name, ()))
        if number >= clause.count:
            faults.append(f"expected {clause.class_name}<{clause.count}, found {number}")
    return Decision(correct=not faults, reason="\n".join(faults), kept=kept)


def _clause_fault(
    clause: Clause,
    found: Objects,
    groups: Sequence[Objects | None],
    colours_of: ColourClassifier,
    options: Options,
) -> str | None:
    if len(found) < clause.count:
        return f"expected {clause.class_name}>={clause.count}, found {len(found)}"
    fault = None
    if clause.color is not None:
        fault = _colour_fault(clause, clause.color, _named(clause, found, colours_of))
    if fault is None and clause.position is not None:
        fault = _position_fault(clause, clause.position, found, groups[clause.position.target], options)
    return fault


def _named(clause: Clause, found: Objects, colours_of: ColourClassifier) -> list[str]:
    colours = list(colours_of(clause.class_name, found))
    if len(colours) != len(found):
        raise ValueError(f"The colour classifier gave {len(colours)} names for {len(found)} objects; give one each.")
    strange = sorted(set(colours) - set(COLORS))
    if strange:
        raise ValueError(f"The colour classifier answered {', '.join(strange)}; use one of {', '.join(COLORS)}.")
    return colours


def _colour_fault(clause: Clause, wanted: str, colours: Sequence[str]) -> str | None:
    number = colours.count(wanted)
    if number >= clause.count:
        return None
    seen = ", ".join(f"{colours.count(colour)} {colour}" for colour in COLORS if colour in colours)
    return f"expected {wanted} {clause.class_name}>={clause.count}, found {number} {wanted}; and {seen}"


def _position_fault(
    clause: Clause, position: Position, found: Objects, targets: Objects | None, options: Options
) -> str | None:
    if targets is None:
        return f"no target for {clause.class_name} to be {position.relation}"
    for item in found:
        for target in targets:
            holding = relations(item, target, options)
            if position.relation not in holding:
                seen = " and ".join(holding)
                return f"expected {clause.class_name} {position.relation} target, found {seen} target"
    return None
