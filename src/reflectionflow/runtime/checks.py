"""What can be known to go wrong before the first model call, said all at once."""

from __future__ import annotations

from collections.abc import Iterator

from reflectionflow.roles import Generator, Role, Stack
from reflectionflow.runtime.task import SEED_LIMIT, Strategy, Task
from reflectionflow.vocabulary import together, unknown_words, words_of


def check_task(task: Task, stack: Stack, strategy: Strategy) -> list[str]:
    """Return every reason why the task cannot be searched with this stack and strategy, one sentence each.

    Checked are the prompt (empty, too long, unknown words), the seed, the size and step count, and that the stack fills
    the roles the strategy needs. No model is called.
    """
    problems = [*_number_problems(task), *_role_problems(stack, strategy)]
    painters = [stack.generator]
    if Role.CORRECTOR in strategy.needs and stack.corrector is not None:
        painters.append(stack.corrector)
    problems += size_problems(task.width, task.height, *painters)
    problems += prompt_problems(task.prompt, *painters)
    problems += _text_problems(task.prompt)
    return list(dict.fromkeys(problems))


def _text_problems(prompt: str) -> Iterator[str]:
    if not prompt.strip():
        yield "The prompt is empty; say what to paint."
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        yield f"The prompt is no valid text at position {error.start}; pass it as UTF-8."


def _number_problems(task: Task) -> Iterator[str]:
    if not 0 <= task.seed < SEED_LIMIT:
        yield f"The seed {task.seed} is out of range; it lies in 0 ≤ seed < 2**63."
    if task.steps < 1:
        yield f"{task.steps} denoiser steps paint nothing; ask for at least 1."


def _role_problems(stack: Stack, strategy: Strategy) -> Iterator[str]:
    for role in sorted(strategy.needs, key=lambda role: role.value):
        filled = getattr(stack, role.value)
        if filled is None:
            yield missing_role(strategy, role, stack.name)
        elif role is Role.CORRECTOR and not filled.capabilities.corrects:
            yield f"{filled.name} stands as corrector in the stack {stack.name} but cannot correct pictures."


def missing_role(strategy: Strategy, role: Role, stack: str) -> str:
    """Return the sentence that refuses a stack (by name) in which nobody plays a role the strategy needs."""
    return (
        f"The strategy {strategy.name} needs a {role.value}, and the stack {stack} has none; "
        "choose another stack or another strategy."
    )


def size_problems(width: int, height: int, *painters: Generator) -> Iterator[str]:
    """Yield why painters could not paint pictures of a size in pixels; of those that agree in one sentence."""
    agreed: dict[tuple[int, int, int], list[Generator]] = {}
    for painter in painters:
        can = painter.capabilities
        agreed.setdefault((can.smallest, can.largest, can.multiple), []).append(painter)
    for (smallest, largest, multiple), some in agreed.items():
        names, several = together(some)
        ending = "" if several else "s"
        if smallest == largest:
            if (width, height) != (smallest, smallest):
                yield f"{names} paint{ending} {smallest} × {smallest} pixels, not {width} × {height}."
            continue
        for sides, pixels in _sides(width, height):
            if not smallest <= pixels <= largest:
                yield f"{names} paint{ending} {' and '.join(sides)} of {smallest} to {largest} pixels, not {pixels}."
            elif pixels % multiple:
                below = max(smallest, pixels // multiple * multiple)
                what = f"that is a multiple of {multiple}" if len(sides) == 1 else f"that are multiples of {multiple}"
                yield f"{names} need{ending} {' and '.join(sides)} {what}, not {pixels}; try {below}."


def _sides(width: int, height: int) -> list[tuple[list[str], int]]:
    """Return the sides of a picture by their length: equal ones are spoken of together."""
    if width == height:
        return [(["a width", "a height"], width)]
    return [(["a width"], width), (["a height"], height)]


def prompt_problems(prompt: str, *painters: Generator) -> Iterator[str]:
    """Yield why painters cannot paint this text: it is too long, or has words they do not know; what agrees once."""
    count, longest = len(words_of(prompt)), dict[int, list[Generator]]()
    for painter in painters:
        most = painter.capabilities.longest_prompt
        if most is not None and count > most:
            longest.setdefault(most, []).append(painter)
    for most, some in longest.items():
        names, several = together(some)
        yield f"{names} read{'' if several else 's'} at most {most} words, and the prompt has {count}; shorten it."
    unknown = unknown_words(prompt, *painters)
    if unknown:
        yield f"{unknown} A stack such as flux-dev paints anything."
