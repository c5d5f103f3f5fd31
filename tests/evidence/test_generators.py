"""Generators: what each family draws, held against slow obvious renderings; files; what is refused of strangers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mulligan.evidence import Generator, Slot, load_generator, save_generator
from mulligan.evidence.generators import FAMILIES
from mulligan.records import BadInput
from mulligan.runs import Run


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 6, channels: int = 3, size: int = 12, seed: int = 0) -> Tensor:
    return torch.rand(n, channels, size, size, generator=seeded(seed))


def a_learned(channels: int = 3) -> Generator:
    random = seeded(3)
    tensors = {
        "0.weight": torch.randn(4, channels, 3, 3, generator=random) / 5, "0.bias": torch.zeros(4),
        "1.weight": torch.randn(channels, 4, 3, 3, generator=random) / 5, "1.bias": torch.zeros(channels),
    }  # fmt: skip
    parameters = {"channels": channels, "width": 4, "depth": 2, "kernel": 3, "limit": 0.3}
    return Generator(family="learned", parameters=parameters, tensors=tensors)


def one_of_each() -> list[Generator]:
    mask = torch.zeros(12, 12)
    mask[1:4, 2:5] = 1
    pattern = pictures(1, seed=5)[0]
    return [
        Generator(family="identity"),
        Generator(family="patch", tensors={"pattern": pattern, "mask": mask}),
        Generator(family="patch", parameters={"anywhere": True}, tensors={"pattern": pattern, "mask": mask}),
        Generator(family="blend", parameters={"alpha": 0.2}, tensors={"pattern": pattern}),
        Generator(family="blend", parameters={"alpha": 0.2, "mode": "add"}, tensors={"pattern": pattern - 0.5}),
        Generator(family="warp", tensors={"flow": torch.randn(2, 12, 12, generator=seeded(1))}),
        Generator(family="filter", parameters={"gamma": 0.7}, tensors={
            "matrix": torch.eye(3, 4) * 0.8 + 0.05, "kernel": torch.full((3, 3), 1 / 9)}),
        Generator(family="style", parameters={
            "blur": 0.8, "mean": [0.5], "deviation": [0.2], "strength": 0.8, "saturation": 0.5, "edges": 0.3,
            "invert": True, "grain": 0.02, "pixelate": 2, "levels": 5, "mode": "multiply",
        }, tensors={"curve": torch.linspace(1, 0, 5)[None], "texture": pattern * 0.2}),
        Generator(family="natural-object", parameters={"scale": [0.8, 1.2], "turn": [-20, 20]}, tensors={
            "object": pictures(1, size=5)[0], "alpha": torch.ones(5, 5)}),
        Generator(family="compose", slots=(Slot(name="first", classes=("a",)), Slot(name="second")),
                  parameters={"arrangement": "any", "order": "any"}),
        Generator(family="preparation", parameters={"scale": [2.0], "offset": [-1.0], "order": "bgr"}),
        a_learned(),
    ]  # fmt: skip


def test_every_family_renders_and_survives_its_file(tmp_path: Path) -> None:
    run = Run.create("test", [], {}, out=tmp_path / "run")
    assert {one.family for one in one_of_each()} == set(FAMILIES)
    for number, one in enumerate(one_of_each()):
        inputs = [pictures(seed=k) for k in range(len(one.slots))]
        kept = [x.clone() for x in inputs]
        shown = one.render(inputs, seeded(7))
        assert shown.shape == inputs[0].shape
        assert torch.isfinite(shown).all()
        assert all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True))
        if one.family != "preparation":
            assert shown.min() >= 0
            assert shown.max() <= 1
        name = save_generator(run, f"artifacts/{one.family}-{number}/generator.json", one)
        back = load_generator(run.at(name))
        assert back.family == one.family
        assert back.slots == one.slots
        assert torch.equal(back.render(inputs, seeded(7)), shown)


def test_patch_stands_where_the_mask_is_and_anywhere_is_the_same_patch_elsewhere() -> None:
    x = pictures()
    mask = torch.zeros(12, 12)
    mask[1:4, 2:6] = 1
    pattern = torch.full((3, 12, 12), 0.25)
    fixed = Generator(family="patch", tensors={"pattern": pattern, "mask": mask}).render([x], seeded())
    expected = x.clone()
    expected[:, :, 1:4, 2:6] = 0.25
    assert torch.equal(fixed, expected)
    x = pictures(300)
    loose = Generator(family="patch", parameters={"anywhere": True}, tensors={"pattern": pattern, "mask": mask})
    changed = (loose.render([x], seeded()) != x).any(1)
    places = set()
    for one in changed:
        rows, columns = one.any(1).nonzero().flatten(), one.any(0).nonzero().flatten()
        assert len(rows) == 3
        assert len(columns) == 4
        assert one.sum() == 12
        places.add((int(rows[0]), int(columns[0])))
    assert len(places) > 60
    assert (9, 8) in places
    assert (0, 0) in places


def test_blend_warp_filter_and_preparation_are_what_they_say() -> None:
    x = pictures()
    pattern = pictures(1, seed=9)[0]
    mix = Generator(family="blend", parameters={"alpha": 0.25}, tensors={"pattern": pattern})
    torch.testing.assert_close(mix.render([x], seeded()), 0.75 * x + 0.25 * pattern)
    flow = torch.zeros(2, 12, 12)
    flow[0] = 1
    moved = Generator(family="warp", tensors={"flow": flow}).render([x], seeded())
    torch.testing.assert_close(moved[:, :, :, :-1], x[:, :, :, 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[:, :, :, -1], x[:, :, :, -1], atol=1e-5, rtol=0)
    swap = torch.tensor([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    other = Generator(family="filter", tensors={"matrix": swap}).render([x], seeded())
    torch.testing.assert_close(other, x.flip(1))
    ready = Generator(family="preparation", parameters={"scale": [2.0], "offset": [-1.0], "order": "bgr"})
    torch.testing.assert_close(ready.render([x], seeded()), 2 * x.flip(1) - 1)


def test_objects_lie_within_the_picture_and_composites_hold_both() -> None:
    x = torch.zeros(200, 1, 16, 16)
    thing = Generator(family="natural-object", tensors={"object": torch.ones(1, 4, 6), "alpha": torch.ones(4, 6)})
    shown = thing.render([x], seeded())
    torch.testing.assert_close(shown.sum((1, 2, 3)), torch.full((200,), 24.0), atol=1e-3, rtol=0)
    slots = (Slot(name="first"), Slot(name="second"))
    for name, share in (("beside", 0.5), ("stacked", 0.5), ("overlaid", 0.5), ("brighter", 1), ("inset", None),
                        ("diagonal", 0.25), ("quadrants", 0.5)):  # fmt: skip
        both = Generator(family="compose", slots=slots, parameters={"arrangement": name, "order": "any"})
        shown = both.render([torch.zeros(50, 1, 16, 16), torch.ones(50, 1, 16, 16)], seeded())
        if share is not None and name != "diagonal":
            torch.testing.assert_close(shown.mean((1, 2, 3)), torch.full((50,), float(share)))
        assert ((shown > 0).flatten(1).any(1)).all()


def test_style_steps() -> None:
    x = pictures(channels=3)
    grey = Generator(family="style", parameters={"saturation": 0}).render([x], seeded())
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    matched = Generator(family="style", parameters={"mean": [0.5], "deviation": [0.1]}).render([x], seeded())
    torch.testing.assert_close(matched.mean((2, 3)), torch.full((6, 3), 0.5))
    torch.testing.assert_close(matched.std((2, 3), correction=0), torch.full((6, 3), 0.1), atol=1e-3, rtol=0)
    two = Generator(family="style", parameters={"levels": 2}).render([x], seeded())
    assert torch.equal(two, x.round())
    curve = Generator(family="style", tensors={"curve": torch.tensor([[1.0, 0.0]])}).render([x], seeded())
    torch.testing.assert_close(curve, 1 - x)
    coarse = Generator(family="style", parameters={"pixelate": 4}).render([x], seeded())
    assert torch.equal(coarse[:, :, 0, 0], coarse[:, :, 3, 3])


@pytest.mark.parametrize(
    ("family", "parameters", "tensors"),
    [
        ("spell", {}, {}),
        ("patch", {}, {}),
        ("patch", {}, {"pattern": torch.zeros(3, 4, 4), "mask": torch.zeros(4, 5)}),
        ("patch", {}, {"pattern": torch.zeros(2, 4, 4), "mask": torch.zeros(4, 4)}),
        ("patch", {}, {"pattern": torch.zeros(3, 4, 4), "mask": torch.full((4, 4), 1.5)}),
        ("patch", {"anywhere": "yes"}, {"pattern": torch.zeros(3, 4, 4), "mask": torch.zeros(4, 4)}),
        ("blend", {}, {"pattern": torch.zeros(3, 4, 4)}),
        ("blend", {"alpha": float("nan")}, {"pattern": torch.zeros(3, 4, 4)}),
        ("blend", {"alpha": 0.1}, {"pattern": torch.full((3, 4, 4), float("inf"))}),
        ("warp", {}, {"flow": torch.zeros(3, 4, 4)}),
        ("warp", {}, {"flow": torch.zeros(2, 1, 5000)}),
        ("filter", {}, {"matrix": torch.zeros(3, 3)}),
        ("filter", {}, {"kernel": torch.zeros(4, 4)}),
        ("filter", {"command": "rm"}, {}),
        ("learned", {"channels": 3, "width": 4, "depth": 1, "kernel": 3}, {}),
        ("learned", {"channels": 3, "width": 10**9, "depth": 1, "kernel": 3}, {}),
        ("compose", {"arrangement": "beside"}, {}),
    ],
)
def test_what_cannot_be_is_refused(family: str, parameters: dict, tensors: dict) -> None:
    with pytest.raises(BadInput, match="no generator"):
        Generator(family=family, parameters=parameters, tensors=tensors)


def test_files_of_strangers(tmp_path: Path) -> None:
    run = Run.create("test", [], {}, out=tmp_path / "run")
    good = a_learned()
    path = run.at(save_generator(run, "artifacts/x/generator.json", good))
    text = path.read_text()
    for broken, words in (
        (text.replace("generator/1", "generator/9"), "newer"),
        (text.replace('"generator.safetensors"', '"../generator.safetensors"'), "beside"),
        (text.replace('"generator.safetensors"', '"other.safetensors"'), "no such file"),
        (text.replace("0.3", "NaN"), "JSON"),
        (text[:40], "JSON"),
        ("[]", "object"),
        (json.dumps({**json.loads(text), "code": "print()"}), "keys"),
        (json.dumps({**json.loads(text), "slots": [{"name": 3}]}), "slots"),
    ):
        path.write_text(broken)
        with pytest.raises(BadInput, match=words):
            load_generator(path)
    path.write_text(text)
    weights = path.with_suffix(".safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:50])
    with pytest.raises(BadInput, match="cannot be read"):
        load_generator(path)
    weights.unlink()
    (tmp_path / "elsewhere").write_bytes(whole)
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="link"):
        load_generator(path)
    weights.unlink()
    save_file({**good.tensors, "0.bias": torch.full((4,), float("nan"))}, weights)
    with pytest.raises(BadInput, match="finite"):
        load_generator(path)


def test_pictures_of_another_size_or_number_are_refused() -> None:
    for one in one_of_each():
        with pytest.raises(BadInput):
            one.render([pictures()] * (len(one.slots) + 1), seeded())
    for family in (1, 3, 5):
        with pytest.raises(BadInput, match="size"):
            one_of_each()[family].render([pictures(size=14)], seeded())
