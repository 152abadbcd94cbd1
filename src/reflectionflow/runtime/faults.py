"""Whose fault an error is, and how often to try again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """How long the runtime puts up with failing and slow models.

    Attributes:
        attempts: Most attempts at one call that fails for a reason that may pass.
        delay: Seconds before the second attempt.
        growth: Factor from one delay to the next.
        grace: Seconds a stopping run waits for the local model's current batch, so that its work is kept.
    """

    attempts: int = 3
    delay: float = 0.5
    growth: float = 4.0
    grace: float = 5.0

    def delay_after(self, attempt: int) -> float:
        """Return the seconds to wait after the attempt with this number, from 1."""
        return float(self.delay * self.growth ** (attempt - 1))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on the processor or an accelerator; needs no torch."""
    if isinstance(error, MemoryError):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
