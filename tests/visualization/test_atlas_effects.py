"""What activations do to the answers, each against the slow way: change one place, run the whole network again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from atlas_networks import painted, paintings

from mulligan.activations.pools import sampled_places
from mulligan.datasets import batches
from mulligan.networks import Network
from mulligan.records import BadInput
from mulligan.runs import Context, Run
from mulligan.visualization.atlas.effects import (
    agreement,
    by_place,
    choose_members,
    effects_of,
    push,
    pushing,
    strongest,
    tail_of,
)
from mulligan.visualization.atlas.moments import Moments
from mulligan.visualization.atlas.sampling import Sample, atlas_site, places_of, sample_activations


@pytest.fixture
def sampled(tmp_path: Path) -> tuple[Network, object, Sample]:
    network, dataset = painted(), paintings(tmp_path, 12)
    run = Run.create("see", [], {}, out=tmp_path / "run")
    return network, dataset, sample_activations(network, dataset, atlas_site(network, "act"), run, wanted=100, seed=3)


def test_sampled_activations_are_those_at_the_places_that_are_said(sampled) -> None:
    network, dataset, sample = sampled
    assert places_of(sample.site) == (4, 4)
    (group,) = batches(dataset, network.input, None, 12)
    with torch.no_grad(), network.watching("act") as watched:
        network(group.x)
    every = by_place(watched["act"], sample.site).numpy()
    block = sample.block(0, 12)
    for picture in range(12):
        for draw in range(sample.number):
            np.testing.assert_allclose(block[picture, draw], every[picture, sample.places[picture, draw]], atol=1e-6)
    for picture in range(12):  # a place that was drawn twice counts once
        mine = sample.places[picture]
        assert sample.distinct[picture].tolist() == [mine[k] not in mine[:k] for k in range(len(mine))]
    rows = np.concatenate([rows for _, rows in sample.rows(sample.distinct)])
    np.testing.assert_array_equal(rows, block[sample.distinct])
    some = np.array([0, 3, len(rows) - 1])
    np.testing.assert_array_equal(sample.gather(sample.distinct, some), rows[some])


def test_places_hang_on_the_picture_and_not_on_its_neighbours(sampled) -> None:
    _, _, sample = sampled
    ids = sample.recording.ids
    alone = sampled_places(16, sample.number, 3, sample.site, ids[5:6])
    assert alone[0].tolist() == sample.places[5].tolist()


def test_to_first_order_each_place_adds_what_a_small_change_says(sampled) -> None:
    network, dataset, sample = sampled
    (group,) = batches(dataset, network.input, [0, 1, 2], 3)
    mean = torch.linspace(0, 0.3, 6)
    found = push(network, sample.site, group.x, 2, mean)
    # After this site the network is linear: taking all the way to the mean is what the slope says.
    for picture in range(3):
        for place in (0, 7, 15):

            def edit(tensor, _, picture=picture, place=place):
                changed = tensor.clone()
                changed[picture, :, place // 4, place % 4] = mean
                return changed

            with torch.no_grad():
                before = network.logits(group.x)[picture, 2]
                with network.editing({"act": edit}):
                    after = network.logits(group.x)[picture, 2]
            assert float(found[picture, place]) == pytest.approx(float(before - after), abs=1e-5)
    assert all(parameter.requires_grad for parameter in network.module.parameters())


def test_measured_effects_are_those_of_running_the_whole_network_again(sampled) -> None:
    network, dataset, sample = sampled
    moments = Moments.of(np.concatenate([rows for _, rows in sample.rows(sample.distinct)]))
    tail = tail_of(network, sample.site)
    assert tail is not None
    context = Context(
        "x", {"network": network, "dataset": dataset, "sample": sample, "tail": tail, "moments": moments, "classes": 4}
    )
    pictures, draws = [0, 0, 4, 4, 4, 11], [0, 1, 0, 2, 3, 5]
    found = effects_of(context, pictures=pictures, draws=draws).arrays["effects"]
    mean = torch.as_tensor(moments.mean, dtype=torch.float32)
    for row, (picture, draw) in enumerate(zip(pictures, draws, strict=True)):
        (group,) = batches(dataset, network.input, [picture], 1)
        place = int(sample.places[picture, draw])

        def edit(tensor, _, place=place):
            changed = tensor.clone()
            changed[0, :, place // 4, place % 4] = mean
            return changed

        with torch.no_grad():
            before = network.logits(group.x)[0]
            with network.editing({"act": edit}):
                expected = before - network.logits(group.x)[0]
        np.testing.assert_allclose(found[row], expected.numpy(), atol=1e-5)


def test_what_pushes_is_the_strongest_share_and_above_zero() -> None:
    pushes = np.array([[3.0, -1.0], [2.0, 1.0], [0.5, 9.0]], np.float32)
    known = np.array([[True, True], [True, True], [True, False]])
    assert pushing(pushes, 0.4, known).tolist() == [[True, False], [True, False], [False, False]]
    assert pushing(-pushes, 1.0, known).sum() == 1
    assert not pushing(pushes, 0.5, np.zeros_like(known)).any()


def test_members_are_of_the_cell_and_the_rest_chosen_anew_by_seed() -> None:
    cells = np.array([2, 2, 5, 2, 2, 5, 7])
    members = choose_members(cells, [2, 5], np.random.default_rng(0), most=3)
    assert len(members[2]) == 3
    assert set(members[2]) <= {0, 1, 3, 4}
    assert members[5].tolist() == [2, 5]


def test_classes_are_chosen_by_one_half_and_measured_on_the_other() -> None:
    effects = np.zeros((12, 3), np.float32)
    effects[0::2, 1] = 5  # chosen by these
    effects[1::2, 1] = 2
    (first, *_) = strongest(effects)
    assert first[0] == 1
    assert first[1].value == 2
    assert first[1].n == 6
    assert strongest(-effects) == []
    sure = [effects, np.roll(effects, 1, axis=1), effects, np.roll(effects, 1, axis=1)]
    same, apart = agreement(sure, np.random.default_rng(0))
    assert same.value == 1
    assert apart.value < 1


def test_sites_that_an_atlas_cannot_be_made_of_are_refused(tmp_path: Path) -> None:
    network = painted()
    with pytest.raises(BadInput, match="nosuch"):
        atlas_site(network, "nosuch")
    run = Run.create("see", [], {}, out=tmp_path / "run")
    few = paintings(tmp_path, 3)
    with pytest.raises(BadInput, match="an atlas over 48 activations would show nothing"):
        sample_activations(network, few, atlas_site(network, "act"), run, wanted=1000)
