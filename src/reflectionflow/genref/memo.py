"""An endpoint whose answers are kept in a file, so that an interrupted build pays for none of them twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reflectionflow.errors import StorageError
from reflectionflow.models.endpoint import Endpoint, Fault, Said
from reflectionflow.runtime.faults import Patience
from reflectionflow.types import canonical_json

FILE = "teacher.jsonl"
"""Where a build keeps its teacher's answers."""
PATIENCE = Patience(attempts=5, delay=1.0)


class RememberedEndpoint:
    """Asks an endpoint what it was not asked before; tries again what may pass.

    Args:
        endpoint: Who is asked.
        file: Where answers are kept, one JSON object a line; a torn line is forgotten.
        patience: How often to try again.
        wait: Waits some seconds between two attempts.

    Raises:
        StorageError: if the file cannot be read.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        file: Path,
        patience: Patience = PATIENCE,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint, self._file, self._patience, self._wait = endpoint, file, patience, wait
        self._known = _read(file)

    def ask(self, questions: Sequence[Mapping[str, Any]]) -> list[Said | Fault]:
        """Return what came of each question, in order.

        Raises:
            ModelError: if the endpoint refuses for good.
            StorageError: if answers cannot be kept.
        """
        keys = [self._key(question) for question in questions]
        faults: dict[str, Fault] = {}
        for attempt in range(1, self._patience.attempts + 1):
            open_ = {key: question for key, question in zip(keys, questions, strict=True) if self._is_open(key, faults)}
            if not open_:
                break
            if attempt > 1:
                self._wait(self._patience.delay_after(attempt - 1))
            found = dict(zip(open_, self.endpoint.ask(list(open_.values())), strict=True))
            faults.update({key: answer for key, answer in found.items() if isinstance(answer, Fault)})
            self._keep({key: answer for key, answer in found.items() if isinstance(answer, Said)})
        return [self._known.get(key) or faults[key] for key in keys]

    def _is_open(self, key: str, faults: Mapping[str, Fault]) -> bool:
        return key not in self._known and (key not in faults or faults[key].passing)

    def _key(self, question: Mapping[str, Any]) -> str:
        options = self.endpoint.options
        asked = [options.served, options.revision, options.temperature, options.extra, dict(question)]
        return hashlib.sha256(canonical_json(asked).encode()).hexdigest()

    def _keep(self, answers: Mapping[str, Said]) -> None:
        self._known.update(answers)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                # A line begins with its break, so that what follows a torn line is whole.
                file.writelines("\n" + json.dumps({"key": key, **asdict(said)}) for key, said in answers.items())
        except OSError as error:
            raise StorageError(f"The teacher's answers cannot be kept in {self._file}: {error}.") from error


def _read(file: Path) -> dict[str, Said]:
    try:
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{file} cannot be read ({error}); move it away to ask the teacher anew.") from error
    known = {}
    for line in lines:
        try:
            told = json.loads(line)
            known[told["key"]] = Said(told["text"], told["cut"], (), told["tokens"])
        except (ValueError, KeyError, TypeError):  # torn when the process was killed
            continue
    return known
