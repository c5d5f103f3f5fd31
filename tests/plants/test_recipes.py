"""Data sets and their parts, architectures, the files of an entry, and training."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mulligan.networks import load, parse_input
from mulligan.plants.plant import generator
from mulligan.plants.recipes import (
    CORPORA,
    Architecture,
    Normalise,
    Recipe,
    SmallCNN,
    available,
    build,
    cost,
    draw_architecture,
    draw_recipe,
    entry_config,
    entry_source,
    fresh_accuracy,
    load_corpus,
    part,
    plant_data,
    sealed_data,
    siblings,
    split,
    train,
    training_rows,
)
from mulligan.plants.recipes import data as corpora
from mulligan.plants.recipes.architectures import MULTIPLY_ADDS, PARAMETERS
from mulligan.records import BadInput

TINY = Architecture(channels=1, size=28, classes=10, widths=(8, 16, 24), strides=(2, 2, 2), head="flat")
QUICK = Recipe(
    data="digits", architecture=TINY, epochs=6, train_size=800, mean=(0.22,), std=(0.31,), batch=64, learning_rate=8e-3
)


# Data sets


def test_digits_are_cut_into_parts_that_never_meet() -> None:
    corpus = load_corpus("digits")
    parts = split(corpus)
    rows = torch.cat(list(parts.values()))
    assert len(rows) == len(rows.unique()) == len(corpus.labels) == 1797
    for name, least in (("audit", 40), ("sealed", 20), ("fresh", 30), ("train", 60)):
        counts = corpus.labels[parts[name]].bincount(minlength=10)
        assert counts.min() >= least
        if name != "train":
            assert counts.min() == counts.max()


def test_the_parts_are_the_same_every_time_and_differ_by_seed() -> None:
    corpus = load_corpus("digits")
    first, again, other = split(corpus), split(corpus), split(corpus, seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["sealed"], other["sealed"])


def test_digits_are_bytes_of_28_by_28_with_a_margin() -> None:
    corpus = load_corpus("digits")
    assert corpus.images.dtype == torch.uint8
    assert corpus.shape == (1, 28, 28)
    assert corpus.images.max() > 240
    assert corpus.images[:, :, :2].max() == 0


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar-10"])
def test_data_that_is_not_there_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(corpora, "_DEBIAN", tmp_path / "nothing")
    monkeypatch.setenv("MULLIGAN_DATA", str(tmp_path))
    with pytest.raises(BadInput, match=f"the files of {name} are not there"):
        load_corpus(name)
    with pytest.raises(BadInput, match="are not there"):
        load_corpus(name, tmp_path)
    monkeypatch.delenv("MULLIGAN_DATA")
    with pytest.raises(BadInput, match="MULLIGAN_DATA"):
        load_corpus(name)
    assert available() == ("digits",)


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(BadInput, match="no such data set"):
        load_corpus("mnist")


def _write_fashion(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Four IDX files of a few images each."""
    monkeypatch.setattr(corpora, "_IDX", {"train": 6, "t10k": 4})
    images = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    labels = np.arange(10, dtype=np.uint8)
    for name, chosen in (("train", slice(0, 6)), ("t10k", slice(6, 10))):
        for what, array in (("images-idx3", images[chosen]), ("labels-idx1", labels[chosen])):
            head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{name}-{what}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return images, labels


def test_fashion_mnist_is_read_from_idx_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path / "cache"))
    images, labels = _write_fashion(tmp_path, monkeypatch)
    corpus = load_corpus("fashion-mnist", tmp_path)
    assert np.array_equal(corpus.images[:, 0].numpy(), images)
    assert np.array_equal(corpus.labels.numpy(), labels)
    with pytest.raises(BadInput, match="images of a class"):
        split(corpus)
    # Decoded once: the second time from the cache, which is written anew where it is broken.
    (kept,) = (tmp_path / "cache" / "corpora").iterdir()
    kept.write_bytes(b"broken")
    corpora._load.cache_clear()
    assert torch.equal(load_corpus("fashion-mnist", tmp_path).images, corpus.images)
    assert safetensors.torch.load_file(kept)["labels"].shape == (10,)


# Without a time in the header: the name of a test must be the same in every process that collects it.
@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"short", mtime=0), gzip.compress(b"\0" * 5000, mtime=0)],
    ids=["no gzip", "short", "zeros"],
)
def test_broken_idx_files_are_refused(content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path / "cache"))
    _write_fashion(tmp_path, monkeypatch)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(BadInput, match=r"this file cannot be unpacked|no IDX file"):
        load_corpus("fashion-mnist", tmp_path)


