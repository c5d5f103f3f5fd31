from __future__ import annotations

import pytest
import torch
from networks_small import Conv, Mlp, mlp
from torch import Tensor, nn

from mulligan.networks import ArrayInput, ImageInput, Network, TokenInput
from mulligan.networks.axes import axes_of
from mulligan.records import BadInput, Site

TOKENS = object.__new__(TokenInput)  # axes look at its kind only
PICTURE = ImageInput(size=(12, 12), mean=(0.0,) * 3, std=(1.0,) * 3)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.act, self.never = nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)
        self.other = self.one

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.other(self.act(self.one(x))))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 11), ("batch", "position")),
        ((2, 7), ("batch", "feature")),
        ((2,), ("batch",)),
        ((), ()),
        ((2, 11, 16), ("batch", "position", "feature")),
        ((2, 11, 11), ("batch", "position", "feature")),  # as many features as positions
        ((11, 2, 16), ("position", "batch", "feature")),
        ((1, 11, 16), ("axis0", "position", "feature")),  # a table of positions
        ((22, 16), ("axis0", "feature")),  # flattened tokens
        ((2, 4, 11, 11), ("batch", "head", "query", "key")),
        ((2, 11, 4, 8), ("batch", "position", "head", "feature")),
        ((2, 4, 11, 8), ("batch", "head", "position", "feature")),
        ((2, 1, 16), ("batch", "axis1", "feature")),
    ],
)
def test_axes_of_token_networks(shape: tuple[int, ...], axes: tuple[str, ...]) -> None:
    assert axes_of(shape, torch.zeros(2, 11), TOKENS) == axes


@pytest.mark.parametrize(
    ("shape", "layout", "axes"),
    [
        ((2, 6), None, ("batch", "feature")),
        ((2, 6, 10, 10), None, ("batch", "channel", "height", "width")),
        ((2, 10, 10, 6), None, ("batch", "height", "width", "channel")),
        ((2, 10, 10, 10), None, ("batch", "channel", "height", "width")),
        ((2, 10, 10, 6), "first", ("batch", "channel", "height", "width")),
        ((2, 6, 10, 10), "last", ("batch", "height", "width", "channel")),
        ((2, 197, 16), None, ("batch", "position", "feature")),
        ((2, 16, 197), "first", ("batch", "channel", "position")),
        ((8, 49, 16), None, ("axis0", "position", "feature")),
        ((2, 3, 4, 5, 6), None, ("batch", "channel", "depth", "height", "width")),
    ],
)
def test_axes_of_pictures(shape: tuple[int, ...], layout: str | None, axes: tuple[str, ...]) -> None:
    assert axes_of(shape, torch.zeros(2, 3, 12, 12), PICTURE, layout) == axes  # type: ignore[arg-type]


def test_axes_spread_from_modules_that_say_where_channels_are() -> None:
    signal = Network(nn.Sequential(nn.Conv1d(3, 5, 3), nn.ReLU(), nn.Conv1d(5, 5, 3)), input=ArrayInput(shape=(3, 20)))
    assert (
        signal.site("0").axes == signal.site("1").axes == signal.site("1.in").axes == ("batch", "channel", "position")
    )
    channels_last = nn.Sequential(nn.Linear(3, 12), nn.GELU(), nn.LayerNorm(12))

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = channels_last

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x.permute(0, 2, 3, 1))

    network = Network(Last(), input=PICTURE)
    last = ("batch", "height", "width", "channel")
    assert all(network.site(alias).axes == last for alias in ("body.0", "body.1", "body.2", "body", "body.1.in"))
    assert network.site("body.1").unit_axis == 3
    assert network.site("body.1").units == 12


def test_units_are_those_of_the_feature_axis() -> None:
    network = Network(Conv(), input=PICTURE)
    assert (network.site("conv").units, network.site("head").units) == (6, 4)
    assert network.site("conv").shape == (2, 6, 10, 10)


