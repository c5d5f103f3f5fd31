"""`see examples` end to end: what it writes, what it leaves out, resume, directions, texts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn

from mulligan.datasets import load_dataset
from mulligan.networks import Network, TokenInput, parse_input
from mulligan.procedures.see.examples import Request, prepare, see_examples
from mulligan.records import BadInput, Interrupted, Seen
from mulligan.runs import LocalEngine, Run

FEATURES = ("blocks.0:3", "blocks.2.act:7", "class 7", "blocks.3:999")


@pytest.fixture(scope="module")
def request_and_run(digit_nets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    network = digit_nets.network(digit_nets.clean(0))
    dataset = load_dataset(digit_nets.write_data(folder, 200), classes=network.classes)
    request = Request(network=network, dataset=dataset, features=FEATURES, n=4)
    run = Run.create("see", [], {}, out=folder / "run")
    return request, run, see_examples(request, run)


def test_cards_agree_with_watching(request_and_run):
    request, run, seen = request_and_run
    assert run.read_json("seen.json", Seen) == seen
    assert run.manifest["status"] == "finished"
    card = seen.cards[1]
    network, dataset = request.network, request.dataset
    x = torch.stack([torch.as_tensor(network.input.prepare(dataset.raw(i))) for i in range(len(dataset))])
    with torch.no_grad(), network.watching("blocks.2.act") as watched:
        answers = network.logits(x).argmax(1)
    maps = watched["blocks.2.act"][:, 7].numpy()
    best = int(maps.max((1, 2)).argmax())
    top = card.top[0]
    assert top.example.id == dataset.ids[best]
    assert top.example.activation == pytest.approx(float(maps[best].max()), rel=1e-4)
    assert top.peak == np.unravel_index(maps[best].argmax(), maps[best].shape)
    assert top.example.answer == network.classes[int(answers[best])]
    assert top.example.label == network.classes[int(dataset.labels[best])]
    assert card.heat == (0.0, pytest.approx(float(maps.max()), rel=1e-4))
    assert [len(column) for column in (card.top, card.levels, card.bottom)] == [4, 4, 4]
    left, upper, right, lower = top.box
    assert 0 <= left < right <= 16
    assert 0 <= upper < lower <= 16
    assert sum(count for _, count in card.classes) == card.strongest == 20
    assert len(card.chance) == len(card.classes)


def test_every_picture_is_there_and_outputs_say_where_they_come_from(request_and_run):
    _, run, seen = request_and_run
    for card in seen.cards:
        for sighting in (*card.top, *card.levels, *card.bottom):
            for path in (sighting.example.image, sighting.crop, sighting.heat):
                assert path is None or run.has(path)
        assert all(sighting.heat for sighting in card.top)
    output = seen.cards[2]
    assert output.feature == "class 7"
    assert any("blocks.3" in note for note in output.notes)
    assert output.top[0].box is None


def test_what_is_not_there_is_left_out_and_the_rest_goes_on(request_and_run):
    _, _, seen = request_and_run
    assert [card.feature for card in seen.cards] == list(FEATURES[:3])
    assert [gone.what for gone in seen.left_out] == ["blocks.3:999"]
    assert "blocks.3 has 64" in seen.left_out[0].why


def test_nothing_there_is_refused_before_a_run_is_made(request_and_run):
    request, _, _ = request_and_run
    with pytest.raises(BadInput, match="64, numbered from 0 to 63"):
        prepare(dataclasses.replace(request, features=("blocks.3:64",)))
    with pytest.raises(BadInput, match="0 examples"):
        prepare(dataclasses.replace(request, n=0))


def test_an_interrupted_run_goes_on_to_the_same_cards(request_and_run, tmp_path):
    request, _, whole = request_and_run

    class Stops(LocalEngine):
        def run(self, job, pieces, *rest):
            for number, done in enumerate(super().run(job, pieces, *rest)):
                if job == "examples" and number == 1:
                    raise Interrupted("stop")
                yield done

    run = Run.create("see", [], {}, out=tmp_path / "run")
    with pytest.raises(Interrupted):
        see_examples(request, run, engine=Stops())
    assert not run.has("seen.json")
    again = see_examples(request, Run.open(tmp_path / "run"))
    assert again.cards == whole.cards
    assert again.left_out == whole.left_out


def test_a_direction_has_a_card_by_its_name(request_and_run, tmp_path):
    request, _, whole = request_and_run
    vector = np.zeros(48, np.float32)
    vector[7] = 2.0
    asked = dataclasses.replace(request, features=(), directions={"twice unit 7": ("blocks.2.act", vector)})
    (card,) = see_examples(asked, Run.create("see", [], {}, out=tmp_path / "run")).cards
    assert card.feature == "twice unit 7"
    assert [s.example.id for s in card.top] == [s.example.id for s in whole.cards[1].top]
    assert card.top[0].example.activation == pytest.approx(2 * whole.cards[1].top[0].example.activation, rel=1e-4)
    assert card.top[0].box == whole.cards[1].top[0].box


class Faulty(nn.Module):
    """Unit 0 is silent, unit 1 is NaN on dark pictures, unit 2 is sound."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.faults = Faults()
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(torch.nan_to_num(self.faults(self.conv(x))).mean((2, 3)))