def _write_cifar(folder: Path, side: int = 32) -> np.ndarray:
    pictures = np.random.default_rng(0).integers(0, 256, (10, side, side, 3), dtype=np.uint8)
    for file, chosen in (("train.parquet", range(6)), ("test.parquet", range(6, 10))):
        encoded = []
        for index in chosen:
            buffer = io.BytesIO()
            Image.fromarray(pictures[index]).save(buffer, "PNG")
            encoded.append({"bytes": buffer.getvalue(), "path": f"{index}.png"})
        pq.write_table(pa.table({"image": encoded, "label": list(chosen)}), folder / file)
    return pictures


def test_cifar_10_is_read_from_parquet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MULLIGAN_DATA", str(tmp_path))
    pictures = _write_cifar(tmp_path / "cifar10")
    corpus = load_corpus("cifar-10")
    assert np.array_equal(corpus.images.permute(0, 2, 3, 1).numpy(), pictures)
    assert corpus.labels.tolist() == list(range(10))
    assert "cifar-10" in available()


def test_parquet_of_something_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path / "cache"))
    _write_cifar(tmp_path, side=16)
    with pytest.raises(BadInput, match="not pictures of 32 x 32"):
        load_corpus("cifar-10", tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(BadInput, match="cannot be read"):
        load_corpus("cifar-10", tmp_path)


# Architectures

SHAPES = [
    (shape, norm, activation, head, hidden)
    for shape in ("plain", "residual", "depthwise")
    for norm, activation, head, hidden in (
        ("batch", "relu", "pool", 0),
        ("group", "gelu", "flat", 16),
        ("none", "silu", "pool", 8),
    )
]  # fmt: skip


@pytest.mark.parametrize(("shape", "norm", "activation", "head", "hidden"), SHAPES)
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 28, 10), (3, 33, 7)])
def test_every_shape_answers(channels, size, classes, shape, norm, activation, head, hidden) -> None:
    a = Architecture(
        channels=channels, size=size, classes=classes, widths=(8, 16, 16), strides=(2, 1, 2), kernel=5, norm=norm,
        activation=activation, shape=shape, head=head, hidden=hidden,
    )  # fmt: skip
    module = build(a, 0).eval()
    outputs = module(torch.rand(2, channels, size, size))
    assert outputs.shape == (2, classes)
    assert outputs.isfinite().all()
    assert isinstance(module.head, torch.nn.Linear)
    again = msgspec.json.decode(msgspec.json.encode(a), type=Architecture)
    assert again == a == Architecture(**json.loads(json.dumps(asdict(a))))


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": (8,)}, {"widths": (), "strides": ()}, {"strides": (2, 3, 1)}, {"kernel": 4}, {"norm": "layer"},
        {"activation": "tanh"}, {"shape": "dense"}, {"head": "token"}, {"hidden": -1}, {"channels": 0},
    ],
)  # fmt: skip
def test_architectures_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        replace(TINY, **wrong)


@pytest.mark.parametrize("seed", range(24))
def test_cost_is_what_a_pass_counts(seed: int) -> None:
    data = CORPORA[seed % 3]
    a = draw_architecture(generator(seed, "cost"), data)
    module, counted = build(a, 0).eval(), 0

    def count(layer, inputs, output) -> None:
        nonlocal counted
        if isinstance(layer, torch.nn.Conv2d):
            counted += layer.weight[0].numel() * output[0].numel()
        elif isinstance(layer, torch.nn.Linear):
            counted += layer.weight.numel()

    for layer in module.modules():
        layer.register_forward_hook(count)
    module(torch.zeros(1, a.channels, a.size, a.size))
    assert cost(a).multiply_adds == counted
    assert cost(a).parameters == sum(parameter.numel() for parameter in module.parameters())


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = build(TINY, 1), build(TINY, 1), build(TINY, 2)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


@given(seed=st.integers(0, 10**6), data=st.sampled_from(CORPORA))
@settings(max_examples=15, deadline=None)
def test_drawn_recipes_are_within_their_means(seed: int, data) -> None:
    recipe = draw_recipe(generator(seed, "recipe"), data)
    assert recipe == draw_recipe(generator(seed, "recipe"), data)
    assert PARAMETERS[0] <= cost(recipe.architecture).parameters <= PARAMETERS[1]
    assert cost(recipe.architecture).multiply_adds <= MULTIPLY_ADDS
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe
    taken = parse_input(recipe.input)
    assert taken.mean == recipe.mean
    assert taken.std == recipe.std
    assert taken.size == (recipe.architecture.size,) * 2


