"""`mulligan see units` and `see photograph`: cards with pictures beside their controls, what is left out, resuming."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mulligan.apps import cli
from mulligan.datasets import load_dataset
from mulligan.features.dictionaries import Dictionary
from mulligan.networks import ImageInput, Network
from mulligan.procedures.see import photograph, units_work
from mulligan.procedures.see.photograph import Request as Photograph
from mulligan.procedures.see.photograph import see_photograph
from mulligan.procedures.see.units import Request, prepare, see_units
from mulligan.records import BadInput, Seen
from mulligan.reports import write_html
from mulligan.runs import Run

INPUT = ImageInput(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,))


@pytest.fixture(scope="module")
def network() -> Network:
    """Unit 0 of `bright` fires on bright pictures, unit 1 on dark ones, and unit 2 never."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 3, 3, padding=1)
    with torch.no_grad():
        conv.weight[0] = 0.2
        conv.weight[1] = -0.2
        conv.weight[2] = 0
        conv.bias.zero_()
    module = nn.Sequential()
    module.add_module("bright", nn.Sequential(conv, nn.ReLU()))
    module.add_module("mixed", nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()))
    module.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)))
    return Network(module, input=INPUT, classes=["light", "<b>dark</b>"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = np.random.default_rng(0)
    shades = rng.uniform(0.1, 0.9, size=(60, 1, 1)) + rng.normal(0, 0.05, size=(60, 16, 16))
    path = tmp_path_factory.mktemp("data") / "d.npz"
    np.savez(path, x=(255 * shades.clip(0, 1)).astype(np.uint8), y=(shades.mean((1, 2)) < 0.5).astype(np.int64))
    return load_dataset(path)


def seen(network, dataset, path, *, steps: int = 24, **extra) -> Seen:
    run = Run.create("see", [], {}, out=str(path))
    return see_units(Request(network=network, dataset=dataset, steps=steps, n=3, **extra), run)


def test_cards_hold_pictures_beside_examples_and_a_twin(network, dataset, tmp_path) -> None:
    found = seen(network, dataset, tmp_path / "r", features=("bright", "class light"), negative=True, steps=120)
    names = [card.feature for card in found.cards]
    assert names == ["bright:0", "bright:1", "bright:2", "class light"]
    bright, dark, never, light = found.cards
    picture, opposite = bright.portraits
    assert opposite.objective == "-bright:0"
    shown = np.asarray(Image.open(tmp_path / "r" / picture.image)).astype(float)
    hidden = np.asarray(Image.open(tmp_path / "r" / opposite.image)).astype(float)
    assert shown.mean() > 150 > 100 > hidden.mean()
    assert picture.reached > picture.best
    assert picture.examples == 60
    assert picture.twin is not None
    assert picture.marks == ()
    best = list(dataset.ids).index(picture.best_example)
    assert best == int(np.argmax([np.mean(dataset.raw(i)) for i in range(60)]))
    assert dark.portraits[0].reached > 0
    assert len(bright.top) == 3
    assert never.portraits == ()
    assert any(left.what == "bright:2" and "never fires" in left.why for left in found.left_out)
    assert light.portraits[0].objective == "class light"
    page = write_html(tmp_path / "r").read_text()
    assert "<b>dark" not in page


def test_the_best_example_is_that_of_slow_code(network, dataset, tmp_path) -> None:
    found = seen(network, dataset, tmp_path / "r", features=("mixed:2",), twin=False)
    (portrait,) = found.cards[0].portraits
    values = []
    for row in range(60):
        x = INPUT.prepare(dataset.raw(row))[None]
        with torch.no_grad(), network.watching("mixed.0", copy=True) as watched:
            network(x)
        values.append(float(watched["mixed.0"][0, 2].mean()))
    assert portrait.best == pytest.approx(max(values), rel=1e-5)
    assert portrait.twin is None


def test_what_is_wrong_is_left_out_and_the_rest_goes_on(network, dataset, tmp_path) -> None:
    request = Request(network=network, dataset=dataset, features=("mixed:1", "mixed:6", "nowhere:0", "class grey"))
    ready = prepare(request)
    assert list(ready.objectives) == ["mixed:1"]
    assert ["6, 0 to 5" in left.why for left in ready.left_out] == [True, False, False]
    with pytest.raises(BadInput, match="the site has 6"):
        prepare(Request(network=network, dataset=dataset, features=("mixed:6",)))
    with pytest.raises(BadInput, match="no feature"):
        prepare(Request(network=network, dataset=dataset))


def test_pictures_that_are_too_small_are_said(network, dataset, tmp_path) -> None:
    wide = nn.Sequential(nn.Conv2d(1, 3, 7), nn.Flatten())
    with pytest.raises(BadInput, match="does not run on pictures of 6 x 6 pixels"):
        prepare(Request(network=Network(wide, input=INPUT, task="other"), features=("0:1",), size=6))
    assert prepare(Request(network=network, features=("mixed:1",), size=8)).notes == ()
    (note,) = prepare(Request(network=network, features=("mixed:1", "class light"), size=4)).notes
    assert "4 x 4 pixels are smaller than what a unit of mixed sees, 5 x 5: they show a part of it" in note
    found = seen(network, dataset, tmp_path / "r", features=("mixed:1",), size=4, twin=False)
    assert note in found.notes


def test_a_unit_that_is_no_number_is_left_out_and_the_dead_are_still_known(network, dataset, tmp_path) -> None:
    module = copy.deepcopy(network.module)
    with torch.no_grad():
        module.mixed[0].bias[2] = float("nan")
        module.mixed[0].weight[4] = 0
    broken = Network(module, input=INPUT, classes=["light", "dark"])
    found = seen(broken, dataset, tmp_path / "r", features=("mixed",), twin=False, steps=4)
    why = {left.what: left.why for left in found.left_out}
    assert "NaN or infinite on all 60 examples: check the weights" in why["mixed:2"]
    assert "never fires" in why["mixed:4"]
    assert [len(card.portraits) for card in found.cards] == [1, 1, 0, 1, 0, 1]


def test_a_killed_job_goes_on_and_is_the_same(network, dataset, tmp_path, monkeypatch) -> None:
    whole = seen(network, dataset, tmp_path / "whole", features=("mixed",), batch=2)
    run = Run.create("see", [], {}, out=str(tmp_path / "cut"))
    request = Request(network=network, dataset=dataset, steps=24, n=3, features=("mixed",), batch=2)
    done, real = [], units_work.visualize

    def dies(*args, **kwargs):
        done.append(1)
        if len(done) > 4:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(units_work, "visualize", dies)
    with pytest.raises(KeyboardInterrupt):
        see_units(request, run)
    monkeypatch.setattr(units_work, "visualize", lambda *a, **k: done.append(1) or real(*a, **k))
    again = see_units(request, Run.open(str(tmp_path / "cut")))
    assert len(done) == 7  # six in all, and the one that died
    assert [card.portraits for card in again.cards] == [card.portraits for card in whole.cards]


def test_without_data_pictures_stand_alone_and_say_so(network, tmp_path) -> None:
    run = Run.create("see", [], {}, out=str(tmp_path / "r"))
    found = see_units(Request(network=network, features=("mixed:0",), steps=8), run)
    assert found.cards[0].portraits[0].best is None
    assert "supposed" in found.notes[0]


def test_several_that_differ_sums_and_latents(network, dataset, tmp_path) -> None:
    book = Dictionary("book", "mixed", np.eye(6, dtype=np.float32)[:2])
    found = seen(
        network, dataset, tmp_path / "r", features=("mixed:1 - 0.5 * mixed:2", "mixed@book:1"), diverse=2, twin=False,
        dictionaries={"book": book},
    )  # fmt: skip
    assert [len(card.portraits) for card in found.cards] == [2, 2]
    assert found.cards[0].feature == "mixed:1 - 0.5 * mixed:2"
    one, two = (np.asarray(Image.open(tmp_path / "r" / p.image)) for p in found.cards[1].portraits)
    assert not np.array_equal(one, two)


def test_a_photograph_is_dreamt_caricatured_and_inverted(network, tmp_path) -> None:
    rng = np.random.default_rng(1)
    photograph = Image.fromarray(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8))
    run = Run.create("see", [], {}, out=str(tmp_path / "r"))
    found = see_photograph(Photograph(network=network, site="mixed", photograph=photograph, steps=12), run)
    names = [portrait.objective for portrait in found.cards[0].portraits]
    assert names == [
        "the photograph", "dream of mixed", "dream of mixed, random twin", "caricature of mixed",
        "caricature of mixed, random twin", "inversion of mixed", "inversion of mixed, random twin",
    ]  # fmt: skip
    assert write_html(tmp_path / "r").is_file()
    with pytest.raises(BadInput, match="nightmare"):
        see_photograph(Photograph(network=network, site="mixed", photograph=photograph, what=("nightmare",)), run)


def test_a_killed_photograph_goes_on_and_is_the_same(network, dataset, tmp_path, monkeypatch) -> None:
    shown = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 30, 3), dtype=np.uint8))
    request = Photograph(network=network, site="mixed", photograph=shown, steps=8, dataset=dataset)
    whole = see_photograph(request, Run.create("see", [], {}, out=str(tmp_path / "whole")))
    done, real = [], photograph.values_of

    def dies(*args):
        done.append(1)
        if len(done) > 7:  # two a picture: the fourth is cut
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(photograph, "values_of", dies)
    with pytest.raises(KeyboardInterrupt):
        see_photograph(request, Run.create("see", [], {}, out=str(tmp_path / "cut")))
    monkeypatch.setattr(photograph, "values_of", lambda *args: done.append(1) or real(*args))
    again = see_photograph(request, Run.open(str(tmp_path / "cut")))
    assert len(done) == 8 + 6  # the first three pictures are not made again
    assert again.cards == whole.cards


