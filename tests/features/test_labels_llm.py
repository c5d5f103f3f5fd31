"""A language model as an overseer, against a local server that answers rightly, wrongly, late or not at all."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from mulligan.features.labels import Endpoint, Evidence, LanguageModel, OverseerFailed
from mulligan.features.labels.endpoint import Chat
from mulligan.features.labels.llm import Shown
from mulligan.records import BadInput
from mulligan.runs import Run

TEXTS = [f"a {'dog' if row % 3 == 0 else 'car'} number {row}" for row in range(60)]


class Server:
    """Answers POST /v1/chat/completions by `answer(body)`: a text, a (status, body) pair, or a callable."""

    def __init__(self, answer: Any) -> None:
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.headers.append(dict(self.headers) | {"path": self.path})
                said = answer(body) if callable(answer) else answer
                status, data, headers = 200, said, {}
                if isinstance(said, tuple):
                    status, data, headers = (*said, {})[:3]
                else:
                    data = json.dumps({"choices": [{"message": {"content": said}}]})
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    if hasattr(data, "__next__"):
                        for part in data:
                            self.wfile.write(part)
                            self.wfile.flush()
                    else:
                        self.wfile.write(data.encode())
                except OSError:
                    pass  # the one who asked has gone

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def serve(monkeypatch):
    servers: list[Server] = []
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def start(answer: Any) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create("test", [], {}, out=tmp_path / "run")


def model(server: Server, run: Run, **more: Any) -> LanguageModel:
    endpoint = Endpoint(url=server.url, model="tiny", **{"timeout": 5.0, "pause": 0.0, **more})
    return LanguageModel(Chat(endpoint, run, sleep=lambda seconds: None), lambda row, at: Shown(f"id{row}", TEXTS[row]))


def words(body: dict) -> str:
    content = body["messages"][-1]["content"]
    return "\n".join(part.get("text", "") for part in content)


def honest(body: dict) -> str:
    """Says "dog", and finds the inputs that hold what is described."""
    text = words(body)
    if "Description" not in text:
        return 'Let me think {of it}.\n```json\n{"label": "dog"}\n```'
    what = json.loads(text.split("Description: ")[1].split("\n")[0])
    fit = [int(line.split(":")[0]) for line in text.split("\n")[1:] if what in line]
    return json.dumps({"fits": fit})


def evidence() -> Evidence:
    values = np.array([float("dog" in text) for text in TEXTS]) + np.linspace(0, 0.1, 60)
    return Evidence("blocks.5:12", np.arange(60), values)


def test_it_proposes_and_judges(serve, run) -> None:
    server = serve(honest)
    overseer = model(server, run)
    (candidate,) = overseer.propose(evidence())
    assert candidate.text == "dog"
    rows = np.arange(50)
    judged = overseer.judge("dog", rows)
    assert judged.tolist() == [float("dog" in TEXTS[row]) for row in rows]
    assert overseer.name == "llm:tiny"
    # In questions of 20, in an order that says nothing of the activations, and without the activations.
    assert len(server.bodies) == 1 + 3
    assert "activation" in words(server.bodies[0])
    assert all("activation" not in words(body) for body in server.bodies[1:])
    assert all(header["path"] == "/v1/chat/completions" for header in server.headers)


def test_what_was_sent_where_is_recorded_and_not_asked_again(serve, run, monkeypatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-key")
    server = serve(honest)
    model(server, run, key="MY_KEY").propose(evidence())
    assert server.headers[0]["Authorization"] == "Bearer secret-key"
    (file,) = sorted((run.path / "sent").iterdir())
    record = json.loads(file.read_text())
    assert record["url"] == server.url
    assert record["answer"].endswith("```")
    assert set(record["examples"]) <= {f"id{row}" for row in range(60)}
    assert any("activation" in text for text in record["text"])
    assert all("secret-key" not in path.read_text() for path in run.path.rglob("*.json"))
    # A job that goes on finds the answer in the run.
    again = model(server, run, key="MY_KEY")
    assert again.propose(evidence())[0].text == "dog"
    assert len(server.bodies) == 1
    assert again._chat.sent == 0


def test_pictures_are_sent_as_pictures(serve, run) -> None:
    server = serve(honest)
    endpoint = Endpoint(url=server.url, model="tiny")
    overseer = LanguageModel(Chat(endpoint, run), lambda row, at: Shown(f"id{row}", png=b"\x89PNG..."))
    overseer.propose(evidence())
    parts = server.bodies[0]["messages"][-1]["content"]
    assert any(p["type"] == "image_url" and p["image_url"]["url"].startswith("data:image/png;base64,") for p in parts)
    record = json.loads(next((run.path / "sent").iterdir()).read_text())
    assert "(picture)" in record["text"]


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot help with that.", '{"label": 3}', '{"label": ""}', "[]", '{"label": "' + "x" * 500 + '"}',
        '{"label": ', "{" * 5000,
    ],
)  # fmt: skip
def test_nonsense_is_asked_again_once_and_then_left_out(serve, run, answer) -> None:
    server = serve(answer)
    with pytest.raises(OverseerFailed, match="makes no sense"):
        model(server, run).propose(evidence())
    assert len(server.bodies) == 2


@pytest.mark.parametrize("answer", ['{"fits": "all"}', '{"fits": [0]}', '{"fits": [99]}', '{"fits": [true]}'])
def test_judgements_of_what_was_not_asked_are_no_judgements(serve, run, answer) -> None:
    with pytest.raises(OverseerFailed, match="makes no sense"):
        model(serve(answer), run).judge("dog", np.arange(10))


def test_no_label_is_an_answer(serve, run) -> None:
    assert model(serve('{"label": null}'), run).propose(evidence()) == []


def test_a_passing_error_is_tried_again(serve, run) -> None:
    left = [(503, "busy"), (429, "slow down")]
    server = serve(lambda body: left.pop() if left else honest(body))
    assert model(server, run).propose(evidence())[0].text == "dog"
    assert len(server.bodies) == 3


@pytest.mark.parametrize(("status", "sent"), [(500, 3), (401, 1), (404, 1)])
def test_an_error_that_stays_is_said(serve, run, status, sent) -> None:
    server = serve((status, "no"))
    with pytest.raises(OverseerFailed, match=str(status)):
        model(server, run).propose(evidence())
    assert len(server.bodies) == sent


@pytest.mark.parametrize("body", ["not JSON", "{}", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}'])
def test_what_is_no_chat_completion_is_said(serve, run, body) -> None:
    with pytest.raises(OverseerFailed, match="no chat completion"):
        model(serve((200, body)), run).propose(evidence())


def test_a_server_that_hangs_or_dribbles_is_given_up(serve, run) -> None:
    def dribble():
        for _ in range(40):
            time.sleep(0.05)
            yield b" "

    for answer in (lambda body: time.sleep(1.5) or "late", lambda body: (200, dribble())):
        began = time.monotonic()
        with pytest.raises(OverseerFailed, match=r"within 0\.2 s"):
            model(serve(answer), run, timeout=0.2, retries=1).propose(evidence())
        assert time.monotonic() - began < 1.4


def test_a_redirect_carries_no_key_elsewhere(serve, run, monkeypatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-key")
    other = serve(honest)
    server = serve((302, "", {"Location": other.url + "/chat/completions"}))
    with pytest.raises(OverseerFailed, match="302"):
        model(server, run, key="MY_KEY").propose(evidence())
    assert other.bodies == []


def test_no_server_is_said(run) -> None:
    endpoint = Endpoint(url="http://127.0.0.1:1/v1", model="tiny", retries=0)
    with pytest.raises(OverseerFailed, match="cannot be reached"):
        Chat(endpoint, run).ask([{"role": "user", "content": "x"}], [])


def test_a_server_that_stays_silent_is_not_asked_for_ever(serve, run) -> None:
    server = serve((500, "no"))
    overseer = model(server, run, retries=0)
    for asked in (1, 2, 3, 3, 3):
        with pytest.raises(OverseerFailed, match="status 500" if asked < 3 or len(server.bodies) < 3 else "in a row"):
            overseer.propose(evidence())
        assert len(server.bodies) == asked


def test_no_more_is_asked_than_was_allowed(serve, run) -> None:
    server = serve(honest)
    overseer = model(server, run, calls=2)
    with pytest.raises(OverseerFailed, match="all 2 requests"):
        overseer.judge("dog", np.arange(60))
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "file:///etc/passwd"}, "no address"),
        ({"url": "http://"}, "no address"),
        ({"url": "http://me:word@host/v1"}, "password"),
        ({"model": ""}, "no model"),
        ({"timeout": 0}, "cannot be"),
        ({"calls": 0}, "cannot be"),
        ({"key": "NO_SUCH_VARIABLE_HERE"}, "not set"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(options, said) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        Endpoint(**{"url": "http://127.0.0.1/v1", "model": "tiny", **options})
    assert "word" not in str(caught.value).replace("password", "")
