"""The data card of a build: what it is, where it comes from, what was left out, and what not to use it for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ORIGINS = {
    "rule": "many pictures of verifiable prompts, judged by GenEval's rules over detector A; each failure with the "
    "passing picture nearest to it",
    "reward": "captions of scenes; the worst and one of the best pictures by the mean rank of the verifier's score "
    "and of the nearness to the captioned scene (subset `general`)",
    "length": "pictures of the short and of the detailed caption of one scene; the prompt is the short one",
    "editing": "exact edits of rendered scenes",
    "retouch": "pictures of the generator with edits painted into them, the rest pixel by pixel as it was; the repair "
    "of a failed picture, or edits about anything (subset `editing`, with `retouched` in `provenance.json`)",
}


def card(manifest: Mapping[str, Any]) -> str:
    """Return the card of a finished build as Markdown with the hub's front matter."""
    painted = f", drafts painted by the stack `{manifest['stack']}`" if "stack" in manifest else ""
    lines = [
        "---",
        "license: apache-2.0",
        "task_categories: [image-to-image]",
        "tags: [genref, reflection, scenes]",
        "---",
        "# GenRef of Scenes",
        "",
        f"{manifest['samples']} triplets of a flawed picture, an enhanced picture, and the reflection that leads from "
        f"one to the other{painted}, seed {manifest['seed']}.",
        "",
        "| source | triplets | with an open prompt | made of |",
        "|---|---|---|---|",
        *(
            f"| {name} | {count['samples']} | {count['open']} | {ORIGINS.get(name, '')} |"
            for name, count in manifest.get("sources", {}).items()  # earlier versions did not count them
        ),
        "",
        "- **Layout**: WebDataset shards; `good_image.jpg`, `bad_image.jpg` (quality 95, no chroma subsampling), "
        "`reflection.txt`, `prompt.txt`, `subset.txt`, and `provenance.json` with candidates, seeds, edits and the "
        "teacher's comparison.",
        "- **Reflections** are written by a program that reads the scene graphs a detector sees, not by people.",
        "- **Open prompts** name only what stays and leave the edit to the reflection; `open` in `provenance.json` "
        "says which ones do.",
        "- **Combinations** held out for validation and test are in no scene or text of editing, general and "
        "length, and in no prompt of rule; painted pictures may show them by mistake.",
        "- **Use**: tuning a corrector of Scenes. It teaches nothing about photographs.",
        "",
        "## Left out",
        "",
        *_left_out(manifest["dropped"]),
    ]
    return "\n".join(lines) + "\n"


def card_of_edits(manifest: Mapping[str, Any]) -> str:
    """Return the card of a build from edits of real pictures."""
    teacher = manifest["teacher"]
    captions = "the data's own captions of the edited pictures"
    thought = "None; whether an edit was carried out is as sure as the data set that says so."
    if teacher is not None:
        captions += f", or captions by {teacher} where there are none"
        thought = (
            f"{teacher} compared each pair in a drawn order, without being told which is better; pairs where it did "
            "not prefer the edited picture are left out. Its comparison is in `provenance.json`."
        )
    converted = [f"- {count} × {what}" for what, count in sorted(manifest["converted"].items())]
    lines = [
        "---",
        "task_categories: [image-to-image]",
        "tags: [genref, reflection, image-editing]",
        "---",
        f"# GenRef of edits: {manifest['data']}",
        "",
        f"{manifest['samples']} triplets of instruction edits: the source is the flawed picture, the edited one the "
        f"enhanced, the instruction the reflection. Seed {manifest['seed']}.",
        "",
        f"- **Prompts**: {captions}.",
        f"- **Teacher**: {thought}",
        "- **Layout**: WebDataset shards as of GenRef-wds, with `provenance.json`.",
        "- **Licence**: that of the data set it was built from; this build adds none.",
        "",
        "## Converted",
        "",
        *(converted or ["Nothing."]),
        "",
        "## Left out",
        "",
        *_left_out(manifest["dropped"]),
    ]
    return "\n".join(lines) + "\n"


def card_of_drafts(manifest: Mapping[str, Any]) -> str:
    """Return the card of a build from drafts of a generator that does not paint Scenes."""
    (source,) = manifest["asked"]
    made = {
        "rule": f"drafts that {manifest.get('judge', 'the judge')} refuses, each with the one it accepts whose pixels "
        "differ least",
        "reward": f"the worst draft of a prompt by {manifest['verifier']}, with the nearer of its two best ones",
        "length": "drafts of a scene's short caption, which is the prompt, with drafts of its detailed one",
    }
    lines = [
        "---",
        "task_categories: [image-to-image]",
        "tags: [genref, reflection]",
        "---",
        f"# GenRef: {source}",
        "",
        f"{manifest['samples']} triplets: {made[source]}. Painted by {manifest['generator']}, seed {manifest['seed']}.",
        "",
        f"- **Reflections**: {manifest['teacher']} compared each pair in a drawn order, without being told which is "
        "better; pairs where it did not prefer the enhanced one are left out.",
        "- **Layout**: WebDataset shards as of GenRef-wds, with `provenance.json`.",
        "- **Licence**: that of the generator's pictures and of the teacher's texts; this build adds none.",
        "",
        "## Left out",
        "",
        *_left_out(manifest["dropped"]),
    ]
    return "\n".join(lines) + "\n"


def _left_out(dropped: Mapping[str, Mapping[str, int]]) -> list[str]:
    told = [f"- {name}: {count} × {why}" for name, reasons in dropped.items() for why, count in reasons.items()]
    return told or ["Nothing."]
