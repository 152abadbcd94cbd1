"""What a vision-language model is asked, as named templates, and how its answers are read.

There are four tasks. *List* names what a picture shows; *judge* asks whether it shows the prompt, to be answered yes or
no (VQAScore, arXiv 2404.01291, from the first answer token); *reflect* asks for the edits that lead to it, *refine* for
a more explicit prompt (ReflectionFlow, arXiv 2504.16080, section 3.1). A model reads them in one `Wording`: `FULL` for
models of any size that know English, `SCENES`, made of the words of `scenes/words.py` alone, for the small one. The
manifest of a checkpoint says which it was tuned with.

Edits are short imperative sentences joined by ". ", as GenRef has them. Answers of general models are untidy; what
cannot be read raises `ValueError` with a sentence instead of becoming an edit or a prompt by accident.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

JOIN = ". "
"""Between two edits of a reflection."""
NOTHING = "nothing to correct"
"""The answer of a reflector that finds no fault, in both wordings."""
YES, NO = "yes", "no"
MOST_EDITS = 8
LONGEST_EDIT = 240
LONGEST_PROMPT = 1500
"""Characters; what is longer is no edit and no prompt, but a model that did not stop."""


@dataclass(frozen=True)
class Wording:
    """The words of the four tasks.

    Attributes:
        name: As manifests spell it.
        system: The system message, or empty for none.
        listing: Instruction to list the scene.
        judge: With the slot {prompt}.
        reflect: With {prompt}, and {verdict} and {history} for what the next two give.
        verdict: How a verifier's words are told, with {verdict}; empty when they are not.
        history: How earlier reflections are told, with {history}; empty when they are not.
        refine: With {prompt}, {current}, {reflection} and {verdict}.
        reflection: How a reflection is told when a prompt is refined, with {reflection}; empty when it is not.
        score: What a reward model reads before its reward token, with {prompt}.
    """

    name: str
    system: str
    listing: str
    judge: str
    reflect: str
    verdict: str
    history: str
    refine: str
    reflection: str
    score: str


FULL = Wording(
    name="full",
    system="You are a careful observer of pictures. You report only what you can see and answer as you are asked to.",
    listing="List every object of this image with its color and its place, separated by commas.",
    judge='Does this image show "{prompt}"? Every object, number, color and position counts. Answer yes or no.',
    reflect=(
        'This image was generated for the prompt "{prompt}". Compare the two: objects, numbers, colors, positions.'
        "{verdict}{history} Say what must be edited in the image so that it matches the prompt and all else stays."
        " Write short imperative sentences, each one edit, most important first, for instance"
        ' "remove the red star", "replace the blue heart with a green ring", "change the color of the fish from pink'
        ' to white", "move the house to the left of the tree", "add a yellow moon at the top right".'
        f' If the image matches the prompt, write only "{NOTHING}".'
    ),
    verdict=' A judge said of it: "{verdict}".',
    history=' Edits tried before, which did not suffice: "{history}".',
    refine=(
        'A user asked an image generator for "{prompt}". It painted this image from the prompt "{current}".'
        "{verdict}{reflection} Write a better prompt: say explicitly, for every object, how many there are, which color"
        " they have and where they are. Keep everything the user asked for and add no other object."
        " Answer with the new prompt alone, in one paragraph."
    ),
    reflection=' What is wrong with the image: "{reflection}".',
    score='Rate from 0 to 10 how good this image is and how well it shows "{prompt}".',
)

SCENES = Wording(
    name="scenes",
    system="",
    listing="list the objects",
    judge="{prompt} ? yes or no",
    reflect="{prompt} . edits",
    verdict="",
    history="",
    refine="{prompt} . rewrite",
    reflection="",
    score="{prompt} . score",
)

WORDINGS: Mapping[str, Wording] = {wording.name: wording for wording in (FULL, SCENES)}


def spelled(prompt: str, wording: Wording) -> str:
    """Return a prompt as a wording spells it: Scenes' words are small and its prompts have no final stop."""
    return " ".join(prompt.lower().split()).removesuffix(".") if wording is SCENES else prompt


def list_instruction(wording: Wording = FULL) -> str:
    """Return what a model is asked so that it lists the objects of a picture."""
    return wording.listing


