"""`mulligan see factors` as a stranger types it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from colour_networks import COLOURS, patches
from mulligan.apps import cli
from mulligan.records import Factored
from mulligan.runs import Run

MIXER = f"{Path(__file__).resolve().parents[1] / 'colour_networks.py'}:Mixer"


@pytest.fixture
def see(monkeypatch, capfd, tmp_path):
    """Run `mulligan see factors MIXER WORDS` in a folder of its own; returns (exit status, stderr)."""
    monkeypatch.chdir(tmp_path)
    images, labels = patches()
    np.savez(tmp_path / "data.npz", x=images, y=labels)
    (tmp_path / "classes.txt").write_text("\n".join(COLOURS))

    def run(*words):
        common = ["--data", "data.npz", "--classes", "classes.txt", "--input", "size=16,channels=3,mean=0,std=1"]
        monkeypatch.setattr(sys, "argv", ["mulligan", "see", "factors", MIXER, *map(str, words), *common])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capfd.readouterr().err

    return run


def test_a_run_with_its_page(see, tmp_path):
    status, err = see("act", "--n", 3, "--steps", 0, "--output", "blue", "--out", "r", "--shown", 2)
    assert status == 0, err
    assert "3 factors of act explain" in err
    document = Run.open(tmp_path / "r").read_json("factors.json", Factored)
    assert document.output == "blue"
    assert len(document.pictures) == 2
    assert (tmp_path / "r" / "report.html").stat().st_size > 10_000
    again, err = see("act", "--n", 3, "--steps", 0, "--output", "blue", "--out", "r", "--shown", 2, "--resume")
    assert again == 0, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("head", "--steps", 0), "this site has no space"),
        (("act", "--output", "bleu"), "there is no class 'bleu' among the 3"),
        (("act", "--n", 11), "10 units for 11 factors"),
        (("act", "--image", "none.png"), "no longer there"),
        (("act", "--kind", "ica", "--steps", 0), "'ica' is not known"),
        (("act", "--resume"), "--resume needs to know where"),
    ],
)
def test_one_clear_sentence_and_no_folder(see, tmp_path, words, said):
    status, err = see(*words)
    assert status == 2
    assert said in err
    assert "Traceback" not in err
    assert not list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else True
