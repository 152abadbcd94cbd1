"""Seeds of single pictures, derived from the run's seed, the user's prompt and the place in the search.

A seed depends on nothing else, neither on the budget nor on the method: a wider search begins with the pictures of a
narrower one, and different methods share their first drafts.
"""

from __future__ import annotations

import hashlib


def derive(run_seed: int, prompt: str, place: tuple[int, int]) -> int:
    """Return the seed of the picture at `place`, 0 ≤ seed < 2**63.

    Args:
        run_seed: Seed of the run.
        prompt: The user's own prompt.
        place: (round, slot) in the search.
    """
    text = f"reflectionflow/seed/1\n{run_seed}\n{place[0]}\n{place[1]}\n{prompt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
