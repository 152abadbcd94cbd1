"""Questions to an OpenAI-compatible chat endpoint: vLLM, SGLang, LLaMA-Factory, OpenAI.

One request holds one question. Requests of one call run at the same time, bounded, on an event loop of their own in the
calling thread, so that an interrupted run waits for none of them. Whatever comes back is a value at its question's
place: an answer, or a fault that says whether trying again may help. Trying again is left to the caller; only a pause
the server asks for (`Retry-After`) is kept here, because nobody else hears of it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic import AnyHttpUrl, BaseModel, Field, ValidationError

from reflectionflow.errors import ModelError
from reflectionflow.plugins import ModelOptions

if TYPE_CHECKING:
    import httpx2
    from PIL.Image import Image

LONGEST_PAUSE = 60.0
"""Most seconds that are waited because a server asks for it."""
SHOWN = 300
PASSING = frozenset({408, 409, 425, 429})
"""Refusals that may pass; so may every status from 500 on."""
EXHAUSTED = "insufficient_quota"
"""OpenAI's code for a 429 that does not pass by waiting."""


class EndpointOptions(ModelOptions):
    """Where a model is served and how it is asked."""

    base_url: AnyHttpUrl = Field(description="Address of the endpoint, up to and with /v1.")
    served: str = Field(min_length=1, description="Name of the model as the endpoint knows it.")
    revision: str = Field(default="served", description="Which weights are served; part of the identity of answers.")
    api_key_env: str | None = Field(
        default=None, description="Name of the environment variable with the key; none sends no key."
    )
    timeout: float = Field(default=120.0, gt=0, description="Seconds one answer may take.")
    concurrency: int = Field(default=8, gt=0, description="Most requests at the same time.")
    temperature: float = Field(default=0.0, ge=0, description="Of sampling; 0 is greedy.")
    max_tokens: int = Field(default=512, gt=0, description="Most tokens of an answer in words.")
    token_limit: str = Field(
        default="max_completion_tokens",
        pattern="^(max_completion_tokens|max_tokens)$",
        description="Field that carries the limit; older servers know only max_tokens.",
    )
    extra: dict[str, Any] = Field(
        default_factory=dict, description="More fields of every request, such as chat_template_kwargs."
    )


class _Chance(BaseModel):
    token: str
    logprob: float


class _Position(BaseModel):
    top_logprobs: list[_Chance] = Field(default_factory=list)


class _Logprobs(BaseModel):
    content: list[_Position] | None = None


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    total_tokens: int = Field(default=0, ge=0)


class _Completion(BaseModel):
    """As much of a chat completion as is read."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True)
class Said:
    """An answer.

    Attributes:
        text: The model's words; empty when it gave none.
        cut: Whether it stopped only at its limit of tokens.
        first: The likeliest first tokens with their log-probabilities (natural), as far as the server tells.
        tokens: Tokens read and written.
    """

    text: str
    cut: bool
    first: tuple[tuple[str, float], ...]
    tokens: int


@dataclass(frozen=True)
class Fault:
    """Why a question has no answer, in a sentence, and whether asking again may help."""

    reason: str
    passing: bool


def data_url(image: Image) -> str:
    """Return a picture as a `data:` URL, PNG."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def messages(system: str, pictures: Sequence[str], question: str) -> list[dict[str, Any]]:
    """Return a question: the system's words first, then the pictures (URLs), then the words of the question.

    In this order all questions with one instruction, and all on one picture, share their prefix in the server's cache.
    """
    shown: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
    asked = {"role": "user", "content": [*shown, {"type": "text", "text": question}]}
    return [{"role": "system", "content": system}, asked] if system else [asked]


