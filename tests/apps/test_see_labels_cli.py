"""`mulligan see labels` as a stranger uses it: name units, judge a sample, read what was judged."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from loaded_examples import ROOT
from mulligan.apps import cli

DIGITS = f"{ROOT / 'examples' / 'digits.py'}:factory"
INPUT = "size=16,channels=1,mean=0,std=1"


@pytest.fixture
def run_cli(monkeypatch, capfd, tmp_path):
    """Run `mulligan WORDS` in a folder of its own; returns (exit status, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mulligan", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capfd.readouterr().err

    return run


@pytest.fixture
def digits(digit_nets, tmp_path):
    """Words that name a trained network, its units and data."""
    weights = tmp_path / "clean.safetensors"
    digit_nets.digits.save(digit_nets.clean(0), weights)
    data = digit_nets.write_data(tmp_path)
    return ("see", "labels", DIGITS, "--weights", weights, "--input", INPUT, "--data", data, "--pool", "mean")


@pytest.fixture
def oracle(monkeypatch):
    """The address of a server that names everything "round", and finds even inputs round."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = json.dumps(body)
            fits = [n for n in range(1, 21) if f'"{n}: "' in asked and n % 2 == 0]
            said = {"fits": fits} if "Description" in asked else {"label": "round"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": json.dumps(said)}}]}).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_units_are_named_a_sample_is_judged_and_the_page_says_so(run_cli, digits, tmp_path):
    status, err = run_cli(*digits, "blocks.3", "--out", "r", "--twins", 3)
    assert status == 0
    assert "units with a label that beats chance" in err
    seen = json.loads((tmp_path / "r" / "seen.json").read_text())
    named = [card["labels"][0]["text"] for card in seen["cards"]]
    # Classes, and groups of a few.
    words = {word for text in named if text != "no label that beats chance" for word in text.split(", ")}
    assert {word for word in words if "like them" not in word} <= set("0123456789")
    assert sum(text != "no label that beats chance" for text in named) >= 10
    page = (tmp_path / "r" / "report.html").read_text()
    assert "no label that beats chance" in page
    assert "Best random unit" in page

    status, err = run_cli("see", "labels", "r", "--sample", 8, "--sheet", "sheet.toml")
    assert status == 0
    assert "8 labels to judge" in err
    sheet = (tmp_path / "sheet.toml").read_text()
    status, err = run_cli("see", "labels", "r", "--judged", "sheet.toml")
    assert status == 2
    assert "who judged" in err
    filled = sheet.replace('author = ""', 'author = "Ann"').replace('verdict = ""', 'verdict = "yes"')
    (tmp_path / "sheet.toml").write_text(filled)
    status, err = run_cli("see", "labels", "r", "--judged", "sheet.toml")
    assert status == 0
    assert "agreement of Ann: 1 [" in err or "agreement of Ann: 0.9" in err
    assert "agreement of Ann" in (tmp_path / "r" / "report.html").read_text()


def test_a_language_model_is_asked_only_where_the_user_said(run_cli, digits, oracle, tmp_path):
    words = (*digits, "blocks.3:0,1", "--overseer", "llm", "--twins", 1, "--examples", 120)
    status, err = run_cli(*words, "--out", "none")
    assert status == 2
    assert "no language model is configured" in err
    assert not (tmp_path / "none").exists()
    status, err = run_cli(*words, "--out", "r", "--llm-url", oracle, "--llm-model", "tiny")
    assert status == 0, err
    seen = json.loads((tmp_path / "r" / "seen.json").read_text())
    # What it says fits is no property of the pictures: its label is measured, and not shown.
    assert [card["labels"][0]["text"] for card in seen["cards"]] == ["no label that beats chance"] * 2
    assert all(card["labels"][0]["overseer"] == "llm:tiny" for card in seen["cards"])
    assert abs(np.mean([card["labels"][0]["auc"]["value"] for card in seen["cards"]]) - 0.5) < 0.2
    sent = sorted((tmp_path / "r" / "sent").iterdir())
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["labels"]["sent"]["url"] == oracle
    assert manifest["labels"]["sent"]["requests"] == len(sent)
    assert "requests to" in (tmp_path / "r" / "report.html").read_text()


def test_peoples_labels_are_read_and_a_broken_file_names_its_line(run_cli, digits, tmp_path):
    file = tmp_path / "labels.toml"
    file.write_text('[[label]]\nfeature = "blocks.3:0"\ntext = "loops"\nauthor = "Ann"\ndate = 2026-01-31\n')
    status, err = run_cli(*digits, "blocks.3:0", "--labels", file, "--twins", 1, "--out", "r")
    assert status == 0, err
    seen = json.loads((tmp_path / "r" / "seen.json").read_text())
    assert seen["cards"][0]["labels"][0]["text"] == "loops"
    file.write_text(file.read_text() + "[[label]\n")
    status, err = run_cli(*digits, "blocks.3:0", "--labels", file)
    assert status == 2
    assert "line 6" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("blocks.3:64",), "blocks.3 has 64"),
        (("blocks.9:1",), "blocks.9"),
        (("blocks.3", "--overseer", "oracle"), "no such overseer"),
        (("blocks.3", "--labels", "none.toml"), "no such file of labels"),
        (("blocks.3", "--concepts", "none"), "no such file"),
        (("blocks.3", "--examples", "12"), "too few"),
        (("blocks.3", "--resume"), "--out"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_run(run_cli, digits, tmp_path, more, said):
    status, err = run_cli(*digits, *more)
    assert status == 2
    assert said in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("runs/*/seen.json"))


def test_a_sample_needs_a_run_of_labels(run_cli, tmp_path):
    status, err = run_cli("see", "labels", tmp_path, "--sample", 5)
    assert status == 2
    assert "no run" in err