def judge_instruction(prompt: str, wording: Wording = FULL) -> str:
    """Return the question whether a picture shows `prompt`, to be answered yes or no."""
    return wording.judge.format(prompt=prompt)


def score_instruction(prompt: str, wording: Wording = FULL) -> str:
    """Return what a reward model reads of a picture painted for `prompt`."""
    return wording.score.format(prompt=prompt)


def reflect_instruction(
    prompt: str, verdict_text: str = "", history: Sequence[str] = (), wording: Wording = FULL
) -> str:
    """Return the request for the edits that lead from a picture to its prompt.

    Args:
        prompt: The user's own prompt.
        verdict_text: Why the verifier scored the picture as it did, in words; empty when it gave none.
        history: Earlier reflections of the same chain, oldest first.
        wording: In which words.
    """
    verdict = wording.verdict.format(verdict=verdict_text) if verdict_text else ""
    told = wording.history.format(history=JOIN.join(history)) if history else ""
    return wording.reflect.format(prompt=prompt, verdict=verdict, history=told)


def refine_instruction(
    prompt: str, current: str, reflection: str = "", verdict_text: str = "", wording: Wording = FULL
) -> str:
    """Return the request for a more explicit prompt.

    Args:
        prompt: The user's own prompt.
        current: The prompt the picture was painted from.
        reflection: What is wrong with the picture; empty when nobody said.
        verdict_text: Why the verifier scored the picture as it did; empty when it gave no words.
        wording: In which words.
    """
    told = wording.reflection.format(reflection=reflection) if reflection else ""
    verdict = wording.verdict.format(verdict=verdict_text) if verdict_text else ""
    return wording.refine.format(prompt=prompt, current=current, reflection=told, verdict=verdict)


_VERBS = (
    "add|adjust|align|brighten|center|change|correct|darken|decrease|delete|draw|enlarge|ensure|erase|exchange|extend|"
    "fix|give|improve|include|increase|insert|keep|lower|make|modify|move|paint|place|position|put|raise|recolor|"
    "recolour|reduce|remove|render|replace|reposition|resize|rotate|separate|set|shift|show|shrink|substitute|swap|"
    "turn|use"
)
_IMPERATIVE = re.compile(rf"(?:please |then |and |also |finally, |next, )*(?:{_VERBS})\b", re.IGNORECASE)
_OBLIGATION = re.compile(r"\b(?:should|must|needs? to|has to|have to)\b", re.IGNORECASE)
_FINE = r"(?:correct|fine|good|great|right|perfect|accurate|ok(?:ay)?|in order|as (?:asked|described|it should be))\b"
_NOTHING = re.compile(
    r"^(?:there(?:'s| is) )?(?:nothing(?: else| more| further)?(?:$|[ ,](?:to\b|needs?\b|has to\b|must\b|should\b|is "
    r"(?:wrong|missing|needed)))|none(?:$| (?:is |are )?(?:needed|required|necessary))|n/?a$|no$|"
    r"no (?:further |other |more )?(?:edit|change|correction|modification|adjustment))|"
    r"^(?:the |this )?(?:image|picture|photo|everything|it)(?: already)?(?: fully| correctly| perfectly| exactly)* "
    rf"(?:match(?:es)?\b(?! (?:only|neither|partly|partially|nothing|none))|(?:is|looks)(?: already| all)* {_FINE})|"
    rf"^(?:looks|already) {_FINE}",
    re.IGNORECASE,
)
"""Praise; a complaint that begins alike ("none of the stars is red", "it is missing a star") is none."""
_IDLE = re.compile(
    r"\bfrom (?P<one>\w+) to (?P=one)$|^\w+ (?P<two>the .+?) (?:to the )?(?:above|below|left of|right of) (?P=two)$"
)
"""Edits that change nothing: a colour to itself, or an object moved relative to itself."""
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•–—]+|#+|\(?\d{1,2}[.)])\s*", re.MULTILINE)
_END = re.compile(r"(?<=[.!?;])\s+|\s*\n+\s*")
_LABEL = re.compile(r"^\W*(?:(?:new|refined|improved|better|revised|final|updated)\s+)?prompt\W*:\s*", re.IGNORECASE)
_REFUSAL = re.compile(r"^(?:i'?m sorry|sorry|i (?:can'?t|cannot|am unable|am not able)|as an ai)\b", re.IGNORECASE)
_MARKS = " \t\r\"'`*_“”‘’"


