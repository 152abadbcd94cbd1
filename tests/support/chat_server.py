"""A real HTTP server on loopback that speaks the chat protocol; a test says how it answers each request."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server sends: JSON, or raw bytes."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def completion(
    text: str | None, finish: str = "stop", tokens: int = 7, first: dict[str, float] | None = None
) -> Answer:
    """Return a chat completion; `first` holds the log-probabilities of the first token."""
    top = [{"token": token, "logprob": value} for token, value in (first or {}).items()]
    logprobs = {"content": [{"token": "x", "logprob": 0.0, "top_logprobs": top}]} if first is not None else None
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
        "logprobs": logprobs,
    }
    return Answer({"object": "chat.completion", "choices": [choice], "usage": {"total_tokens": tokens}})


@dataclass
class Chat:
    """A running server.

    Attributes:
        url: Its address, up to and with /v1.
        requests: The bodies it got.
        keys: The `Authorization` header of each.
    """

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


def question_of(body: dict[str, Any]) -> str:
    """Return the words of the question of a request."""
    return body["messages"][-1]["content"][-1]["text"]


@contextmanager
def serving(answer: Callable[[dict[str, Any]], Answer]) -> Iterator[Chat]:
    """Serve until the block ends; `answer` is called in a thread of its own for each request."""
    chat = Chat("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat.requests.append(body)
            chat.keys.append(self.headers["Authorization"])
            assert self.path == "/v1/chat/completions"
            found = answer(body)
            data = found.body if isinstance(found.body, bytes) else json.dumps(found.body).encode()
            try:
                self.send_response(found.status)
                for name, value in {"Content-Length": str(len(data)), **found.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client gave up

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
