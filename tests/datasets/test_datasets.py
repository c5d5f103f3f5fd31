"""What every data set does: subsets, identity, batches, and refusals."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making_data import image_column, images, parquet, pixels, png

from mulligan.datasets import Dataset, batches, load_dataset, require_classes
from mulligan.networks.inputs import ArrayInput, ImageInput, NetworkInput, TokenInput
from mulligan.records import BadInput

IMAGES = ImageInput(size=(6, 6), mean=(0.5,) * 3, std=(0.25,) * 3, resize=7)


class Letters:
    """The least that a fast tokenizer is: one token a character."""

    def __len__(self) -> int:
        return 128

    def __call__(self, texts: list[str], max_length: int, **_: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(letter) for letter in text][:max_length] for text in texts]}


TEXTS = TokenInput(tokenizer=Letters(), context=5, pad=0)


def folder(path: Path, n: int = 9) -> Dataset:
    return load_dataset(images(path, [f"{'cat' if k % 2 else 'dog'}/{k}.png" for k in range(n)]))


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
def test_subsets_keep_ids_and_compose(tmp_path: Path, data: st.DataObject) -> None:
    whole = folder(tmp_path)
    first = data.draw(st.lists(st.integers(0, 8), min_size=1))
    second = data.draw(st.lists(st.integers(0, len(first) - 1)))
    part = whole.subset(first).subset(second)
    rows = [first[row] for row in second]
    assert len(part) == len(rows)
    assert list(part.ids) == [whole.ids[row] for row in rows]
    assert whole.labels is not None
    assert part.labels is not None
    assert part.labels.tolist() == whole.labels[rows].tolist()
    assert (part.source, part.kind, part.label_names) == (whole.source, whole.kind, whole.label_names)
    for place, row in enumerate(rows[:3]):
        assert (np.asarray(part.raw(place)) == np.asarray(whole.raw(row))).all()
    assert part.identity == whole.subset(rows).identity


def test_identity_is_of_ids_and_labels_in_order(tmp_path: Path) -> None:
    whole = folder(tmp_path / "a")
    assert whole.identity.startswith("sha256:")
    assert len(whole.identity) == 7 + 64
    assert whole.identity == folder(tmp_path / "b").identity == whole.subset(range(9)).identity
    assert whole.subset([1, 0]).identity != whole.subset([0, 1]).identity
    relabelled = load_dataset(tmp_path / "a", classes=["dog", "cat"])
    assert relabelled.ids == whole.ids
    assert relabelled.identity != whole.identity


@pytest.mark.parametrize("source", ["folder", "parquet"])
@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_batches_against_the_slow_way(tmp_path: Path, source: str, size: int) -> None:
    if source == "folder":
        data = folder(tmp_path)
    else:
        columns = {"image": image_column([png(k) for k in range(9)]), "label": list(range(9))}
        data = load_dataset(parquet(tmp_path / "x.parquet", columns, group=2))
    rows = [8, 0, 3, 3, 7, 1, 2]
    made = list(batches(data, IMAGES, rows, size))
    assert [len(batch.indices) for batch in made] == [len(rows[start : start + size]) for start in range(0, 7, size)]
    assert np.concatenate([batch.indices for batch in made]).tolist() == rows
    slow = torch.stack([IMAGES.prepare(data.raw(row)) for row in rows])  # type: ignore[arg-type]
    torch.testing.assert_close(torch.cat([batch.x for batch in made]), slow, rtol=0, atol=0)
    assert data.labels is not None
    for batch in made:
        assert batch.mask is None
        assert batch.x.is_contiguous()
        assert batch.labels is not None
        assert batch.labels.tolist() == data.labels[batch.indices].tolist()
    assert sum(len(batch.x) for batch in batches(data, IMAGES, None, size)) == 9
    assert list(batches(data, IMAGES, [], size)) == []


def test_batches_of_texts_and_arrays(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("ab\nabcdefg\nc\n")
    texts = load_dataset(tmp_path / "x.txt")
    first, second = batches(texts, TEXTS, [2, 0, 1], 2)
    assert first.x.tolist() == [[99, 0], [97, 98]]
    assert first.mask is not None
    assert first.mask.tolist() == [[True, False], [True, True]]
    assert second.x.shape == (1, 5)
    assert first.labels is None
    np.savez(tmp_path / "x.npz", x=np.arange(12.0).reshape(4, 3), y=[0, 1, 0, 1])
    arrays = load_dataset(tmp_path / "x.npz")
    (batch,) = batches(arrays, ArrayInput(shape=(3,)), [3, 0], 2)
    assert batch.x.tolist() == [[9, 10, 11], [0, 1, 2]]
    assert batch.x.dtype == torch.float32
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0]
    with pytest.raises(BadInput, match="does not fit"):
        next(batches(arrays, ArrayInput(shape=(4,)), None, 2))


def reading() -> int:
    return sum(thread.name.startswith("mulligan-images") for thread in threading.enumerate())


def test_a_consumer_that_stops_early_leaves_no_threads(tmp_path: Path) -> None:
    data = folder(tmp_path)
    several = batches(data, IMAGES, None, 2)
    next(several)
    assert reading()
    several.close()  # type: ignore[attr-defined]
    assert not reading()
    for _ in batches(data, IMAGES, None, 2):
        break
    assert not reading()
    list(batches(data, IMAGES, None, 2))
    assert not reading()


def test_only_the_next_batch_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder(tmp_path)
    seen: list[int] = []
    gather = data.gather
    monkeypatch.setattr(data, "gather", lambda rows: seen.extend(rows) or gather(rows))
    for number, _ in enumerate(batches(data, IMAGES, None, 2)):
        assert len(seen) == min(2 * (number + 2), 9)


def test_a_broken_image_comes_after_the_batches_before_it(tmp_path: Path) -> None:
    images(tmp_path, [f"{k}.png" for k in range(6)])
    (tmp_path / "4.png").write_bytes(b"broken")
    several = batches(load_dataset(tmp_path), IMAGES, None, 2)
    assert [next(several).indices.tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(BadInput, match=r"4\.png"):
        next(several)
    assert not reading()


def test_kinds_that_do_not_fit_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("a")
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3)))
    pictures, texts, arrays = folder(tmp_path / "f"), load_dataset(tmp_path / "x.txt"), load_dataset(tmp_path / "x.npz")
    rows = ArrayInput(shape=(3,))
    wrong: list[tuple[Dataset, NetworkInput, str]] = [
        (pictures, TEXTS, "takes texts, and these data are images"),
        (pictures, rows, "takes arrays, and these data are images"),
        (texts, IMAGES, "takes images, and these data are texts"),
        (texts, rows, "takes arrays, and these data are texts"),
        (arrays, IMAGES, "takes images, and these data are arrays"),
        (arrays.subset([0]), TEXTS, "takes texts, and these data are arrays"),
    ]
    for data, spec, says in wrong:
        with pytest.raises(BadInput, match=says) as caught:
            batches(data, spec, None, 1)
        assert data.source in str(caught.value)
    with pytest.raises(BadInput, match="batches of 0"):
        batches(pictures, IMAGES, None, 0)
    with pytest.raises(IndexError):
        batches(pictures, IMAGES, [9], 1)


def test_classes_can_be_required(tmp_path: Path) -> None:
    two = folder(tmp_path / "two")
    require_classes(two)
    with pytest.raises(BadInput, match=r"2 classes only, 'cat', 'dog'.*at least 3"):
        require_classes(two, n=3)
    one = load_dataset(images(tmp_path / "one", ["cat/a.png", "cat/b.png"]))
    with pytest.raises(BadInput, match="1 class only, 'cat'"):
        require_classes(one)
    with pytest.raises(BadInput, match="no labels"):
        require_classes(load_dataset(images(tmp_path / "flat", ["a.png"])))
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3)), y=[3, -1])
    with pytest.raises(BadInput, match="1 class only, 3"):
        require_classes(load_dataset(tmp_path / "x.npz"))


def test_paths_that_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no such file or folder \(.*gone\): check the path"):
        load_dataset(tmp_path / "gone")
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(BadInput, match=r"end in '\.csv' are not read.*\.parquet, \.npz, \.txt or \.jsonl"):
        load_dataset(str(tmp_path / "x.csv"))
    (tmp_path / "x").write_text("a")
    with pytest.raises(BadInput, match="files without a suffix"):
        load_dataset(tmp_path / "x")
    with pytest.raises(BadInput, match="hub are not fetched"):
        load_dataset("hf:some/data")
    (tmp_path / "x.txt").write_text("a")
    with pytest.raises(BadInput, match="have columns of text"):
        load_dataset(tmp_path / "x.txt", text_column="text")


def test_the_same_pixels_are_seen_through_every_source(tmp_path: Path) -> None:
    contents = [png(k) for k in range(4)]
    sources = [
        load_dataset(images(tmp_path / "folder", [f"{k}.png" for k in range(4)])),
        load_dataset(parquet(tmp_path / "x.parquet", {"image": image_column(contents)})),
    ]
    np.savez(tmp_path / "x.npz", x=np.stack([pixels(k) for k in range(4)]))
    sources.append(load_dataset(tmp_path / "x.npz"))
    seen = [next(batches(source, IMAGES, None, 4)).x for source in sources]
    assert all(torch.equal(seen[0], other) for other in seen[1:])
