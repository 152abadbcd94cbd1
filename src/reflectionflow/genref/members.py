"""The members of a sample, ours or a published one: found under the names they go by, decoded, made alike.

Data sets name their members differently and with prefixes, so a member is looked up by its exact name first and then by
its ending. Whatever cannot be used is a `BrokenSampleError` with its reason, the names that were there among it;
whatever had to be changed to be used is counted.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from PIL import Image, UnidentifiedImageError

from reflectionflow.pictures import UnknownRangeError, is_turned, upright_rgb
from reflectionflow.prompts.vlm import JOIN

GOOD = ("good_image", "edited_img", "edited_image", "enhanced_image", "target_image", "target_img")
BAD = ("bad_image", "src_img", "source_image", "source_img", "flawed_image", "original_image")
REFLECTION = ("reflection", "instruction", "reflection_prompt", "edit_instruction", "edited_prompt_list")
PROMPT = ("prompt", "caption", "target_caption", "text")
SUBSET = ("subset", "source", "task")
LEFT = ("left_image", "image_left", "left_img", "left")
RIGHT = ("right_image", "image_right", "right_img", "right")
ANALYSIS = ("analysis",)
INSTRUCTIONS = ("instructions", *REFLECTION)
RESULT = ("result", "preference")
"""Names under which published and earlier layouts keep a member, ours first."""
SPELLINGS = frozenset({"edited_prompt_list"})
"""Lists of spellings of one text; other lists are the parts of one."""
KNOWN = frozenset((*GOOD, *BAD, *REFLECTION, *PROMPT, *SUBSET, *LEFT, *RIGHT, *ANALYSIS, *INSTRUCTIONS, *RESULT))
_SIDES = {"left": "left", "a": "left", "1": "left", "first": "left"} | {
    "right": "right", "b": "right", "2": "right", "second": "right",
}  # fmt: skip

Members = Mapping[str, bytes]


class BrokenSampleError(Exception):
    """Why a sample is left out."""


def split_name(path: str) -> tuple[str, str]:
    """Return the sample and the member that a file of a shard is: `7.good_image.jpg` and `x/7_good_image.jpg` alike."""
    name = PurePosixPath(path)
    folder = "" if str(name.parent) == "." else f"{name.parent}/"
    stem, _, ending = name.name.partition(".")
    if "." not in ending:
        for known in sorted(KNOWN, key=len, reverse=True):
            if stem == known or stem.endswith((f"_{known}", f"-{known}")):
                return f"{folder}{stem.removesuffix(known)}".rstrip("_-/"), f"{known}.{ending}"
    return f"{folder}{stem}", ending


def expanded(members: Members) -> dict[str, bytes]:
    """Return the members with the texts of a `json` member beside them; of several spellings of one text, the last."""
    found = dict(members)
    try:
        told = json.loads(members.get("json", b"{}"))
    except ValueError:
        raise BrokenSampleError("json is no JSON") from None
    for name, value in told.items() if isinstance(told, dict) else ():
        if isinstance(value, str):
            found.setdefault(f"{name}.txt", value.encode())
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            parts = value[-1:] if name in SPELLINGS else value
            found.setdefault(f"{name}.txt", JOIN.join(parts).encode())
    return found


def find(members: Members, names: Sequence[str]) -> str | None:
    """Return the member that one of the names stands for: exactly, or as the end of a longer name."""
    parts = {member: [part.lower() for part in member.split(".")[:-1] or [member]] for member in members}
    for name in names:
        for member, stems in parts.items():
            if name in stems:
                return member
    free = {member: stems for member, stems in parts.items() if not KNOWN & set(stems)}
    for name in names:
        for member, stems in free.items():
            if any(stem.endswith((f"_{name}", f"-{name}")) for stem in stems):
                return member
    return None


def need(members: Members, names: Sequence[str]) -> bytes:
    """Return the bytes of a member.

    Raises:
        BrokenSampleError: if it is missing or empty.
    """
    member = find(members, names)
    if member is None:
        raise BrokenSampleError(f"{names[0]} is missing; there are {', '.join(sorted(members))}")
    if not members[member]:
        raise BrokenSampleError(f"{names[0]} is empty")
    return members[member]


def text(members: Members, names: Sequence[str]) -> str:
    """Return a text; of a JSON list its last one, as the release takes it.

    Raises:
        BrokenSampleError: if it is missing, empty or not UTF-8.
    """
    try:
        found = need(members, names).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise BrokenSampleError(f"{names[0]} is not UTF-8") from None
    if (find(members, names) or "").endswith(".json"):
        found = _of_json(found, names[0])
    if not found:
        raise BrokenSampleError(f"{names[0]} is empty")
    return found


def _of_json(raw: str, name: str) -> str:
    try:
        told = json.loads(raw)
    except ValueError:
        raise BrokenSampleError(f"{name} is no JSON") from None
    last = told[-1] if isinstance(told, list) and told else told
    if not isinstance(last, str):
        raise BrokenSampleError(f"{name} is a {type(last).__name__} and no text")
    return last.strip()


def picture(members: Members, names: Sequence[str], changed: Counter[str]) -> Image.Image:
    """Return a picture, upright and RGB (`upright_rgb`).

    Raises:
        BrokenSampleError: if it is missing, empty or cannot be decoded.
    """
    data = need(members, names)
    try:
        with Image.open(io.BytesIO(data)) as image:
            found = upright_rgb(image)
            if is_turned(image):
                changed[f"{names[0]} was turned upright"] += 1
            if image.mode != "RGB":
                changed[f"{names[0]} was {image.mode}"] += 1
            return found
    except UnknownRangeError as error:
        raise BrokenSampleError(f"{names[0]}: {error}") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise BrokenSampleError(f"{names[0]} cannot be decoded") from None


def is_comparison(names: Sequence[str]) -> bool:
    """Return whether members are those of GenRef-CoT: a left and a right picture instead of a good and a bad one."""
    there = dict.fromkeys(names, b"")
    sides = all(find(there, side) is not None for side in (LEFT, RIGHT))
    return sides and find(there, GOOD) is None and find(there, BAD) is None


def preferred(members: Members) -> str:
    """Return "left" or "right": which picture GenRef-CoT's result prefers.

    Raises:
        BrokenSampleError: if the result names neither side, or both.
    """
    told = text(members, RESULT).lower()
    sides = {_SIDES[word] for word in [told.strip(" .\"'")] if word in _SIDES} or {
        _SIDES[word] for word in re.findall(r"\b(left|right)\b", told)
    }
    if len(sides) != 1:
        raise BrokenSampleError(f"result names {'both pictures' if sides else 'neither picture'}")
    return sides.pop()
