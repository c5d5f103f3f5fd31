"""Factors from a network and data to a run: planted ones are found, placed and confirmed; what fails is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from colour_networks import COLOURS, SIDE, directions, mixer, patch_data, patches
from mulligan.features import load_dictionary
from mulligan.networks import ImageInput, Network
from mulligan.procedures.see import factor_work
from mulligan.procedures.see.factor_drawing import alone, hatched, overlay
from mulligan.procedures.see.factors import Request, prepare, see_factors
from mulligan.records import FACTOR_COLOURS, FACTOR_HATCHES, BadInput, Factored, Interrupted
from mulligan.runs import Run


def new_run(folder: Path) -> Run:
    return Run.create("see", [], {}, out=folder)


def request(tmp_path: Path, **more) -> Request:
    asked = {
        "network": mixer(),
        "dataset": patch_data(tmp_path),
        "site": "act",
        "count": 3,
        "steps": 0,
        "output": "red",
    }
    return Request(**(asked | more))


def found_colours(document: Factored, run: Run) -> list[int]:
    """Which colour each factor is, by its direction; each must be one."""
    found = load_dictionary(run.at(document.dictionary)).encoder @ directions().T
    assert (found.max(1) > 0.97).all()
    return found.argmax(1).tolist()


def test_planted_factors_are_found_and_confirmed(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    document = see_factors(request(tmp_path), run)
    colours = found_colours(document, run)
    assert sorted(colours) == [0, 1, 2]
    assert document.explained.value > 0.97
    assert document.explained.value == pytest.approx(sum(card.share.value for card in document.cards))
    assert document.shuffled.high < document.explained.low
    assert document.twin is not None
    assert document.elbow.suggested == 3
    assert (document.negatives, document.grid, document.scanned, document.left_out) == ("none", (4, 4), 60, ())
    assert run.read_json("factors.json", Factored) == document
    for card, colour in zip(document.cards, colours, strict=True):
        effect = card.effect
        assert (effect.output, effect.attribution.n) == ("red", 24)
        # The head reads each colour alone: only red drives "red".
        assert effect.confirmed is (colour == 0)
        assert effect.taken_out.value == pytest.approx(-effect.attribution.value, abs=0.1)
        assert [c.name for c in card.classes][:1] == [COLOURS[colour]]
        assert card.classes[0].change.high < card.classes[0].control.low
        assert all(s.example.image and run.has(s.example.image) and run.has(s.heat) for s in card.strongest)
    assert all(run.has(picture.overlay) for picture in document.pictures)
    assert all(sum(picture.shares) == pytest.approx(1) for picture in document.pictures)
    assert [card.feature.partition("@")[0] for card in document.cards] == ["act"] * 3


def test_a_network_that_does_not_listen_confirms_nothing(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    document = see_factors(request(tmp_path, network=mixer(deaf=True)), run)
    assert [card.effect.confirmed for card in document.cards] == [False] * 3
    assert all(abs(card.effect.attribution.value) < 1e-4 for card in document.cards)


def test_one_picture(tmp_path: Path) -> None:
    """Its own activations are factored, and each factor is where its colour is."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:8, :, 0], pixels[8:, :8, 1], pixels[8:, 8:, 2] = 250, 200, 220
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    run = new_run(tmp_path / "run")
    asked = request(tmp_path, image=tmp_path / "mine.png", output=None)
    document = see_factors(asked, run)
    assert document.of_one
    assert document.activations == 16
    assert document.output == "red"  # what this picture is answered as
    colours = found_colours(document, run)
    placed = factor_work.find_grid(asked.network, "act")
    with torch.no_grad(), asked.network.watching("act") as watched:
        asked.network(asked.network.input.stack([pixels]))
    values = placed.values(watched["act"])[0].numpy()
    for card, colour in zip(document.cards, colours, strict=True):
        here = card.here
        assert here.attribution.n == 1
        assert here.taken_out.value == pytest.approx(-here.attribution.value, abs=1e-2)
        assert (here.taken_out.value < -1) == (colour == 0)
    top = load_dictionary(run.at(document.dictionary)).read(values)[:, :, colours.index(0)]
    assert top[:2].min() > top[2:].max()
    first = document.pictures[0]
    assert all(len(shown.alone) == 3 for shown in document.pictures)
    assert first.example.answer == "red"
    assert sum(first.shares[:3]) == pytest.approx(1, abs=0.02)


