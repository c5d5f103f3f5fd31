"""Arrays in .npz files, mapped from the disk and never unpickled."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making_data import pixels

from mulligan.datasets import batches, load_dataset
from mulligan.networks.inputs import ArrayInput, ImageInput
from mulligan.records import BadInput

PIXELS = np.stack([pixels(number) for number in range(5)])


def save(path: Path, packed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("x", "seen"),
    [
        (PIXELS, PIXELS),
        (PIXELS[:, :, :, 0], PIXELS[:, :, :, 0]),
        (PIXELS[:, :, :, :1], PIXELS[:, :, :, :1]),
        (PIXELS.transpose(0, 3, 1, 2), PIXELS),
        (PIXELS / 255, PIXELS / 255),
        (PIXELS.astype(np.int64), PIXELS),
        (PIXELS.astype(np.int16), PIXELS),
        (PIXELS > 99, PIXELS > 99),
        (np.asfortranarray(PIXELS), PIXELS),
        ((PIXELS / 255).astype(">f4"), (PIXELS / 255).astype(np.float32)),
    ],
)
def test_pictures(tmp_path: Path, x: np.ndarray, seen: np.ndarray, packed: bool) -> None:
    data = load_dataset(save(tmp_path / "x.npz", packed, x=x, y=np.array([0, 1, 2, 1, -1])))
    assert (data.kind, len(data)) == ("images", 5)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2, 1, -1]
    for row in (4, 0):
        raw = np.asarray(data.raw(row))
        assert raw.shape == seen[row].shape
        assert (raw == seen[row]).all()
    spec = ImageInput(size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
    assert next(batches(data, spec, None, 5)).x.shape == (5, 3, 8, 8)
    straight = next(batches(data.subset([3, 1]), ArrayInput(shape=x.shape[1:]), None, 5))
    np.testing.assert_array_equal(straight.x.numpy(), x[[3, 1]].astype(np.float32))
    with pytest.raises(IndexError):
        data.raw(5)
    with pytest.raises(IndexError):
        data.raw(-1)


@pytest.mark.parametrize(
    ("x", "notes"),
    [
        (np.zeros((4, 3)), 0),
        (np.zeros((4, 2, 5, 2)), 0),
        (np.zeros((4, 2, 2, 2, 2)), 0),
        (np.full((4, 2, 2), 1.5), 1),
        (np.full((4, 2, 2), -1), 1),
        (np.full((4, 2, 2), 1000, np.int32), 1),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path: Path, x: np.ndarray, notes: int) -> None:
    data = load_dataset(save(tmp_path / "x.npz", x=x))
    assert (data.kind, data.labels, len(data.notes)) == ("arrays", None, notes)
    assert (np.asarray(data.raw(2)) == x[2]).all()


def test_a_shape_that_can_be_read_two_ways_is_noted(tmp_path: Path) -> None:
    data = load_dataset(save(tmp_path / "x.npz", x=np.zeros((2, 3, 9, 3), np.uint8)))
    assert "was read as [example, height, width, channel]" in data.notes[0]
    assert np.asarray(data.raw(0)).shape == (3, 9, 3)


@given(st.permutations(range(6)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
def test_ids_follow_the_rows(tmp_path: Path, order: list[int]) -> None:
    x = np.random.default_rng(0).random((6, 3))
    ids = load_dataset(save(tmp_path / "x.npz", x=x)).ids
    moved = load_dataset(save(tmp_path / "y.npz", packed=True, x=x[order])).ids
    assert list(moved) == [ids[row] for row in order]
    assert len(set(ids)) == 6


def test_ids_are_of_content_shape_and_dtype(tmp_path: Path) -> None:
    x = np.zeros((2, 4), np.float32)
    first = load_dataset(save(tmp_path / "a.npz", x=x))
    assert list(first.ids) == [first.ids[0], f"{first.ids[0]}-2"]
    assert load_dataset(save(tmp_path / "b.npz", x=x.astype(">f4"))).ids == first.ids
    assert load_dataset(save(tmp_path / "c.npz", x=np.asfortranarray(x))).ids == first.ids
    assert load_dataset(save(tmp_path / "d.npz", x=x.reshape(2, 2, 2))).ids[0] != first.ids[0]
    assert load_dataset(save(tmp_path / "e.npz", x=x.astype(np.int32))).ids[0] != first.ids[0]


def test_labels_by_name_and_column(tmp_path: Path) -> None:
    x = np.zeros((3, 2))
    named = load_dataset(save(tmp_path / "x.npz", x=x, y=np.array(["b", "a", "b"])))
    assert named.label_names == ("a", "b")
    assert named.labels is not None
    assert named.labels.tolist() == [1, 0, 1]
    column = load_dataset(save(tmp_path / "y.npz", x=x, y=np.array([[2.0], [0.0], [1.0]])), classes=["p", "q", "r"])
    assert column.labels is not None
    assert column.labels.tolist() == [2, 0, 1]
    assert column.label_names == ("p", "q", "r")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": PIXELS}, "no 'x', but 'images'"),
        ({}, "no 'x', but no arrays"),
        ({"x": np.array([{}, []], dtype=object)}, "holds Python objects"),
        ({"x": PIXELS, "y": np.array(["a", None, 1, 2, 3], dtype=object)}, "holds Python objects"),
        ({"x": PIXELS, "y": np.zeros(4, int)}, "'x' holds 5 examples and 'y' 4"),
        ({"x": PIXELS, "y": np.zeros((5, 2), int)}, "'y' is int64 of shape"),
        ({"x": PIXELS, "y": np.full(5, 0.5)}, "holds fractions"),
        ({"x": PIXELS, "y": np.full(5, 3)}, "label 3 is out of range.*2"),
        ({"x": PIXELS, "y": np.full(5, -3)}, "label -3 is below 0"),
        ({"x": PIXELS, "y": np.full(5, "c")}, "'c' is no single one of the network's 2 classes"),
        ({"x": np.zeros(5)}, "'x' is float64 of shape"),
        ({"x": np.array(["a", "b"])}, "'x' is <U1"),
        ({"x": np.zeros((2, 2), complex)}, "'x' is complex128"),
        ({"x": np.zeros((0, 2))}, "'x.npy' is empty"),
        ({"x": np.array([[0.0, 1.0], [0.0, np.nan]])}, "NaN or infinite values, the first in row 1"),
        ({"x": np.array([[np.inf, 1.0]])}, "NaN or infinite values, the first in row 0"),
    ],
)
def test_bad_archives(tmp_path: Path, arrays: dict[str, np.ndarray], says: str, packed: bool) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        load_dataset(save(tmp_path / "x.npz", packed, **arrays), classes=["a", "b"])
    assert "x.npz" in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_broken_files(tmp_path: Path, packed: bool) -> None:
    path = save(tmp_path / "x.npz", packed, x=np.random.default_rng(0).random((50, 50)))
    whole = path.read_bytes()
    for content in (b"", b"\x80\x04N.", whole[:500], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="not a readable"):
            load_dataset(path)
    compression = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    for content, says in (
        (b"no array at all", "not a NumPy array"),
        (_npy()[:-8], "cut short"),
        (_npy()[:20], "not a"),
    ):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("x.npy", content)
        with pytest.raises(BadInput, match=says):
            load_dataset(path)


def _npy() -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, np.zeros((4, 4)))
    return file.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_a_large_array_is_not_read_into_memory(tmp_path: Path, packed: bool) -> None:
    path = save(tmp_path / "x.npz", packed, x=np.zeros((200, 50_000), np.float32))  # 40 MB
    tracemalloc.start()
    data = load_dataset(path)
    for batch in batches(data, ArrayInput(shape=(50_000,)), None, 2):
        assert len(batch.x) == 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000
