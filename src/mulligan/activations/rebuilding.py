"""A network and a data set as pieces of work see them, and the same two built again on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..datasets import Dataset, load_dataset
from ..networks import Network, load
from ..records import BadInput
from ..runs import Context, digest


def network_and_data(network: Network, dataset: Dataset) -> Context:
    """The context of pieces that work on a network and a data set.

    Its identity stands for weights and architecture, for how inputs are made ready, and for the examples and labels. It
    has a recipe where both were loaded by name.
    """
    steps = network.input.steps() if network.input else ()
    identity = digest(network.identity, *steps, dataset.identity)
    return Context(identity, {"network": network, "dataset": dataset}, _recipe(network, dataset))


def _recipe(network: Network, dataset: Dataset) -> dict[str, Any]:
    if not network.recipe or not dataset.recipe:
        return {}
    return {
        "build": f"{__name__}:rebuild",
        "network": dict(network.recipe),
        "dataset": dict(dataset.recipe),
        "device": network.device.type,
        "gpus": int(network.device.type == "cuda"),
        "identities": {"network": network.identity, "dataset": dataset.identity},
    }


def rebuild(recipe: Mapping[str, Any]) -> Context:
    """Build the context again from its recipe.

    Raises:
        BadInput: if the network or the data cannot be loaded here, or are others.
    """
    asked = dict(recipe["dataset"])
    indices = asked.pop("indices", None)
    network, dataset = load(**recipe["network"]).to(recipe["device"]), load_dataset(**asked)
    dataset = dataset if indices is None else dataset.subset(indices)
    for found, name, what, where, fix in (
        (network, "network", "the network", recipe["network"]["spec"], "see that all machines read the same weights"),
        (dataset, "dataset", "the data", asked["spec"], "see that all machines read the same files"),
    ):
        if found.identity != recipe["identities"][name]:
            raise BadInput(f"a worker finds {what} changed", where=where, fix=fix)
    return network_and_data(network, dataset)