def test_drawn_architectures_vary() -> None:
    drawn = [draw_architecture(generator(seed, "vary"), "fashion-mnist") for seed in range(60)]
    assert {a.norm for a in drawn} == {"batch", "group", "none"}
    assert {a.shape for a in drawn} == {"plain", "residual", "depthwise"}
    assert {a.activation for a in drawn} == {"relu", "gelu", "silu"}
    assert {a.head for a in drawn} == {"pool", "flat"}
    assert len({a.widths for a in drawn}) > 10
    # CIFAR-10's are those that learn it in the time that the game has.
    assert {draw_architecture(generator(seed, "vary"), "cifar-10").norm for seed in range(30)} == {"batch", "group"}


def test_an_entry_builds_its_network_without_us(tmp_path: Path) -> None:
    classes = tuple("abcdefghij")
    (tmp_path / "model.py").write_text(entry_source(), encoding="utf-8")
    (tmp_path / "config.json").write_text(entry_config(TINY, QUICK.input, classes), encoding="utf-8")
    module = build(TINY, 3).eval()
    safetensors.torch.save_file(module.state_dict(), tmp_path / "weights.safetensors")
    network = load(f"{tmp_path / 'model.py'}:factory", weights=tmp_path / "weights.safetensors")
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(network.module(x), module(x))
    assert network.classes == classes
    # In an interpreter that cannot import mulligan.
    text = (
        "import sys; sys.modules['mulligan'] = None; import runpy; "
        f"made = runpy.run_path({str(tmp_path / 'model.py')!r}); print(made['factory']().head.out_features)"
    )
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "10"


# Training


def test_a_network_is_trained_once_and_kept(tmp_path: Path) -> None:
    first = train(QUICK, 0, folder=tmp_path)
    assert fresh_accuracy(first, QUICK) > 0.93
    assert not first.training
    (file,) = tmp_path.glob("*.safetensors")
    when = file.stat().st_mtime_ns
    again = train(QUICK, 0, folder=tmp_path)
    assert file.stat().st_mtime_ns == when
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), again.parameters(), strict=True))
    file.write_bytes(b"broken")
    renewed = train(QUICK, 0, folder=tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), renewed.parameters(), strict=True))


def test_siblings_differ_in_their_weights_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path))
    quick = replace(QUICK, epochs=1)
    one, two = siblings(quick, range(2))
    assert isinstance(one, SmallCNN)
    assert list(one.state_dict()) == list(two.state_dict())
    assert not torch.equal(one.head.weight, two.head.weight)
    assert quick.key() == replace(quick).key() != replace(quick, subset=1).key()


@pytest.mark.parametrize("augment", ["none", "shift", "shift-flip"])
def test_every_augmentation_trains(augment, tmp_path: Path) -> None:
    module = train(replace(QUICK, epochs=1, augment=augment, train_size=200), 0, folder=tmp_path)
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_an_architecture_for_other_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not take such images"):
        train(replace(QUICK, architecture=replace(TINY, size=32)), 0, folder=tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"mean": (0.5, 0.5)}, {"std": (0.0,)}, {"epochs": 0}, {"learning_rate": 0.0}, {"augment": "cutout"}]
)
def test_recipes_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(BadInput):
        replace(QUICK, **wrong)


# What plants are given


def test_planters_get_training_and_fresh_images_and_the_referee_others() -> None:
    planting, sealed = plant_data(QUICK, limit=400), sealed_data(QUICK, limit=400)
    assert planting.images.shape[1:] == (1, 28, 28)
    assert len(planting.images) == pytest.approx(400, abs=10)
    assert planting.labels.bincount().min() >= 35
    assert torch.equal(planting.images, sealed.images)
    assert planting.prepare == Normalise(mean=(0.22,), std=(0.31,))
    corpus = load_corpus("digits")
    known = {bytes(image.numpy()) for image in corpus.images[training_rows(QUICK)]}
    audit = {bytes(image.numpy()) for image in part("digits", "audit")[0]}
    for data, name in ((planting, "fresh"), (sealed, "sealed")):
        images = (data.fresh * 255).round().to(torch.uint8)
        assert torch.equal(images, part("digits", name)[0])
        shown = {bytes(image.numpy()) for image in images}
        assert not shown & known
        assert not shown & audit


def test_a_subset_is_the_same_share_of_each_class() -> None:
    half = replace(QUICK, train_size=400)
    labels = load_corpus("digits").labels
    counts = labels[training_rows(half)].bincount(minlength=10)
    whole = labels[training_rows(QUICK)].bincount(minlength=10)
    assert (counts / whole - 0.5).abs().max() < 0.02
    assert not torch.equal(training_rows(half), training_rows(replace(half, subset=1)))
    assert set(training_rows(half).tolist()) < set(training_rows(QUICK).tolist())


def test_preparation_is_what_the_input_says() -> None:
    normalise = Normalise(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.1))
    pixels = torch.rand(2, 3, 4, 4)
    taken = parse_input(normalise.text(4))
    torch.testing.assert_close(normalise(pixels), taken.normalise(pixels))
