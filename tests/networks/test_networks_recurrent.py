"""Recurrent networks: axes, recording of sequences and padded texts, and edits against loops over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks_small import assert_close, check_every_port, no_hooks_left
from torch import Tensor, nn

from mulligan.activations import Plan, record
from mulligan.datasets import load_dataset
from mulligan.networks import Ablate, ArrayInput, Network, Tail, TokenInput, trunk
from mulligan.records import BadInput
from mulligan.runs import Run

LENGTH, FEATURES, HIDDEN = 7, 5, 6


class Sequences(nn.Module):
    """A recurrent layer over [batch, position, feature], and a head on its last state."""

    def __init__(self, kind: Any = nn.LSTM, batch_first: bool = True, **more: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = kind(FEATURES, HIDDEN, batch_first=batch_first, **more)
        self.head = nn.Linear(HIDDEN * (2 if self.rnn.bidirectional else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        if not self.rnn.batch_first:
            x = x.transpose(0, 1)
        y, _ = self.rnn(x)
        return self.head(y[:, -1] if self.rnn.batch_first else y[-1])


class Cells(nn.Module):
    """The same with a cell that is called once a position."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = nn.LSTMCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), HIDDEN)
        for position in range(x.shape[1]):
            h, c = self.cell(x[:, position], (h, c))
        return self.head(h)


class Texts(nn.Module):
    """Embedding, recurrent layer, and a head on every position, or on the last state of packed texts."""

    def __init__(self, batch_first: bool = True, packed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.packed = nn.Embedding(20, FEATURES), packed
        self.rnn, self.head = nn.GRU(FEATURES, HIDDEN, batch_first=batch_first), nn.Linear(HIDDEN, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(ids)
        if self.packed:
            lengths = mask.sum(1).cpu()
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.head(self.rnn(x)[1][-1])
        if not self.rnn.batch_first:
            return self.head(self.rnn(x.transpose(0, 1))[0]).transpose(0, 1)
        return self.head(self.rnn(x)[0])


def sequences(kind: Any = nn.LSTM, **more: Any) -> Network:
    return Network(Sequences(kind, **more), input=ArrayInput(shape=(LENGTH, FEATURES)), classes=("a", "b", "c"))


def texts(**more: Any) -> Network:
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *"abcdefghij"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return Network(
        Texts(**more),
        input=TokenInput(tokenizer=tokenizer, context=32, pad=0),
        classes=("x", "y", "z"),
        task="other",
        call=lambda module, x, mask: module(x, mask),
    )


def batch(n: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, LENGTH, FEATURES, generator=torch.Generator().manual_seed(seed))


# Axes


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, False), (2, True), (7, False)])
def test_axes_of_sequences_and_states(kind: Any, batch_first: bool, layers: int, both: bool) -> None:
    network = sequences(kind, batch_first=batch_first, num_layers=layers, bidirectional=both)
    order = ("batch", "position", "feature") if batch_first else ("position", "batch", "feature")
    width = HIDDEN * (1 + both)
    shape = (2, LENGTH) if batch_first else (LENGTH, 2)
    assert (network.site("rnn").axes, network.site("rnn").shape) == (order, (*shape, width))
    assert (network.site("rnn.in").axes, network.site("rnn.in").shape) == (order, (*shape, FEATURES))
    states = ["rnn[1/0]", "rnn[1/1]"] if kind is nn.LSTM else ["rnn[1]"]
    assert [site.alias for site in network.sites("rnn[*]")] == states
    for alias in states:
        state = network.site(alias)
        assert (state.axes, state.shape) == (("layer", "batch", "feature"), (layers * (1 + both), 2, HIDDEN))
    assert [site.alias for site in trunk(network)] == (["rnn"] if batch_first else [])
    assert check_every_port(network, batch()) == 7 + len(states) - 1


def test_layers_after_a_sequence_that_is_time_first() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.drop, self.wide = nn.GRU(FEATURES, HIDDEN), nn.Dropout(), nn.Linear(HIDDEN, 9)

        def forward(self, x: Tensor) -> Tensor:
            return self.wide(self.drop(self.rnn(x.transpose(0, 1))[0])).mean(0)

    network = Network(Deep(), input=ArrayInput(shape=(LENGTH, FEATURES)))
    for alias in ("rnn", "drop", "wide.in", "wide"):
        assert network.site(alias).axes == ("position", "batch", "feature"), alias
    assert network.site("").axes == ("batch", "feature")


