"""What can be known to go wrong before the first model call, said all at once."""

from __future__ import annotations

from collections.abc import Iterator

from reflectionflow.roles import Generator, Role, Stack
from reflectionflow.runtime.task import SEED_LIMIT, Strategy, Task
from reflectionflow.vocabulary import unknown_words, words_of


def check_task(task: Task, stack: Stack, strategy: Strategy) -> list[str]:
    """Return every reason why the task cannot be searched with this stack and strategy, one sentence each.

    Checked are the prompt (empty, too long, unknown words), the seed, the size and step count, and that the stack fills
    the roles the strategy needs. No model is called.
    """
    problems = [*_number_problems(task), *_role_problems(stack, strategy)]
    painters = [stack.generator]
    if Role.CORRECTOR in strategy.needs and stack.corrector is not None:
        painters.append(stack.corrector)
    for painter in painters:
        problems += size_problems(task.width, task.height, painter)
        problems += prompt_problems(task.prompt, painter)
    problems += _text_problems(task.prompt)
    return list(dict.fromkeys(problems))  # generator and corrector often agree


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


def size_problems(width: int, height: int, painter: Generator) -> Iterator[str]:
    """Return why a painter could not paint pictures of a size in pixels, one sentence each."""
    can = painter.capabilities
    for side, pixels in (("width", width), ("height", height)):
        if not can.smallest <= pixels <= can.largest:
            yield f"{painter.name} paints a {side} of {can.smallest} to {can.largest} pixels, not {pixels}."
        elif pixels % can.multiple:
            below = max(can.smallest, pixels // can.multiple * can.multiple)
            yield f"{painter.name} needs a {side} that is a multiple of {can.multiple}, not {pixels}; try {below}."


def prompt_problems(prompt: str, painter: Generator) -> Iterator[str]:
    """Yield why this generator cannot paint this text: it is too long, or has words it does not know."""
    words, can = words_of(prompt), painter.capabilities
    if can.longest_prompt is not None and len(words) > can.longest_prompt:
        yield f"{painter.name} reads at most {can.longest_prompt} words, and the prompt has {len(words)}; shorten it."
    unknown = unknown_words(prompt, painter)
    if unknown:
        yield f"{unknown} A stack such as flux-dev paints anything."
