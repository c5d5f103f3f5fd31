"""`mulligan see atlas` and `see maps`: what is wrong is one sentence, before anything is made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "visualization"))

from atlas_networks import paintings

from mulligan.apps.cli import main

FACTORY = """
from atlas_networks import CLASSES, Painted
INPUT = "size=8,channels=3,mean=0.5/0.5/0.5,std=1/1/1"


def factory():
    return Painted()
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    file = tmp_path / "painted.py"
    file.write_text(FACTORY)
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\nyellow\n")
    paintings(tmp_path, 40)
    monkeypatch.chdir(tmp_path)
    return [f"{file}:factory", "--classes", "classes.txt"]


def said(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["mulligan", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["act"], "an atlas is made of real activations"),
        (["nosuch", "--data", "paintings-40-True.npz"], "nosuch"),
        (["act", "--data", "paintings-40-True.npz", "--class", "purple"], "there is no class of this name"),
        (["act", "--data", "paintings-40-True.npz", "--zooms", "a,b"], "these are no numbers of cells"),
        (["act", "--data", "paintings-40-True.npz", "--against-site", "look"], "no second network is named"),
        (["act", "--data", "paintings-40-True.npz", "--activations", "20"], "an atlas over 20 activations"),
        (["act", "--data", "paintings-40-True.npz", "--resume"], "--resume needs to know where"),
    ],
)
def test_an_atlas_that_cannot_be_is_one_sentence_and_leaves_nothing(
    model: list[str],
    more: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, *options = model
    status, text = said(["see", "atlas", name, *more, *options], monkeypatch, capsys)
    assert status == 2
    assert sentence in text
    assert "Traceback" not in text
    assert not list(Path("runs").glob("*"))


def test_maps_without_data_are_one_sentence(
    model: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = said(["see", "maps", *model], monkeypatch, capsys)
    assert status == 2
    assert "maps are made of examples" in text