def test_outputs_are_listed_and_inputs_on_demand() -> None:
    network = mlp()
    assert [site.alias for site in network.sites()] == ["first", "act", "second", ""]
    assert [site.alias for site in network.sites("*.in")] == [".in", "first.in", "act.in", "second.in"]
    assert [site.alias for site in network.sites(["second", "f*", "second"])] == ["second", "first"]
    with pytest.raises(BadInput, match=r"no module of this path \(nothing\): .* near it are"):
        network.sites(["first", "nothing"])


def test_a_module_called_twice_has_two_sites() -> None:
    network = Network(Shared(), input=ArrayInput(shape=(5,)))
    assert [site.alias for site in network.sites()] == ["one", "act", "one!1", "act!1", ""]
    assert "call 2" in network.meaning(network.site("act!1"))
    with pytest.raises(BadInput, match=r"does not exist; there are act, act!1 \(act!2\)"):
        network.site("act!2")


def test_what_has_no_site_says_why() -> None:
    network = Network(Shared(), input=ArrayInput(shape=(5,)))
    with pytest.raises(BadInput, match=r"never runs in a forward pass .*\(never\)"):
        network.site("never")
    with pytest.raises(BadInput, match=r"the same module as one \(other\): write one, or one!1"):
        network.site("other")
    with pytest.raises(BadInput, match="no part 'head3'; it has none"):
        network.site("one#head3")
    with pytest.raises(BadInput, match="no module of this path"):
        network.site("one.two")
    with pytest.raises(BadInput, match="not the name of a site"):
        network.site("one::")


def test_the_first_tensor_may_be_named() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": x, "b": x + 1}

    network = Network(nn.Sequential(nn.Linear(5, 5), Two()), input=ArrayInput(shape=(5,)))
    assert network.site("1[a]") == network.site("1")
    assert [site.alias for site in network.sites("1[*]")] == ["1[b]"]
    assert network.site("1[b]").leaf == "b"
    with pytest.raises(BadInput, match=r"there are 1, 1\[b\]"):
        network.site("1[c]")


def test_meanings_go_from_the_particular_to_the_general() -> None:
    network = Network(Mlp(), input=ArrayInput(shape=(5,)), meanings={"f*": "any", "first": "this one", "act": "relu"})
    assert network.meaning(network.site("first")) == "this one"
    assert network.meaning(network.site("second")) == "what comes out of Linear"
    assert network.meaning(network.site("second.in")) == "what goes into Linear"
    assert network.meaning(network.site("")) == "what comes out of the network"


def test_rehearsing_on_an_input_of_ones_own() -> None:
    network = Network(nn.Conv2d(3, 4, 3))
    with pytest.raises(BadInput, match="does not say what it takes"):
        network.sites()
    network.rehearse(torch.zeros(3, 3, 9, 9))
    assert network.site("").shape == (3, 4, 7, 7)
    assert network.sites()
    network.rehearse(torch.zeros(1, 3, 5, 5))
    assert network.sites()[0].shape == (1, 4, 3, 3)


def test_an_input_that_does_not_fit_is_said_in_a_sentence() -> None:
    network = Network(Mlp(), input=ArrayInput(shape=(6,)))
    with pytest.raises(BadInput, match=r"refuses an input of shape \(2, 6\)"):
        network.sites()

    class Picky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1] == 3
            return x

    with pytest.raises(BadInput, match="refuses an input of shape"):
        Network(Picky(), input=ArrayInput(shape=(6,))).sites()


def test_rehearsing_leaves_no_hook_even_if_it_fails() -> None:
    network = Network(Mlp(), input=ArrayInput(shape=(6,)))
    with pytest.raises(BadInput):
        network.sites()
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in network.module.modules())