class Faults(nn.Module):
    def forward(self, x):
        dark = x[:, 2:3].amax((2, 3), keepdim=True) < 0.5
        return torch.cat([x[:, :1] * 0, torch.where(dark, torch.nan, x[:, 1:2]), x[:, 2:]], 1)


def test_a_silent_unit_and_nan_are_said_on_their_cards(tmp_path):
    torch.manual_seed(0)
    module = Faulty()
    with torch.no_grad():
        module.conv.weight[2], module.conv.bias[2] = 1 / 9, 0.0
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 60, (30, 12, 12), np.uint8)
    pictures[::3] += 180
    np.savez(tmp_path / "data.npz", x=pictures)
    network = Network(module, input=parse_input("size=12,channels=1,mean=0,std=1"), classes=["a", "b"])
    request = Request(
        network=network, dataset=load_dataset(str(tmp_path / "data.npz")), features=("faults:0", "faults:1"), n=3
    )
    silent, broken = see_examples(request, Run.create("see", [], {}, out=tmp_path / "run")).cards
    assert silent.top == ()
    assert "never fires" in silent.notes[0]
    assert any("NaN or infinite on 20 of 30" in note for note in broken.notes)
    assert len(broken.top) == 3
    assert all(np.isfinite(s.example.activation) for s in (*broken.top, *broken.bottom))


class Reader(nn.Module):
    """Unit 0 answers to the word "fire" alone."""

    def __init__(self):
        super().__init__()
        self.words, self.answer = nn.Embedding(5, 3), nn.Linear(3, 5)
        with torch.no_grad():
            self.words.weight[:] = 0.1
            self.words.weight[3, 0] = 4.0

    def forward(self, ids):
        return self.answer(self.words(ids))


def test_texts_show_the_tokens_around_the_peak(tmp_path):
    words = {"[PAD]": 0, "the": 1, "cat": 2, "fire": 3, "sat": 4}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = Whitespace()
    network = Network(Reader(), input=TokenInput(tokenizer=tokenizer, context=64, pad=0))
    lines = ["the cat sat", "the fire sat the cat", "cat sat", "sat the fire", "Sat the  fire", "cat cat fire the"]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    request = Request(network=network, dataset=load_dataset(str(tmp_path / "texts.txt")), features=("words:0",), n=2)
    (card,) = see_examples(request, Run.create("see", [], {}, out=tmp_path / "run")).cards
    assert [s.example.activation for s in card.top] == [4.0, 4.0]
    for sighting in card.top:
        assert sighting.example.tokens[sighting.peak[0]].strip() == "fire"
        assert sighting.example.weights[sighting.peak[0]] == 4.0
        assert sighting.box is None
        assert sighting.heat is None
    assert card.duplicates == 1
    assert {round(s.example.activation, 3) for s in card.bottom} == {0.1}
