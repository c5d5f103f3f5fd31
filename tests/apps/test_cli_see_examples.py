"""`mulligan see examples` on the command line: what it says, what it refuses, going on, rendering again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from loaded_examples import ROOT
from mulligan.apps import cli
from mulligan.records import Seen

DIGITS = f"{ROOT / 'examples' / 'digits.py'}:factory"


@pytest.fixture
def run_cli(monkeypatch, capfd, tmp_path):
    """Run `mulligan WORDS` in a folder of its own; returns (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mulligan", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture
def files(digit_nets, tmp_path):
    """Options for the weights and data of a clean network."""
    weights = tmp_path / "clean.safetensors"
    digit_nets.digits.save(digit_nets.clean(0), weights)
    return ["--weights", weights, "--data", digit_nets.write_data(tmp_path, 60)]


def test_it_writes_a_page_and_renders_it_again(run_cli, files, tmp_path):
    status, _, err = run_cli("see", "examples", DIGITS, "blocks.1:3", "class 7", "blocks.1:77", *files, "--out", "r")
    assert status == 0, err
    assert "there is no unit 77" in err
    page = (tmp_path / "r" / "report.html").read_bytes()
    assert b"blocks.1:3" in page
    (tmp_path / "r" / "report.html").unlink()
    assert run_cli("report", "r")[0] == 0
    assert (tmp_path / "r" / "report.html").read_bytes() == page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["blocks.1:77"], "blocks.1 has 32, numbered from 0 to 31"),
        (["class cow"], "no such class"),
        (["nowhere:1"], "nowhere"),
        (["blocks.1"], "SITE:INDEX"),
    ],
)
def test_bad_features_make_no_run(run_cli, files, tmp_path, words, said):
    status, _, err = run_cli("see", "examples", DIGITS, *words, *files, "--out", "r")
    assert status == 2
    assert said in err
    assert not (tmp_path / "r").exists()


def test_data_are_needed(run_cli, files):
    status, _, err = run_cli("see", "examples", DIGITS, "blocks.1:3", *files[:2])
    assert status == 2
    assert "--data" in err


def test_a_killed_run_goes_on_to_the_same_cards(run_cli, files, tmp_path):
    words = ["see", "examples", DIGITS, *(f"blocks.3:{unit}" for unit in range(5)), *map(str, files)]
    assert run_cli(*words, "--out", "whole")[0] == 0
    code = "from mulligan.apps.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--out", "killed"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    began = time.monotonic()
    while len(list((tmp_path / "killed").glob("pieces/*/*"))) < 3 and time.monotonic() - began < 60:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert run_cli(*words, "--out", "killed", "--resume")[0] == 0
    cards = [
        msgspec.json.decode((tmp_path / name / "seen.json").read_bytes(), type=Seen).cards
        for name in ("whole", "killed")
    ]
    assert cards[0] == cards[1]
