"""Objectives: their values by slow obvious code, their gradients by finite differences, their text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mulligan.features.dictionaries import Dictionary
from mulligan.networks import ImageInput, Network
from mulligan.records import BadInput
from mulligan.visualization.objectives import (
    ANSWER,
    Objective,
    caricature,
    channel,
    check,
    direction,
    diversity,
    inversion,
    latent,
    layer,
    logit,
    neuron,
)
from mulligan.visualization.parsing import parse_objective
from mulligan.visualization.reading import Reader, before_nonlinearity

INPUT = ImageInput(size=(12, 12), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("first", nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()))
    module.add_module("second", nn.Sequential(nn.Conv2d(6, 5, 3, stride=2, padding=1), nn.Tanh(), nn.MaxPool2d(2)))
    module.add_module("smooth", nn.Sequential(nn.Conv2d(5, 4, 1), nn.Softplus()))
    module.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)))
    return Network(module.double(), input=INPUT, classes=["cat", "dog", "a + b"])


def picture(seed: int, n: int = 4) -> torch.Tensor:
    return torch.rand((n, 3, 12, 12), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seen(network: Network, site: str, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), network.watching(site, copy=True) as watched:
        network(x)
    return watched[site]


def own(network: Network, objective: Objective, x: torch.Tensor) -> torch.Tensor:
    reader = Reader.of(network, [objective] * len(x))
    return reader.own(reader.seen(x)) if x.requires_grad else reader.own(reader.seen(x)).detach()


def test_each_objective_is_what_it_says(network: Network) -> None:
    x = INPUT.normalise(picture(0))
    before = seen(network, "first.1", x)  # what the ReLU is given
    torch.testing.assert_close(own(network, channel("first", 2), x), before[:, 2].mean((1, 2)))
    torch.testing.assert_close(own(network, neuron("first", 2), x), before[:, 2, 6, 6])
    torch.testing.assert_close(own(network, neuron("first", 2, (1, 3)), x), before[:, 2, 1, 3])
    vector = torch.randn(6, dtype=torch.float64)
    products = torch.einsum("nuhw,u->nhw", before, vector)
    torch.testing.assert_close(own(network, direction("first", vector), x), products.mean((1, 2)), rtol=1e-4, atol=1e-5)
    cosine = products / (before.norm(dim=1) * vector.norm())
    wanted = (products * cosine.clamp(min=0.1) ** 2).mean((1, 2))
    torch.testing.assert_close(own(network, direction("first", vector, cosine=2), x), wanted, rtol=1e-4, atol=1e-5)
    after = seen(network, "first", x)
    torch.testing.assert_close(own(network, layer("first"), x), after.square().flatten(1).mean(1))
    torch.testing.assert_close(own(network, logit(1), x), network.logits(x)[:, 1].detach())
    both = channel("first", 2) + 2 * channel("first", 4) - logit(0)
    wanted = before[:, 2].mean((1, 2)) + 2 * before[:, 4].mean((1, 2)) - network.logits(x)[:, 0].detach()
    torch.testing.assert_close(own(network, both, x), wanted)


def test_pictures_as_targets(network: Network) -> None:
    shown = picture(3, 1)[0]
    x = INPUT.normalise(torch.stack([shown, picture(4, 1)[0]]))
    likeness = own(network, inversion(network, "smooth", shown), x)
    assert likeness[0] == pytest.approx(0, abs=1e-9)
    assert likeness[1] < -1e-4
    target, there = seen(network, "smooth", x[:1])[0], seen(network, "smooth", x)
    product = (there * target).sum(1)
    torch.testing.assert_close(
        own(network, caricature(network, "smooth", shown, cosine=0), x), product.mean((1, 2))
    )


def test_diversity_is_the_mean_cosine_to_the_others(network: Network) -> None:
    x = INPUT.normalise(picture(5, 3))
    there = seen(network, "smooth", x).flatten(2)
    grams = [torch.einsum("up,vp->uv", one, one).flatten() for one in there]
    for row, value in enumerate(own(network, diversity("smooth"), x)):
        others = [torch.cosine_similarity(grams[row], grams[k], dim=0) for k in range(3) if k != row]
        assert float(value) == pytest.approx(-float(sum(others) / 2))
    assert float(own(network, diversity("smooth"), x[:1])[0]) == 0  # alone, there is nothing to differ from


@pytest.mark.parametrize("name", ["channel", "neuron", "direction", "logit", "layer", "caricature", "inversion"])
def test_gradients_are_those_of_finite_differences(network: Network, name: str) -> None:
    shown = picture(6, 1)[0]
    objective = {
        "channel": channel("second", 1), "neuron": neuron("smooth", 2, (1, 1)),
        "direction": direction("smooth", torch.tensor([1.0, -2.0, 0.5, 1.0]), cosine=1.0), "logit": logit(2),
        "layer": layer("smooth"), "caricature": caricature(network, "smooth", shown),
        "inversion": inversion(network, "smooth", shown),
    }[name]  # fmt: skip
    x = INPUT.normalise(picture(7, 1)).requires_grad_(True)
    (slope,) = torch.autograd.grad(own(network, objective, x).sum(), x)
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-6 * way
    with torch.no_grad():
        numeric = (own(network, objective, x + step) - own(network, objective, x - step)).sum() / 2e-6
    assert float((slope * way).sum()) == pytest.approx(float(numeric), rel=1e-4, abs=1e-9)


def test_many_different_objectives_in_one_batch_are_each_its_own(network: Network) -> None:
    x = INPUT.normalise(picture(8, 5))
    every = [channel("first", 1), -channel("first", 3), 2.0 * channel("first", 0), neuron("first", 1), logit(0)]
    reader = Reader.of(network, every)
    mixed = reader.own(reader.seen(x))
    apart = torch.stack([own(network, objective, x)[row] for row, objective in enumerate(every)])
    torch.testing.assert_close(mixed.detach(), apart)
    torch.testing.assert_close(reader.every(reader.seen(x)).diagonal().detach(), apart)
    linear = Reader.of(network, every[:3])  # these go through one product
    torch.testing.assert_close(linear.own(linear.seen(x[:3])).detach(), apart[:3])


def test_a_unit_is_read_before_its_nonlinearity(network: Network) -> None:
    def where(alias: str) -> str:
        return before_nonlinearity(network, network.site(alias)).alias

    assert where("first") == "first.2.in"
    assert where("first.2") == "first.2.in"
    assert where("first.1") == "first.1"
    assert where("second") == "second.1.in"  # a pooling is passed over
    assert where("head") == "head"


def test_a_dictionary_names_latents(network: Network) -> None:
    rng = np.random.default_rng(0)
    book = Dictionary("book", "first", rng.normal(size=(3, 6)), rng.normal(size=3), rng.normal(size=6))
    x = INPUT.normalise(picture(9))
    before = seen(network, "first.1", x).movedim(1, -1).numpy()
    wanted = ((before - book.centre) @ book.encoder[2] + book.bias[2]).mean((1, 2))
    objective = parse_objective("first@book:2", network, {"book": book})
    np.testing.assert_allclose(own(network, objective, x).numpy(), wanted, rtol=1e-4)
    assert objective.text == "first@book:2"
    np.testing.assert_allclose(own(network, latent(book, 2), x).numpy(), wanted, rtol=1e-4)
    with pytest.raises(BadInput, match="there are 3"):
        latent(book, 3)


@pytest.mark.parametrize(
    "text", ["first:2", "-first:2", "first:2 + 2 * first:4", "first:2 - 0.5 * class dog", "first:1@2,3", "layer smooth"]
)
def test_texts_read_back(network: Network, text: str) -> None:
    objective = parse_objective(text, network)
    assert objective.text == text
    check(objective, network)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first:6", "the site has 6, 0 to 5"), ("class bird", "among the 3"), ("first:1@12,0", "12 x 12 places"),
        ("first", "not a feature"), ("nowhere:1", "no module"), ("x * first:1", "not a number"), ("", "empty"),
        ("first@book:1", "not known"), ("smooth:1@1", "places"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(network: Network, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check(parse_objective(text, network), network)


def test_logits_alone_read_the_answer(network: Network) -> None:
    assert logit(0).sites == (ANSWER,)
    with pytest.raises(BadInput, match="3 classes"):
        check(logit(3), network)
    with pytest.raises(BadInput, match="2 numbers"):
        check(direction("first", torch.ones(2)), network)
