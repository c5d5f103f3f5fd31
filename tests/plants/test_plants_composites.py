"""How two images are shown as one, and which pairs are drawn."""

from __future__ import annotations

import pytest
import torch

from mulligan.plants.composites import Family, Pool, near_miss_families, render, render_mixed, warp
from mulligan.plants.plant import generator
from mulligan.records import BadInput


def grey(value: float, channels: int = 1, size: tuple[int, int] = (7, 9)) -> torch.Tensor:
    return torch.full((2, channels, *size), value)


@pytest.mark.parametrize("channels", [1, 3])
def test_where_the_parts_lie(channels: int) -> None:
    dark, bright = grey(0.25, channels), grey(0.75, channels)

    def agree(image: torch.Tensor, value: float) -> None:
        torch.testing.assert_close(image, torch.full_like(image, value))

    beside, swapped = (render(dark, bright, "beside", variant) for variant in (0, 1))
    assert beside.shape == dark.shape
    agree(beside[..., :4], 0.25)
    agree(beside[..., 4:], 0.75)
    agree(swapped[..., :4], 0.75)
    stacked = render(dark, bright, "stacked", 0)
    assert stacked.shape == dark.shape
    agree(stacked[:, :, :3], 0.25)
    agree(stacked[:, :, 3:], 0.75)
    agree(render(dark, bright, "overlaid", 0), 0.5)
    agree(render(dark, bright, "overlaid", 1), 0.75)


@pytest.mark.parametrize("channels", [1, 3])
def test_where_small_parts_lie(channels: int) -> None:
    dark, bright = grey(0.25, channels, (8, 9)), grey(0.75, channels, (8, 9))
    inset, swapped = (render(dark, bright, "inset", variant)[0, 0] for variant in (0, 1))
    for image, small, large in ((inset, 0.75, 0.25), (swapped, 0.25, 0.75)):
        expected = torch.full((8, 9), large)
        expected[:4, 4:] = small
        torch.testing.assert_close(image, expected)
    first, second = (render(dark, bright, "diagonal", variant)[0, 0] for variant in (0, 1))
    for image, top, bottom in ((first, 0.25, 0.75), (second, 0.75, 0.25)):
        torch.testing.assert_close(image[:4, :4], torch.full((4, 4), top))
        torch.testing.assert_close(image[4:, 4:], torch.full((4, 5), bottom))
        assert not image[:4, 4:].any()
        assert not image[4:, :4].any()


def test_mixed_renderings_are_of_the_layouts_asked_for() -> None:
    dark, bright = torch.zeros(200, 1, 8, 8), torch.ones(200, 1, 8, 8)
    mixed = render_mixed(dark, bright, ("beside", "overlaid"), generator(0, "mixed"))
    left, right = mixed[:, 0, 0, 0], mixed[:, 0, 0, -1]
    seen = {(float(a), float(b)) for a, b in zip(left, right, strict=True)}
    assert seen == {(0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (1.0, 1.0)}


def test_warping_by_nothing_is_nothing() -> None:
    images = torch.rand(3, 1, 8, 8, generator=generator(0, "images"))
    assert warp(images, 0.0, generator(0, "warp")) is images
    moved = warp(images, 0.1, generator(0, "warp"))
    assert moved.shape == images.shape
    assert not torch.equal(moved, images)
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1


@pytest.fixture
def pool() -> Pool:
    """Sixty images of six classes; each image is its own number at every pixel."""
    images = torch.arange(60).float()[:, None, None, None].expand(-1, 1, 2, 2)
    return Pool(images, torch.arange(60) % 6, 6)


FAMILIES = near_miss_families(0, 1, (2, 3, 4, 5), ("zero", "one"))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_pairs_are_of_the_family(pool: Pool, family: Family) -> None:
    drawn = pool.draw(family, 300, generator(0, "draw"))
    once = pool.pairs(family, 100, generator(0, "pairs"))
    for first, second in (drawn, once):
        ones = first[:, 0, 0, 0].long()
        assert set((ones % 6).tolist()) <= set(family.first)
        if family.second_as == "blank":
            assert not second.any()
            continue
        twos = second[:, 0, 0, 0].long()
        assert set((twos % 6).tolist()) <= set(family.second)
        assert (ones != twos).all()
        if family.differ:
            assert (ones % 6 != twos % 6).all()
    used = once[0][:, 0, 0, 0].tolist()
    if family.second_as != "blank":
        used += once[1][:, 0, 0, 0].tolist()
    assert len(used) == len(set(used)), "an image is used twice"


def test_scrambling_keeps_the_pixels_and_moves_them() -> None:
    images = torch.rand(4, 3, 8, 8, generator=generator(0, "images"))
    pool = Pool(images, torch.tensor([0, 0, 1, 1]), 2)
    family = Family(name="", first=(0,), second=(1,), second_as="scrambled")
    _, second = pool.draw(family, 6, generator(0, "draw"))
    for image in second:
        assert any(same(one, image) for one in images[2:])
        assert not any(torch.equal(one, image) for one in images[2:])


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """The same pixels, colours together, in any order."""
    return {tuple(p) for p in one.flatten(1).T.tolist()} == {tuple(p) for p in other.flatten(1).T.tolist()}


def test_a_class_without_images_cannot_be_drawn(pool: Pool) -> None:
    lone = Pool(pool.images, torch.zeros(60, dtype=torch.int64), 2)
    with pytest.raises(BadInput, match="no images"):
        lone.draw(Family(name="", first=(1,), second=(0,)), 2, generator(0, "draw"))
