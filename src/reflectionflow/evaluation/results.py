"""The numbers of an evaluation, from which every table and page is made: `results.json` and `results.csv`.

Nothing in them depends on a clock: an evaluation that was interrupted and continued ends with the same bytes as one
that was not. What a clock measured stands in `costs.json`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any, Self

from reflectionflow.errors import MisuseError
from reflectionflow.geneval import Metadata
from reflectionflow.types import canonical_json, to_json

SCHEMA_VERSION = 3
FILE, TABLE = "results.json", "results.csv"


@dataclass(frozen=True)
class Outcome:
    """One method on one prompt with one seed, at one budget.

    Attributes:
        budget: Pictures allowed.
        correct: Whether the judge accepts the verifier's pick; a search without a pick is wrong.
        score: What the verifier gave the pick, in [0, 1].
        picture: SHA-256 of the pick's PNG file.
        candidate: Its recipe's id.
        reason: Why the judge refuses it, in GenEval's words.
        base: Share of the painted pictures that are right, in [0, 1].
        right: SHA-256 of the first right picture, if there is any.
        images: Pictures painted.
        verifier_calls: Pictures judged by the verifier.
        reflector_calls: Reflections that a search with this budget asks for, those that only rank pictures too.
        refiner_calls: Rewritten prompts that it asks for.
        denoiser_evaluations: Forward passes of its denoisers.
    """

    budget: int
    correct: bool
    score: float | None
    picture: str | None
    candidate: str | None
    reason: str
    base: float
    right: str | None
    images: int
    verifier_calls: int
    reflector_calls: int
    refiner_calls: int
    denoiser_evaluations: int

    @property
    def verifier_mistake(self) -> bool:
        """Whether the pick is wrong although a right picture was painted."""
        return not self.correct and self.right is not None


@dataclass(frozen=True)
class Row:
    """One search.

    Attributes:
        prompt: Index of the prompt.
        seed: Seed of the run.
        method: Name of the method.
        search: Content id of the search in the run's journal.
        stop: Why it ended.
        scores: The verifier's score of each picture in the order of place; none where it failed to judge.
        correct: The judge's decision on each, as a string of 0 and 1.
        pictures: The first digits of the SHA-256 of each one's PNG file.
        outcomes: At each budget that is read from this search.
        charged: What the search cost as if it ran alone, without seconds, by name.
        failures: The distinct reasons why pictures could not be painted or judged.
    """

    prompt: int
    seed: int
    method: str
    search: str
    stop: str
    scores: tuple[float | None, ...]
    correct: str
    pictures: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    charged: Mapping[str, int]
    failures: tuple[str, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a row from its JSON form."""
        lists = {name: tuple(data[name]) for name in ("scores", "pictures", "failures")}
        return cls(**{**data, **lists, "outcomes": tuple(Outcome(**item) for item in data["outcomes"])})


@dataclass(frozen=True)
class MethodInfo:
    """A method as the report tells of it; see `planning.Method`."""

    name: str
    strategy: str
    options: Mapping[str, Any]
    nested: bool
    exchangeable: bool
    note: str


@dataclass(frozen=True)
class About:
    """What was evaluated.

    Attributes:
        benchmark: Its name.
        digest: Hash of its prompts.
        repeated: Repeated lines of a file that were left out.
        stack: Name of the stack.
        models: Names and revisions of who played, by role; none where nobody did.
        judge: Name and revision of the judge.
        related: Why models are not independent of the judge, by role; not empty for an oracle only.
        budgets: Ascending.
        seeds: The runs' seeds.
        methods: The baseline first.
        task: Size, steps and guidance of every picture.
        version: Of reflectionflow.
    """

    benchmark: str
    digest: str
    repeated: int
    stack: str
    models: Mapping[str, str | None]
    judge: str
    related: Mapping[str, str]
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: tuple[MethodInfo, ...]
    task: Mapping[str, float]
    version: str

    @property
    def oracle(self) -> bool:
        """Whether a model of the search is related to the judge, so that nothing here is evidence."""
        return bool(self.related)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild it from its JSON form."""
        methods = tuple(MethodInfo(**item) for item in data["methods"])
        lists = {name: tuple(data[name]) for name in ("budgets", "seeds")}
        return cls(**{**data, **lists, "methods": methods})


@dataclass(frozen=True)
class Results:
    """An evaluation that was carried out.

    Attributes:
        about: What was evaluated.
        prompts: The benchmark.
        rows: One per search, in the order of the plan.
        computed: Calls that the directory holds, shared drafts once, by kind.
    """

    about: About
    prompts: tuple[Metadata, ...]
    rows: tuple[Row, ...]
    computed: Mapping[str, int]

    def lines(self, tables: Any) -> Iterator[str]:
        """Yield `results.json` line by line, a row a line.

        Args:
            tables: What was computed from the rows, as JSON data.
        """
        yield f'{{"schema_version":{SCHEMA_VERSION},\n"about":{canonical_json(asdict(self.about))},\n'
        yield f'"computed":{canonical_json(self.computed)},\n"tables":{canonical_json(tables)},\n"prompts":[\n'
        yield ",\n".join(canonical_json(item.to_json()) for item in self.prompts)
        yield '\n],\n"rows":[\n'
        for index, row in enumerate(self.rows):
            yield (",\n" if index else "") + canonical_json(to_json(row))
        yield "\n]}\n"

    def csv(self) -> str:
        """Return `results.csv`: one line per prompt, seed, method and budget; an oracle's names the related roles."""
        out = StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [field.name for field in fields(Outcome)]
        oracle = " ".join(self.about.related)
        writer.writerow(["tag", "prompt", "seed", "method", *names, "verifier_mistake", "oracle"])
        for row in self.rows:
            item = self.prompts[row.prompt]
            for outcome in row.outcomes:
                values = [getattr(outcome, name) for name in names]
                told = [int(value) if isinstance(value, bool) else value for value in values]
                mistake = int(outcome.verifier_mistake)
                writer.writerow([item.tag, item.prompt, row.seed, row.method, *told, mistake, oracle])
        return out.getvalue()


def read_results(folder: Path) -> Results:
    """Return the results of a finished evaluation.

    Raises:
        MisuseError: if the folder holds none, damaged ones, or those of another version.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data["schema_version"]
    except OSError as error:
        raise MisuseError(
            f"{folder} holds no finished evaluation ({path.name}: {error.strerror}); "
            "`reflectionflow evaluate` makes one, and the same command continues an interrupted one."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if version != SCHEMA_VERSION:
        raise MisuseError(
            f"{path} has schema version {version}, this version of reflectionflow reads {SCHEMA_VERSION}; repeat the "
            "evaluation's command to write it again."
        )
    try:
        return Results(
            about=About.from_json(data["about"]),
            prompts=tuple(Metadata.from_json(item) for item in data["prompts"]),
            rows=tuple(Row.from_json(item) for item in data["rows"]),
            computed=data["computed"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> MisuseError:
    return MisuseError(f"{path} is damaged ({error!r}); repeat the evaluation's command to write it again.")


def painted(row: Row, budget: int) -> Hashable | None:
    """Return what is alike where two searches painted the same pictures with a budget, and found the same of them; none
    if the budget was not asked for.

    Scores and decisions alone are not enough: a verifier of few values gives many pictures the same.
    """
    if all(outcome.budget != budget for outcome in row.outcomes):
        return None
    return row.pictures[:budget], row.scores[:budget], row.correct[:budget]


def tags_of(prompts: Sequence[Metadata]) -> tuple[str, ...]:
    """Return the tags in order of appearance."""
    return tuple(dict.fromkeys(item.tag for item in prompts))