def test_the_head_is_the_layer_that_gives_the_answer() -> None:
    class Odd(nn.Module):
        """The head is defined first, a second layer of the same width last."""

        def __init__(self) -> None:
            super().__init__()
            self.head, self.body, self.side = nn.Linear(4, 4), nn.Linear(5, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.body(x)
            return self.head(hidden + self.side(hidden))

    network = Network(Odd(), input=ArrayInput(shape=(5,)))
    assert network.head == "head"
    weight, bias = network.head_weights
    assert torch.equal(weight, network.module.head.weight)
    assert bias is not None
    assert Network(Odd(), input=ArrayInput(shape=(5,)), head="side").head == "side"
    scaled = nn.Sequential(nn.Linear(5, 3), nn.Softmax(1))
    assert Network(scaled, input=ArrayInput(shape=(5,)), classes="abc").head == "0"
    with pytest.raises(BadInput, match="no layer has one row for each class"):
        _ = Network(nn.Sequential(nn.Linear(5, 3), nn.Tanh()), input=ArrayInput(shape=(5,))).head


def test_a_convolution_may_be_the_head() -> None:
    class Full(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.rows = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.rows(self.body(x).mean((2, 3), keepdim=True)).flatten(1)

    network = Network(Full(), input=PICTURE, classes="abcd")
    assert network.head == "rows"
    weight, bias = network.head_weights
    assert weight.shape == (4, 6)
    assert bias is None


def test_class_names_must_be_as_many_as_answers() -> None:
    network = Network(Mlp(), input=ArrayInput(shape=(5,)), classes=["a", "b"])
    sentence = (
        r"the network has 3 answers and 2 class names are given \(network\): pass the right list with --classes\."
    )
    with pytest.raises(BadInput, match=sentence):
        network.check_classes()
    with pytest.raises(BadInput, match=sentence):
        network.logits(torch.zeros(1, 5))
    with pytest.raises(BadInput, match=sentence):
        _ = network.head
    Network(Mlp(), input=ArrayInput(shape=(5,)), classes="abc").check_classes()
    with pytest.raises(BadInput, match="it has no classes"):
        Network(Mlp(), input=ArrayInput(shape=(5,)), classes="abc", task="embedding").check_classes()


def test_answers_that_are_no_numbers_are_refused() -> None:
    network = mlp()
    with pytest.raises(BadInput, match="NaN or infinity"):
        network.logits(torch.full((1, 5), float("nan"), dtype=torch.float64))
    assert network.logits_unchecked(torch.full((1, 5), float("nan"), dtype=torch.float64)).isnan().all()


def test_other_preprocessing_is_part_of_the_recipe() -> None:
    network = Network(Conv(), input=PICTURE, recipe={"spec": "x", "input": None})
    other = network.with_input(ImageInput(size=(9, 9), mean=(0.5,) * 3, std=(1.0,) * 3))
    assert other.recipe["spec"] == "x"
    assert other.recipe["input"].startswith("size=9,")
    assert other.module is network.module
    assert network.recipe["input"] is None


def test_a_part_must_be_of_this_network() -> None:
    from mulligan.networks.parts import heads

    with pytest.raises(BadInput, match="no module of this path"):
        Network(Mlp(), parts=[heads("attention", "attention.out", 4, "heads")])


@pytest.mark.parametrize("size", [3, 10, 20, 50])
def test_a_made_up_text_keeps_to_the_vocabulary_and_the_context(size: int) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{i}": i for i in range(size)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    network = Network(nn.Embedding(size, 4), input=TokenInput(tokenizer=tokenizer, context=6, pad=0))
    ids, mask = network.example(3)
    assert ids.shape == (3, 6)
    assert mask is not None
    assert mask.dtype == torch.bool
    assert mask.all()
    assert int(ids.max()) < size
    assert network.site("").axes == ("batch", "position", "feature")


def test_parsing_is_the_inverse_of_naming() -> None:
    network = Network(Shared(), input=ArrayInput(shape=(5,)))
    for port in network.dry_run.ports:
        assert network.site(port.alias) == network.site(port)
        assert Site(port.path, port.port, port.call, port.leaf) == port
