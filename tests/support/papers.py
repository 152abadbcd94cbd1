"""The paper's exhibits of the tiny world: what is compared, and who is shown besides."""

from __future__ import annotations

from dataclasses import replace

from reflectionflow.evaluation.benchmarks import Benchmark
from reflectionflow.evaluation.paper import Beside, lineup, make
from reflectionflow.evaluation.paper.named import Named
from reflectionflow.evaluation.paper.reflecting import critics
from reflectionflow.evaluation.paper.speaking import ELSEWHERE, speakers
from reflectionflow.evaluation.planning import Asked, plan
from tests.support.evaluating import Contrast, items
from tests.support.running import QUICK
from tests.support.world import Brightness, Critic, Painter

IMAGES = 6


class Dark(Brightness):
    """Likes what brightness dislikes, and counts what it is asked."""

    def __init__(self, **fields):
        super().__init__(name="dark@1", **fields)
        self.asked = 0

    def _judge(self, question):
        self.asked += 1
        return replace(super()._judge(question), score=1 - super()._judge(question).score)


class Tuned(Painter):
    """Paints a little brighter."""

    def __init__(self, **fields):
        super().__init__(name="tuned@1", **fields)

    def _paint(self, request):
        painting = super()._paint(request)
        return replace(painting, image=painting.image.point(lambda value: min(255, int(1.2 * value))))


def planned(models, each=3, images=IMAGES, **fields):
    compared = lineup(models, images)
    asked = Asked(Benchmark("tiny", items(each)), compared.methods, images, 2, stack=models, **fields)
    return plan(asked, Contrast()), compared


def paper(folder, models, by=(), terse=None, dataset=None, **fields):
    found, compared = planned(models, **fields)
    others = (Named("terse", terse or Critic(name="terse@1", enough=0.4)),)
    told_by = (*speakers([ELSEWHERE], found), Named("brief", Critic(name="brief@1", enough=0.6)))
    beside = Beside(tuple(by), (*critics(None, found), *others), dataset, Named("tuned", Tuned()), told_by)
    return make(found, compared, beside, folder, {"command": "test"}, lambda event: None, patience=QUICK)