def json_answer(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field of a request that holds the answer to a JSON schema (vLLM, SGLang and OpenAI alike)."""
    return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}}


def key_missing(options: EndpointOptions) -> list[str]:
    """Return a sentence with the remedy when the variable with the key is not set."""
    if options.api_key_env is None or os.environ.get(options.api_key_env, "").strip():
        return []
    return [
        f"the environment variable {options.api_key_env} is not set; export it with the key of {options.base_url}, "
        "or leave out `api_key_env` where the endpoint wants no key"
    ]


class Endpoint:
    """One model behind one endpoint.

    Args:
        options: Where and how to ask.
        wait: Waits some seconds, before requests that the server asked to hold back.
    """

    def __init__(self, options: EndpointOptions, wait: Callable[[float], None] = time.sleep) -> None:
        self.options = options
        self._url = str(options.base_url).rstrip("/")
        self._wait = wait
        self._not_before = 0.0

    def ask(self, questions: Sequence[Mapping[str, Any]]) -> list[Said | Fault]:
        """Ask all questions, at most `concurrency` at the same time; return what came of each, in their order.

        Args:
            questions: Fields of a request each, `messages` among them; model, temperature and `extra` are added.

        Raises:
            ModelError: if the endpoint refuses the key, the model or the form of a request: no other would fare better.
        """
        pause = self._not_before - time.monotonic()
        if pause > 0:
            self._wait(min(pause, LONGEST_PAUSE))
        return asyncio.run(self._ask_all(questions)) if questions else []

    async def _ask_all(self, questions: Sequence[Mapping[str, Any]]) -> list[Said | Fault]:
        import httpx2

        free = asyncio.Semaphore(self.options.concurrency)
        # Time is limited in `_ask`, for the answer as a whole: httpx2 would limit the wait between two bytes.
        async with httpx2.AsyncClient(headers=self._headers(), timeout=None, verify=self._trusted) as client:
            return list(await asyncio.gather(*(self._ask(client, free, question) for question in questions)))

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """The certificates that are trusted, read once; without TLS none are read."""
        import httpx2

        if self.options.base_url.scheme == "http":
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx2.create_ssl_context()

    def _headers(self) -> dict[str, str]:
        key = self._key()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _key(self) -> str:
        return os.environ.get(self.options.api_key_env or "", "").strip()

    async def _ask(
        self, client: httpx2.AsyncClient, free: asyncio.Semaphore, question: Mapping[str, Any]
    ) -> Said | Fault:
        import httpx2

        options = self.options
        body = {"model": options.served, "temperature": options.temperature, **options.extra, **question}
        async with free:
            try:
                async with asyncio.timeout(options.timeout):
                    response = await client.post(f"{self._url}/chat/completions", json=body)
            except TimeoutError:
                return Fault(f"{self._name} did not answer within {options.timeout:g} seconds.", passing=True)
            except httpx2.TransportError as error:
                why = str(error) or type(error).__name__
                return Fault(f"{self._name} cannot be reached ({why}); is its server running?", passing=True)
        return self._read(response)

    @property
    def _name(self) -> str:
        return f"{self.options.served} at {self._url}"

    def _read(self, response: httpx2.Response) -> Said | Fault:
        status = response.status_code
        if status != HTTPStatus.OK:
            said = self._complaint(response)
            if (status in PASSING and EXHAUSTED not in response.text) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                self._not_before = max(self._not_before, time.monotonic() + _asked_pause(response.headers))
                return Fault(f"{self._name} refused for the moment ({status}: {said}).", passing=True)
            raise ModelError(f"{self._name} refused ({status}: {said}); {self._remedy(status)}.")
        try:
            found = _Completion.model_validate_json(response.content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            why = f"{where}: {first['msg']}" if where else str(first["msg"])
            return Fault(f"{self._name} answered what is no chat completion ({why}).", passing=False)
        choice = found.choices[0]
        positions = (choice.logprobs.content if choice.logprobs else None) or []
        chances = {item.token: item.logprob for item in positions[0].top_logprobs} if positions else {}
        return Said(
            text=choice.message.content or "",
            cut=choice.finish_reason == "length",
            first=tuple(chances.items()),
            tokens=found.usage.total_tokens if found.usage else 0,
        )

    def _complaint(self, response: httpx2.Response) -> str:
        """Return what the server says of its refusal: one line, without the key."""
        try:
            told = response.json()
        except ValueError:
            told = response.text
        for name in ("error", "message", "detail"):
            told = told[name] if isinstance(told, Mapping) and name in told else told
        line = " ".join(str(told).split()) or response.reason_phrase
        key = self._key()
        return (line.replace(key, "…") if key else line)[:SHOWN]

    def _remedy(self, status: int) -> str:
        variable = self.options.api_key_env
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            if variable is None:
                return "name the environment variable that holds its key as `api_key_env`"
            return f"set the environment variable {variable} to a key it accepts"
        if status == HTTPStatus.NOT_FOUND:
            return f"correct `served` or `base_url`; {self._url}/models lists what is served"
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return "its quota is used up, and waiting does not help"
        return "change the options it names, or serve a model that takes pictures and long enough questions"


def _asked_pause(headers: Mapping[str, str]) -> float:
    """Return the seconds a server asks to wait, 0 where it asks nothing readable."""
    asked = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return 0.0