def without_thoughts(raw: str) -> str:
    """Return an answer without what a model thought aloud before it."""
    return _THOUGHT.sub(" ", raw)


def _tidy(raw: str) -> str:
    """Return an answer without thoughts, code fences, bullets and bold marks."""
    text = re.sub(r"```\w*", "", without_thoughts(raw)).replace("**", "").replace("’", "'")
    return _BULLET.sub("", text).strip()


def _sentences(text: str) -> list[str]:
    """Return the different sentences of a text, without marks at their ends."""
    found = (" ".join(part.strip(_MARKS).rstrip(".!;,").strip(_MARKS).split()) for part in _END.split(text))
    return list(dict.fromkeys(sentence for sentence in found if sentence))


def whole_sentences(raw: str) -> str:
    """Return an answer that was cut off at its token limit up to its last finished sentence; it may be empty."""
    ends = [match.end() for match in re.finditer(r"[.!?;](?=\s|$)|\n", raw)]
    return raw[: ends[-1]].strip() if ends else ""


def parse_reflection(raw: str) -> tuple[str, ...]:
    """Read the edits out of a model's answer.

    Sentences count that command ("Move the star …") or oblige ("The star should …"); introductions and descriptions
    between them do not, nor do edits that change nothing ("change the color from red to red"). At most `MOST_EDITS`,
    the first ones.

    Returns:
        The edits without final stops, their first letter small; empty when the model says that nothing is to correct.

    Raises:
        ValueError: if the answer is empty, or neither an edit nor "nothing to correct".
    """
    sentences = _sentences(_tidy(raw))
    if not sentences:
        raise ValueError("The reflector's answer is empty.")
    edits = [
        sentence[0].lower() + sentence[1:]
        for sentence in sentences
        if not sentence.endswith(":")
        and len(sentence) <= LONGEST_EDIT
        and (_IMPERATIVE.match(sentence) or _OBLIGATION.search(sentence))
        and not _NOTHING.match(sentence)
        and not _IDLE.search(sentence)
    ]
    if edits:
        return tuple(dict.fromkeys(edits))[:MOST_EDITS]
    if any(_NOTHING.match(sentence) for sentence in sentences):
        return ()
    raise ValueError(f"The reflector's answer names no edit: {shown(raw)}.")


def parse_refined(raw: str, prompt: str) -> str:
    """Read the rewritten prompt out of a model's answer.

    Args:
        raw: The model's words.
        prompt: The user's own prompt.

    Returns:
        One line of text.

    Raises:
        ValueError: if the answer is empty, a refusal, endless, or shares no word with the prompt (another language).
    """
    lines = [line.strip() for line in _tidy(raw).splitlines() if line.strip(_MARKS)]
    labelled = [_LABEL.sub("", line) for line in lines if _LABEL.match(line)]
    bare = [line for line in lines if not line.endswith(":")]
    chosen = next((line for line in [*labelled, *bare] if line.strip(_MARKS)), "")
    text = " ".join(chosen.strip(_MARKS).split())
    if not text:
        raise ValueError("The refiner's answer is empty.")
    if _REFUSAL.match(text):
        raise ValueError(f"The refiner refused: {shown(text)}.")
    if len(text) > LONGEST_PROMPT:
        raise ValueError(f"The refiner's prompt has {len(text)} characters; at most {LONGEST_PROMPT} are read.")
    wanted = set(re.findall(r"\w+", prompt.lower()))
    if wanted and not wanted & set(re.findall(r"\w+", text.lower())):
        raise ValueError(f"The refiner's prompt shares no word with the user's: {shown(text)}.")
    return text


def shown(text: str, longest: int = 80) -> str:
    """Return a model's words as an error message quotes them: one line, cut."""
    line = " ".join(text.split())
    return repr(line if len(line) <= longest else f"{line[:longest]}…")