def test_the_commands(tmp_path, dataset, monkeypatch, capsys) -> None:
    factory = tmp_path / "net.py"
    factory.write_text(
        "from torch import nn\n"
        "def factory():\n"
        "    last = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), *last)\n"
    )
    np.savez(tmp_path / "d.npz", x=np.stack([dataset.raw(i) for i in range(40)]).squeeze(), y=np.arange(40) % 2)
    monkeypatch.chdir(tmp_path)
    shared = [f"{factory}:factory", "--input", "size=16,channels=1,mean=0,std=1"]
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "p.png")
    few = ["--steps", "4", "--out"]
    for words in (
        ["see", "units", shared[0], "0:1", "0:9", *shared[1:], "--data", "d.npz", "--n", "2", *few, "a"],
        ["see", "photograph", shared[0], "0", *shared[1:], "--image", "p.png", *few, "b"],
    ):
        monkeypatch.setattr("sys.argv", ["mulligan", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr().err
        assert ended.value.code == 0, said
        assert ("left out" in said) == (words[1] == "units")
        assert (tmp_path / words[-1] / "report.html").is_file()
    # A second call with --resume goes on in the same folder; without a folder, or a picture, it says so.
    again = ["see", "photograph", shared[0], "0", *shared[1:], "--image"]
    for words, status, told in (
        ([*again, "p.png", *few, "b", "--resume"], 0, "Page"),
        ([*again, "p.png", "--resume"], 2, "pass --out RUN"),
        ([*again, "q.png", *few, "c"], 2, "there is no such picture"),
        ([*again, "p.png", *few, "c", "--what", "nightmare"], 2, "give some of dream"),
        (["see", "units", shared[0], "0:1", *shared[1:], "--size", "2"], 2, "--size"),
    ):
        monkeypatch.setattr("sys.argv", ["mulligan", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == status
        assert told in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