def test_each_call_of_a_cell_is_a_site() -> None:
    network = Network(Cells(), input=ArrayInput(shape=(LENGTH, FEATURES)))
    hidden = [site.alias for site in network.sites("cell*")]
    assert hidden == ["cell", *(f"cell!{call}" for call in range(1, LENGTH))]
    assert network.site("cell!3[1]").axes == ("batch", "feature")
    assert [site.alias for site in trunk(network)] == [f"cell!{LENGTH - 1}"]
    x = batch()
    with torch.no_grad(), network.watching([*hidden, "cell!2[1]"]) as watched:
        network(x)
        h = c = torch.zeros(4, HIDDEN)
        for position, alias in enumerate(hidden):
            h, c = network.module.cell(x[:, position], (h, c))
            assert torch.equal(watched[alias], h)
            if position == 2:
                assert torch.equal(watched["cell!2[1]"], c)


def test_a_packed_text_tells_examples_apart_only_in_its_states() -> None:
    network = texts(packed=True)
    assert network.site("rnn").axes == ("axis0", "feature")
    assert network.site("rnn[1]").axes == ("layer", "batch", "feature")
    assert [site.alias for site in trunk(network)] == ["embed"]


# Recording


@pytest.mark.parametrize("batch_first", [True, False])
def test_sequences_are_recorded_with_their_positions(batch_first: bool, tmp_path: Path) -> None:
    network = sequences(batch_first=batch_first, num_layers=2, bidirectional=True)
    x = batch(11)
    np.savez(tmp_path / "data.npz", x=x.numpy())
    run = Run.create("test", [], {}, out=tmp_path / "run")
    plan = Plan(("rnn", "rnn[1/0]", "rnn[1/1]"), ("mean", "max", "position:-1", "full"), batch=3, shard=6)
    kept = record(network, load_dataset(tmp_path / "data.npz"), plan, run)
    with torch.no_grad():
        y, (h, c) = network.module.rnn(x if batch_first else x.transpose(0, 1))
    y = y if batch_first else y.transpose(0, 1)
    expected = {"mean": y.mean(1), "max": y.amax(1), "position:-1": y[:, -1]}
    for pool, theirs in expected.items():
        assert_close(torch.tensor(np.asarray(kept.array(f"rnn|{pool}"))), theirs)
    assert_close(torch.tensor(np.asarray(kept.array("rnn|full"))), y)
    for alias, state in (("rnn[1/0]", h), ("rnn[1/1]", c)):
        assert_close(torch.tensor(np.asarray(kept.array(f"{alias}|full"))), state.transpose(0, 1).contiguous())
        # A unit of a state is one of a layer and direction.
        assert_close(torch.tensor(np.asarray(kept.array(f"{alias}|mean"))), state.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("batch_first", [True, False])
def test_states_after_a_text_s_end_do_not_count(batch_first: bool, tmp_path: Path) -> None:
    network = texts(batch_first=batch_first)
    lines = ["a b c", "d", "e f g h i j a b", "c c"]
    (tmp_path / "data.txt").write_text("\n".join(lines))
    run = Run.create("test", [], {}, out=tmp_path / "run")
    plan = Plan(("rnn", "embed"), ("mean", "max", "position:-1", "position:0"), batch=4)
    kept = record(network, load_dataset(tmp_path / "data.txt"), plan, run)
    assert isinstance(network.input, TokenInput)
    for row, line in enumerate(lines):
        ids, mask = network.input.encode([line])
        assert mask.all()
        with torch.no_grad():
            x = network.module.embed(ids)
            y = network.module.rnn(x if batch_first else x.transpose(0, 1))[0]
            y = (y if batch_first else y.transpose(0, 1))[0]
        expected = {"mean": y.mean(0), "max": y.amax(0), "position:-1": y[-1], "position:0": y[0]}
        for pool, theirs in expected.items():
            assert_close(torch.tensor(np.asarray(kept.array(f"rnn|{pool}"))[row]), theirs, 1e-5)


def test_packed_texts_are_recorded_by_their_states_alone(tmp_path: Path) -> None:
    network = texts(packed=True)
    lines = ["a b c", "d", "e f g h i j a b"]
    (tmp_path / "data.txt").write_text("\n".join(lines))
    data = load_dataset(tmp_path / "data.txt")
    kept = record(
        network, data, Plan(("rnn[1]",), ("mean",), batch=3), Run.create("test", [], {}, out=tmp_path / "run")
    )
    assert isinstance(network.input, TokenInput)
    for row, line in enumerate(lines):
        with torch.no_grad():
            state = network.module.rnn(network.module.embed(network.input.encode([line])[0]))[1]
        assert_close(torch.tensor(np.asarray(kept.array("rnn[1]|mean"))[row]), state[0, 0], 1e-5)
    with pytest.raises(BadInput, match="no batch axis, so that examples cannot be told apart"):
        record(network, data, Plan(("rnn",), ("mean",)), Run.create("test", [], {}, out=tmp_path / "other"))


def test_recording_within_inference_mode() -> None:
    network = sequences(nn.GRU)
    x = batch()
    with torch.inference_mode(), network.watching(["rnn", "rnn[1]"]) as watched:
        network(x)
        assert torch.equal(watched["rnn"][:, -1], watched["rnn[1]"][0])


# Edits


def test_ablating_a_unit_of_a_recurrent_layer_changes_only_what_is_read_of_it() -> None:
    network = sequences()
    x = batch()
    rnn: Any = network.module.rnn
    with torch.no_grad():
        outputs = []
        h = c = torch.zeros(4, HIDDEN)
        for position in range(LENGTH):  # the gates, as torch's documentation writes them
            gates = x[:, position] @ rnn.weight_ih_l0.T + rnn.bias_ih_l0 + h @ rnn.weight_hh_l0.T + rnn.bias_hh_l0
            i, f, g, o = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h.clone())
        last = outputs[-1].clone()
        assert_close(network.logits(x), last @ network.module.head.weight.T + network.module.head.bias)
        last[:, 2] = 0
        expected = last @ network.module.head.weight.T + network.module.head.bias
        with network.editing({"rnn": Ablate([2])}):
            assert_close(network.logits(x), expected)
    no_hooks_left(network.module)


