"""What progress says of a run."""

from __future__ import annotations

from reflectionflow.cli.progress import Tally
from reflectionflow.runtime.events import Judged
from reflectionflow.types import Verdict


def test_the_best_score_is_that_of_the_pictures_judged_so_far():
    """The demo ended with "best score 0.2656" above a picture of 0.9946: its last picture was the best."""
    tally = Tally(3)
    for slot, (score, told) in enumerate(((0.2, "0.2000"), (0.9946, "0.9946"), (0.5, "0.9946"))):
        assert tally(Judged(0, (0, slot), Verdict(f"rf1:{slot}", "judge@1", score), cached=False))
        assert tally.text.endswith(f"{slot + 1} judged, best score {told}")
