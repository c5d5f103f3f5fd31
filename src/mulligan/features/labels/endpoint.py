"""One HTTP endpoint that speaks the OpenAI chat interface: bounded, patient, and recorded to the last request.

Nothing is sent anywhere unless a person has named the address. The key is read from an environment variable at each
request and is never stored or shown. Redirects are refused: they would carry the key to another host.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from ...records import BadInput
from ...runs import Run, canonical, digest
from .protocol import OverseerFailed

#: Statuses after which the same request may succeed.
_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
#: Bytes of an answer that are read; more is no answer of a language model.
_LARGEST = 4_000_000
#: After so many questions in a row without an answer, no more is asked: a job of hundreds of units must not wait on.
_GIVEN_UP = 3
SENT = "sent"  # the run's folder of what was asked and answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a language model is reached, and how much it may be asked.

    Attributes:
        url: the interface's base, such as http://127.0.0.1:8080/v1. model: as the server calls it.
        key: name of the environment variable that holds the key; None: none is sent.
        timeout: seconds that one answer may take. retries: after a failure that may pass.
        calls: requests that are sent at most. pause: seconds before the first retry, doubled each time.

    Raises:
        BadInput: if the address is none, or a number cannot be.
    """

    url: str
    model: str
    key: str | None = None
    timeout: float = 60.0
    retries: int = 2
    calls: int = 1000
    pause: float = 1.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput("this is no address of a language model", where=self.url, fix="give http(s)://HOST/v1")
        if parts.username or parts.password:
            raise BadInput("an address must not hold a password", where=parts.hostname,
                           fix="put the key into an environment variable and name that")  # fmt: skip
        if not self.model:
            raise BadInput("no model is named", where=self.url, fix="give --llm-model, as the server calls it")
        if self.timeout <= 0 or self.retries < 0 or self.calls < 1:
            where = f"timeout {self.timeout:g}, retries {self.retries}, calls {self.calls}"
            raise BadInput("these bounds cannot be", where=where, fix="give a timeout above 0 and 1 call or more")
        if self.key is not None and not os.environ.get(self.key):
            raise BadInput("this environment variable, which should hold the key, is not set", where=self.key,
                           fix="set it, or leave --llm-key out for a server that asks for none")  # fmt: skip


class _Refused(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


class Chat:
    """Asks an endpoint; every answer is kept in the run, and a question asked before is answered from there.

    Attributes:
        sent: how many requests this process sent.
    """

    def __init__(self, endpoint: Endpoint, run: Run, sleep: Callable[[float], None] = time.sleep) -> None:
        self.endpoint, self.run, self.sent = endpoint, run, 0
        self._sleep = sleep
        self._failures = 0
        self._opener = urllib.request.build_opener(_Refused)

    def ask(self, messages: Sequence[dict[str, Any]], shown: Sequence[str], attempt: int = 0) -> str:
        """The model's answer to a conversation.

        Args:
            shown: ids of the examples that the messages hold, for the record. attempt: a question that was answered
                badly is asked again under another number.

        Raises:
            OverseerFailed: if there is no answer after all retries, or no more may be asked.
        """
        endpoint = self.endpoint
        body = {"model": endpoint.model, "messages": list(messages), "temperature": 0, "max_tokens": 400}
        data = json.dumps(body).encode()
        key = digest(endpoint.url, canonical(body), str(attempt))[:32]
        name = f"{SENT}/{key}.json"
        if self.run.has(name):
            return str(self.run.read_json(name)["answer"])
        if self._failures >= _GIVEN_UP:
            raise OverseerFailed(
                f"the language model left {_GIVEN_UP} questions in a row unanswered: no more was asked"
            )
        began = time.monotonic()
        self._failures += 1
        answer = self._ask(data)
        self._failures = 0
        self.run.write_json(
            name,
            {
                "url": endpoint.url, "model": endpoint.model, "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - began, 3), "bytes": len(data), "examples": list(shown),
                "text": _texts(messages), "answer": answer,
            },
        )  # fmt: skip
        return answer

    def _ask(self, data: bytes) -> str:
        endpoint, pause = self.endpoint, self.endpoint.pause
        for left in reversed(range(endpoint.retries + 1)):
            if self.sent >= endpoint.calls:
                raise OverseerFailed(f"all {endpoint.calls} requests to the language model are spent")
            self.sent += 1
            try:
                return _answer(self._post(data))
            except urllib.error.HTTPError as error:
                why = f"the language model's server answers with status {error.code}"
                passing = error.code in _PASSING
                error.close()
            except TimeoutError:
                why, passing = f"the language model gave no answer within {endpoint.timeout:g} s", True
            except (OSError, HTTPException) as error:  # URLError is an OSError
                reason = getattr(error, "reason", None) or error
                late = isinstance(reason, TimeoutError)
                why = f"no answer within {endpoint.timeout:g} s" if late else f"the server cannot be reached ({reason})"
                why, passing = f"the language model: {why}", True
            except ValueError as error:
                why, passing = f"the language model's server gives no chat completion ({error})", True
            if not passing or not left:
                raise OverseerFailed(why)
            self._sleep(pause)
            pause *= 2
        raise AssertionError("the loop returns or raises")

    def _post(self, data: bytes) -> bytes:
        endpoint = self.endpoint
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if endpoint.key is not None:
            headers["Authorization"] = f"Bearer {os.environ[endpoint.key]}"
        request = urllib.request.Request(f"{endpoint.url.rstrip('/')}/chat/completions", data, headers, method="POST")
        # A server that dribbles may keep a read alive for ever: the whole answer has the time that one read has.
        end = time.monotonic() + endpoint.timeout
        parts: list[bytes] = []
        with self._opener.open(request, timeout=endpoint.timeout) as response:
            while part := response.read1(65536):
                parts.append(part)
                if sum(map(len, parts)) > _LARGEST:
                    raise ValueError(f"more than {_LARGEST} bytes")
                if time.monotonic() > end:
                    raise TimeoutError
        return b"".join(parts)


def _answer(data: bytes) -> str:
    try:
        text = json.loads(data)["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError, RecursionError) as error:
        raise ValueError("it has no choices") from error
    if not isinstance(text, str) or not text.strip():
        raise ValueError("it is empty")
    return text


def _texts(messages: Sequence[dict[str, Any]]) -> list[str]:
    """The words that were sent; pictures are told by the examples' ids."""
    found: list[str] = []
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        found += [part["text"] if part["type"] == "text" else "(picture)" for part in parts]
    return found