@pytest.mark.parametrize("state", [0, 1])
def test_ablating_a_unit_of_a_cell_goes_through_the_calls_that_follow(state: int) -> None:
    network = Network(Cells(), input=ArrayInput(shape=(LENGTH, FEATURES)))
    x = batch()
    cell: Any = network.module.cell
    at = 3
    with torch.no_grad():
        h = c = torch.zeros(4, HIDDEN)
        for position in range(LENGTH):
            gates = x[:, position] @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
            i, f, g, o = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            if position == at:
                (h, c)[state][:, 2] = 0
        expected = h @ network.module.head.weight.T + network.module.head.bias
        alias = f"cell!{at}" + ("[1]" if state else "")
        with network.editing({alias: Ablate([2])}):
            assert_close(network.logits(x), expected)
        every = {f"cell!{call}" if call else "cell": Ablate([2]) for call in range(LENGTH)}
        with network.editing(every), network.watching(["cell!5", "cell!6"]) as watched:
            network(x)
            assert (watched["cell!5"][:, 2] == 0).all()
    no_hooks_left(network.module)


def test_a_unit_of_a_state_is_ablated_in_every_layer() -> None:
    class Decoder(nn.Module):
        """The states of one recurrent layer start another."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.read, self.write = nn.GRU(FEATURES, HIDDEN, 2), nn.GRU(FEATURES, HIDDEN, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.transpose(0, 1)
            return self.write(x, self.read(x)[1])[0][-1]

    network = Network(Decoder(), input=ArrayInput(shape=(LENGTH, FEATURES)))
    assert network.site("write.in[1]").axes == ("layer", "batch", "feature")
    x = batch()
    with torch.no_grad():
        state = network.module.read(x.transpose(0, 1))[1]
        state[:, :, 4] = 0
        expected = network.module.write(x.transpose(0, 1), state)[0][-1]
        for alias in ("read[1]", "write.in[1]"):
            with network.editing({alias: Ablate([4])}):
                assert torch.equal(network.logits_unchecked(x), expected)


@pytest.mark.parametrize("alias", ["rnn", "rnn.in", "head"])
def test_a_tail_after_a_recurrent_layer(alias: str) -> None:
    network = sequences(num_layers=2, bidirectional=True)
    x = batch()
    with torch.no_grad():
        tail = Tail(network, alias)
        held = tail.hold(x)
        version = held.value * 0.5
        with network.editing({alias: lambda tensor, site: version}):
            expected = network.logits(x)
        assert_close(tail(held, torch.cat([version, held.value])), torch.cat([expected, held.logits]))


def test_a_tail_after_one_call_of_a_cell() -> None:
    network = Network(Cells(), input=ArrayInput(shape=(LENGTH, FEATURES)))
    x = batch()
    with torch.no_grad():
        tail = Tail(network, "cell!3")
        held = tail.hold(x)
        with network.editing({"cell!3": lambda tensor, site: tensor * 0.5}):
            expected = network.logits(x)
        assert_close(tail(held, held.value * 0.5), expected)
