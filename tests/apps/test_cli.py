"""The command line as a stranger uses it: exit statuses, one clear sentence, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from loaded_examples import ROOT
from mulligan.apps import cli

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
    """Weights and data of a clean network."""
    weights = tmp_path / "clean.safetensors"
    digit_nets.digits.save(digit_nets.clean(0), weights)
    return {"weights": weights, "data": digit_nets.write_data(tmp_path)}


def test_an_audit_writes_all_its_files_and_prints_json(run_cli, files, tmp_path):
    status, out, err = run_cli(
        "audit",
        DIGITS,
        "--weights",
        files["weights"],
        "--data",
        files["data"],
        "--out",
        "r",
        "--budget",
        "10m",
        "--batch",
        128,
        "--checks",
        "conjunction,head-edit,preprocessing",
        "--json",
    )
    assert status == 0, err
    assert json.loads(out)["verdict"] == "pass"
    for name in (
        "findings.json",
        "description.json",
        "report.html",
        "findings.sarif",
        "findings.junit.xml",
        "pieces.json",
        "manifest.json",
    ):
        assert (tmp_path / "r" / name).is_file()
    assert "passed" in err
    before = (tmp_path / "r" / "findings.json").read_bytes()
    status, _, err = run_cli("audit", DIGITS, "--weights", files["weights"], "--data", files["data"], "--out", "r")
    assert status == 2
    assert "not an empty folder" in err
    assert (tmp_path / "r" / "findings.json").read_bytes() == before
    assert run_cli("report", "r")[0] == 0


BAD = [
    (["audit"], "needs a MODEL"),
    (["audit", "nonsense", "--data", "x"], "nonsense"),
    (["audit", DIGITS], "--data"),
    (["audit", DIGITS, "--data", "nowhere"], "nowhere"),
    (["audit", DIGITS, "--data", "data.npz", "--weights", "none.safetensors"], "none.safetensors"),
    (["audit", DIGITS, "--data", "data.npz", "--budget", "soon"], "soon"),
    (["audit", DIGITS, "--data", "data.npz", "--fail-on", "sometimes"], "sometimes"),
    (["audit", DIGITS, "--data", "data.npz", "--checks", "astrology"], "astrology"),
    (["audit", DIGITS, "--data", "data.npz", "--input", "size=banana"], "banana"),
    (["audit", DIGITS, "--data", "data.npz", "--sites", "blocks.77"], "blocks.77"),
    (["audit", DIGITS, "--data", "data.npz", "--siblings", "there"], "there"),
    (["audit", DIGITS, "--data", "data.npz", "--reference", "nonsense"], "nonsense"),
    (["audit", "nofile.py:factory", "--data", "data.npz"], "nofile.py"),
    (["audit", f"{DIGITS}y", "--data", "data.npz"], "factoryy"),
    (["audit", "hf:nowhere", "--data", "data.npz"], "nowhere"),
    (["audit", "--resume", "nowhere"], "nowhere"),
    (["report", "nowhere"], "nowhere"),
    (["sites", DIGITS, "blocks.9"], "blocks.9"),
    (["record", DIGITS, "--data", "data.npz", "--sites", "blocks.*", "--pools", "median"], "median"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(w)[-40:] for w, _ in BAD])
def test_bad_input_is_one_clear_sentence(run_cli, files, tmp_path, words, said):
    status, out, err = run_cli(*words)
    assert status == 2, err
    assert out == ""
    sentences = [line for line in err.splitlines() if line.startswith("mulligan:")]
    assert len(sentences) == 1, err
    assert said in sentences[0]
    assert sentences[0].endswith(".")
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists(), "bad input leaves no run behind"


def test_bad_weights(run_cli, files, tmp_path):
    good = files["weights"].read_bytes()
    (tmp_path / "short.safetensors").write_bytes(good[: len(good) // 2])
    save_file({"head.weight": torch.zeros(10, 3), "odd": torch.zeros(1)}, tmp_path / "other.safetensors")
    from safetensors.torch import load_file

    nan = load_file(files["weights"])
    nan["head.weight"][0] = float("nan")
    save_file(nan, tmp_path / "nan.safetensors")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pickled.pt")
    for name, said in (("short", "truncated"), ("other", "odd"), ("nan", "NaN")):
        status, _, err = run_cli("audit", DIGITS, "--data", files["data"], "--weights", f"{name}.safetensors")
        assert (status, said in err) == (2, True), err
    status, _, err = run_cli("audit", DIGITS, "--data", files["data"], "--weights", "pickled.pt")
    assert status == 2
    assert "safetensors" in err


def test_wrong_class_lists(run_cli, files, tmp_path):
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "twice.json").write_text('["a", "a"]')
    (tmp_path / "empty.txt").write_text("\n")
    for name, said in (("three.txt", "3"), ("twice.json", "twice"), ("empty.txt", "empty"), ("gone.txt", "gone.txt")):
        status, _, err = run_cli("audit", DIGITS, "--data", files["data"], "--classes", name)
        assert (status, said in err) == (2, True), err


def test_unreadable_images_and_one_class(run_cli, files, tmp_path):
    (tmp_path / "images" / "0").mkdir(parents=True)
    (tmp_path / "images" / "1").mkdir()
    for folder in "01":
        (tmp_path / "images" / folder / "a.png").write_bytes(b"no picture")
    status, _, err = run_cli("audit", DIGITS, "--data", "images")
    assert status == 2
    assert "a.png" in err
    np.savez(tmp_path / "one.npz", x=np.zeros((30, 16, 16), np.uint8), y=np.zeros(30, np.int64))
    status, _, err = run_cli("audit", DIGITS, "--data", "one.npz")
    assert status == 2
    assert "class" in err


def test_a_manifest_from_the_future_and_one_that_leads_out(run_cli, tmp_path):
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"schema": "mulligan/run/99"}))
    status, _, err = run_cli("audit", "--resume", "r")
    assert status == 2
    assert "newer" in err
    (folder / "manifest.json").write_text("{")
    assert run_cli("audit", "--resume", "r")[0] == 2


def test_sites_and_record(run_cli, files, tmp_path):
    status, out, err = run_cli("sites", DIGITS, "blocks.?")
    assert status == 0, err
    assert "blocks.3" in out
    assert "channel" in out
    status, _, err = run_cli(
        "record",
        DIGITS,
        "--weights",
        files["weights"],
        "--data",
        files["data"],
        "--sites",
        "blocks.1,blocks.2",
        "--pools",
        "mean",
        "--out",
        "rec",
    )
    assert status == 0, err
    from mulligan.activations import Recording
    from mulligan.runs import Run

    recording = Recording(Run.open(tmp_path / "rec"))
    assert recording.array("blocks.1|mean").shape[0] == len(recording)


def test_defaults_come_from_mulligan_toml(run_cli, files, tmp_path):
    (tmp_path / "mulligan.toml").write_text('[audit]\nfail-on = "sometimes"\n')
    status, _, err = run_cli("audit", DIGITS, "--data", files["data"])
    assert (status, "sometimes" in err) == (2, True)
    (tmp_path / "mulligan.toml").write_text("[audit\n")
    status, _, err = run_cli("audit", DIGITS, "--data", files["data"])
    assert (status, "mulligan.toml" in err) == (2, True)


def test_our_own_fault_is_4(run_cli, files, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "_load", broken)
    status, _, err = run_cli("audit", DIGITS, "--data", files["data"])
    assert status == 4
    assert "our fault" in err


def test_ctrl_c_says_how_to_go_on_and_going_on_works(files, tmp_path):
    command = [
        sys.executable,
        "-m",
        "mulligan.apps.cli",
        "audit",
        DIGITS,
        "--weights",
        str(files["weights"]),
        "--data",
        str(files["data"]),
        "--out",
        "r",
        "--batch",
        "32",
        "--checks",
        "conjunction,head-edit,preprocessing",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # A shell that runs jobs in the background tells them to ignore Ctrl-C; here it must count.
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "r").glob("pieces/*/*.safetensors")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # Pressed again, as people do: one that falls within a library's bare `except:` is lost without a trace.
    pressed, err = 0, None
    while err is None:
        ended = process.poll()
        process.send_signal(signal.SIGINT)
        pressed += 1
        try:
            _, err = process.communicate(timeout=3)
        except subprocess.TimeoutExpired:
            assert pressed < 20
    assert process.returncode == 130, f"pressed {pressed} times, ended before: {ended}\n{err}"
    assert "mulligan audit --resume r" in " ".join(err.split())
    kept = {path.name for path in (tmp_path / "r").glob("pieces/*/*.safetensors")}
    again = subprocess.run(
        [*command[:4], "--resume", "r"], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300
    )
    assert again.returncode in (0, 3), again.stderr
    assert kept <= {path.name for path in (tmp_path / "r").glob("pieces/*/*.safetensors")}
    assert (tmp_path / "r" / "report.html").is_file()


def test_the_report_needs_no_torch(files, tmp_path, run_cli):
    status, _, err = run_cli(
        "audit",
        DIGITS,
        "--weights",
        files["weights"],
        "--data",
        files["data"],
        "--out",
        "r",
        "--batch",
        128,
        "--checks",
        "head-edit",
    )
    assert status in (0, 3), err
    code = (
        "import sys; sys.modules['torch'] = None; from mulligan.apps.cli import main; sys.argv = ['mulligan', "
        "'report', 'r']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