def test_components_speak_the_same_words(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    document = see_factors(request(tmp_path, kind="pca", count=2, output=None), run)
    assert document.kind == "pca"
    assert document.output == "each example's own answer"
    assert document.cards[0].share.value >= document.cards[1].share.value
    assert load_dictionary(run.at(document.dictionary)).centre is not None


def test_pictures_are_made_and_what_fails_is_left_out(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    document = see_factors(request(tmp_path, steps=12), run)
    assert document.left_out == ()
    for card in document.cards:
        portrait = card.portrait
        assert run.has(portrait.image)
        assert portrait.objective == card.feature
        assert portrait.best_example in patch_data(tmp_path).ids
        assert portrait.twin is not None
        # What it reaches is what the network says of the stored pixels at the site, as of examples.
        network = mixer()
        with Image.open(run.at(portrait.image)) as image, torch.no_grad(), network.watching("act") as watched:
            network(network.input.stack([np.asarray(image)]))
        means = watched["act"].mean((2, 3))[0].numpy()
        row = load_dictionary(run.at(document.dictionary)).encoder[card.number - 1]
        assert portrait.reached == pytest.approx(float(means @ row), abs=1e-4)
        assert (portrait.reached < portrait.best) == bool(portrait.marks)
        with Image.open(run.at(portrait.image)) as image:
            mean = np.asarray(image, np.float64).mean((0, 1))
        # The picture that excites a colour's direction is of that colour.
        known = load_dictionary(run.at(document.dictionary)).encoder[card.number - 1] @ directions().T
        assert mean.argmax() == known.argmax()


def test_resumes_without_doing_anything_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(tmp_path / "run")
    asked = request(tmp_path)
    plain, calls = factor_work.effects, []

    def torn(context, **arguments):
        calls.append(arguments["rows"])
        if len(calls) == 2:
            raise Interrupted("stopped")
        return plain(context, **arguments)

    monkeypatch.setattr(factor_work, "effects", torn)
    with pytest.raises(Interrupted):
        see_factors(asked, run)
    monkeypatch.setattr(factor_work, "effects", plain)
    again = see_factors(asked, Run.open(tmp_path / "run"))
    assert len(calls) == 2  # the first piece of effects was found
    whole = see_factors(asked, new_run(tmp_path / "whole"))
    assert replace(again, seconds=0, created="") == replace(whole, seconds=0, created="")


def test_effects_that_cannot_be_measured_are_left_out(tmp_path: Path) -> None:
    """The square root's slope at zero is infinite: the effects are left out with this reason, the rest is there."""

    class Rooted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mixer().module

        def forward(self, x: Tensor) -> Tensor:
            units = self.inner.act(self.inner.units(x))
            return self.inner.head(units.sqrt().mean((2, 3)))

    taken = ImageInput(size=(SIDE, SIDE), mean=(0.0,) * 3, std=(1.0,) * 3)
    network = Network(Rooted(), input=taken, classes=COLOURS)
    document = see_factors(request(tmp_path, network=network, site="inner.act"), new_run(tmp_path / "run"))
    assert any("gradient here is NaN or infinite" in gone.why for gone in document.left_out)
    assert all(card.effect is None for card in document.cards)
    assert document.explained.value > 0.9


def test_tokens_of_a_vision_transformer_have_places(tmp_path: Path) -> None:
    """The class token stands before the patches and has no place."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mixer().module
            self.mixed = nn.Linear(10, 10)
            nn.init.eye_(self.mixed.weight)
            nn.init.zeros_(self.mixed.bias)

        def forward(self, x: Tensor) -> Tensor:
            patch = torch.relu(self.inner.units(x)).flatten(2).transpose(1, 2)
            tokens = self.mixed(torch.cat([patch.new_full((len(x), 1, 10), 3.0), patch], 1))
            return self.inner.head(tokens[:, 1:].mean(1))

    taken = ImageInput(size=(SIDE, SIDE), mean=(0.0,) * 3, std=(1.0,) * 3)
    network = Network(Tokens(), input=taken, classes=COLOURS)
    grid = factor_work.find_grid(network, "mixed")
    assert (grid.prefix, grid.rows, grid.columns) == (1, 4, 4)
    sizes = np.arange(2 * 16 * 3, dtype=np.float32).reshape(2, 4, 4, 3)
    at = grid.at_site(sizes)
    assert at.shape == (2, 17, 3)
    assert float(at[:, 0].abs().max()) == 0
    assert np.array_equal(at[:, 1:].numpy().reshape(2, 4, 4, 3), sizes)
    run = new_run(tmp_path / "run")
    document = see_factors(request(tmp_path, network=network, site="mixed"), run)
    assert sorted(found_colours(document, run)) == [0, 1, 2]


# -- what is refused


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no space: its axes are batch, feature.*such as.*act"):
        prepare(request(tmp_path, site="head"))
    with pytest.raises(BadInput, match="no module of this path"):
        prepare(request(tmp_path, site="nowhere"))
    with pytest.raises(BadInput, match=r"no class 'rod' among the 3.*red"):
        prepare(request(tmp_path, output="rod"))
    with pytest.raises(BadInput, match="10 units for 11 factors"):
        prepare(request(tmp_path, count=11))
    with pytest.raises(BadInput, match="16 factors are no handful"):
        prepare(request(tmp_path, count=16))
    few = patch_data(tmp_path).subset([0])
    with pytest.raises(BadInput, match="there are 0 activations for 3 factors"):
        prepare(request(tmp_path, dataset=few))
    with pytest.raises(BadInput, match="no longer there"):
        prepare(request(tmp_path, image=tmp_path / "none.png"))


def test_a_network_of_zeros_and_a_unit_of_zeros(tmp_path: Path) -> None:
    network = mixer()
    with torch.no_grad():
        network.module.units.weight[4] = 0
    document = see_factors(request(tmp_path, network=network), new_run(tmp_path / "one"))
    assert any("1 units are zero at every place" in note and "part: 4." in note for note in document.notes)
    dead = mixer()
    with torch.no_grad():
        dead.module.units.weight.zero_()
    with pytest.raises(BadInput, match="every activation here is zero"):
        see_factors(request(tmp_path, network=dead), new_run(tmp_path / "two"))


def test_activations_that_are_not_finite(tmp_path: Path) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mixer().module
            self.log = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            units = self.inner.act(self.inner.units(x))
            return self.inner.head(self.log(units.log()).exp().mean((2, 3)))

    taken = ImageInput(size=(SIDE, SIDE), mean=(0.0,) * 3, std=(1.0,) * 3)
    network = Network(Broken(), input=taken, classes=COLOURS)
    with pytest.raises(BadInput, match=r"activations are NaN or infinite \(log\)"):
        see_factors(request(tmp_path, network=network, site="log"), new_run(tmp_path / "run"))


# -- drawing


def test_an_overlay_says_the_same_three_times() -> None:
    """Where a factor is, the picture has its colour; its lines are there, and its number."""
    pixels = np.full((64, 64, 3), 128, np.uint8)
    sizes = np.zeros((2, 2, 2), np.float32)
    sizes[0, :, 0] = sizes[1, :, 1] = 1.0
    image = np.asarray(overlay(pixels, sizes, FACTOR_COLOURS[:2], FACTOR_HATCHES[:2])).astype(int)
    upper, lower = image[:40].reshape(-1, 3).mean(0), image[-40:].reshape(-1, 3).mean(0)
    assert upper[0] - upper[2] > 40  # orange
    assert lower[2] - lower[0] > 40  # blue
    quarter = image.shape[0] // 4
    middle = slice(image.shape[1] // 4 - 8, image.shape[1] // 4 + 8)
    assert (image[quarter - 8 : quarter + 8, middle].min(2) > 240).any()  # the number's white ground
    nothing = np.asarray(overlay(pixels, np.zeros((2, 2, 2), np.float32), FACTOR_COLOURS[:2], FACTOR_HATCHES[:2]))
    assert np.ptp(nothing) < 10


@pytest.mark.parametrize("name", FACTOR_HATCHES)
def test_hatchings_differ(name: str) -> None:
    mine = hatched(name, 48, 48)
    assert 0.1 < mine.mean() < 0.5
    assert all((mine != hatched(other, 48, 48)).mean() > 0.05 for other in FACTOR_HATCHES if other != name)


def test_the_first_colours_are_told_apart_by_everyone() -> None:
    """With full colour vision, and without red, green or blue cones (Machado et al. 2009, severity 1)."""
    kinds = {
        "all": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    }
    colours = np.array([[int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)] for c in FACTOR_COLOURS[:6]])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    for matrix in kinds.values():
        seen = np.clip(linear @ np.asarray(matrix).T, 0, 1) @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
        f = np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116)
        lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
        gaps = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(6, 1)]
        assert gaps.min() > 12


def test_a_picture_with_one_factor_lit() -> None:
    pixels = patches(1)[0][0]
    sizes = np.zeros((4, 4), np.float32)
    sizes[0] = 2.0
    image = np.asarray(alone(pixels, sizes, 2.0)).astype(int)
    assert np.abs(image[-10:] - 128).max() < 20  # faded to grey
    height = image.shape[0] // 16
    assert np.abs(image[:height] - pixels[0].repeat(image.shape[1] // 16, 0)[None]).max() < 20
