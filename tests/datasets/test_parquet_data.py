"""Parquet: images and texts as Hugging Face writes them, a row group at a time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making_data import image_column, images, parquet, pixels, png

from mulligan.datasets import batches, load_dataset
from mulligan.datasets.parquet import Column
from mulligan.networks.inputs import ImageInput
from mulligan.records import BadInput

SMALL = ImageInput(size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
PNGS = [png(number) for number in range(7)]
CLASS_LABEL = {"label": {"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}


@pytest.mark.parametrize("group", [1, 3, 100])
@pytest.mark.parametrize("shape", ["struct", "flat", "binary", "large", "declared"])
def test_images_in_every_layout(tmp_path: Path, shape: str, group: int) -> None:
    columns: dict[str, Any] = {"label": [0, 1, 2, 1, 0, -1, None]}
    features = None
    if shape == "struct":
        columns["image"] = image_column(PNGS)
    elif shape == "flat":
        columns["image.bytes"] = PNGS
    elif shape == "binary":
        columns["image"] = PNGS
    elif shape == "large":
        columns["image"] = pa.array([{"bytes": content} for content in PNGS], pa.struct([("bytes", pa.large_binary())]))
    else:
        columns["picture"] = image_column(PNGS)
        features = {"picture": {"_type": "Image"}}
    data = load_dataset(parquet(tmp_path / "x.parquet", columns, features, group))
    assert (len(data), data.kind, data.label_names) == (7, "images", None)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2, 1, 0, -1, -1]
    for row in (6, 0, 3, 3, 5):
        assert (np.asarray(data.raw(row)) == pixels(row)).all()
    assert list(data.ids) == list(load_dataset(images(tmp_path / "same", [f"{k}.png" for k in range(7)])).ids)


def test_label_names_come_from_the_metadata(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", {"image": image_column(PNGS[:3]), "label": [2, 0, 1]}, CLASS_LABEL)
    plain = load_dataset(path)
    assert plain.label_names == ("cat", "dog", "emu")
    assert plain.labels is not None
    assert plain.labels.tolist() == [2, 0, 1]
    other = load_dataset(path, classes=["Emu", "cat", "fox", "dog"])
    assert other.label_names == ("Emu", "cat", "fox", "dog")
    assert other.labels is not None
    assert other.labels.tolist() == [0, 1, 3]
    assert other.notes == ("Labels were matched to the network's classes by name, which are in another order.",)
    counted = load_dataset(path, classes=["Felis", "Canis", "Dromaius"])
    assert counted.labels is not None
    assert counted.labels.tolist() == [2, 0, 1]
    assert "taken by number" in counted.notes[0]
    with pytest.raises(BadInput, match="no single one of the network's 2 classes"):
        load_dataset(path, classes=["Felis", "Canis"])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_labels_that_are_names(tmp_path: Path, kind: pa.DataType) -> None:
    names = pa.array(["dog", "cat", None, "dog"], kind)
    path = parquet(tmp_path / "x.parquet", {"image": image_column(PNGS[:4]), "label": names})
    data = load_dataset(path)
    assert data.label_names == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, -1, 1]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ([0, 5], "label 5 is out of range"),
        ([0, -2], "label -2 is below 0"),
        ([0.5, 1.0], "holds 0.5, no label"),
        (pa.array([0, 2**63], pa.uint64()), "too large"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, label: Any, says: str) -> None:
    path = parquet(tmp_path / "x.parquet", {"image": image_column(PNGS[:2]), "label": label})
    with pytest.raises(BadInput, match=says):
        load_dataset(path, classes=["a", "b", "c"])


def test_labels_of_pandas_and_of_several_classes(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", {"image": image_column(PNGS[:2]), "label": [1.0, float("nan")]})
    data = load_dataset(path)
    assert data.labels is not None
    assert data.labels.tolist() == [1, -1]
    path = parquet(tmp_path / "y.parquet", {"image": image_column(PNGS[:2]), "label": [[1], [0, 1]]})
    assert load_dataset(path).labels is None
    assert "not taken as labels" in load_dataset(path).notes[0]


def test_texts(tmp_path: Path) -> None:
    columns = {"text": ["one", "", None, "  ", "two", "one"], "label": [0, 1, 1, 1, 1, 0]}
    data = load_dataset(parquet(tmp_path / "x.parquet", columns, CLASS_LABEL, group=2))
    assert (data.kind, len(data)) == ("texts", 3)
    assert [data.raw(index) for index in (2, 0, 1)] == ["one", "one", "two"]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 0]
    assert data.ids[2] == f"{data.ids[0]}-2"
    assert data.notes == ("Rows without text were passed over: 3.",)
    (tmp_path / "x.txt").write_text("one\ntwo\none\n")
    assert load_dataset(tmp_path / "x.txt").ids == data.ids


def test_a_named_column_of_texts(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", {"image": image_column(PNGS[:1]), "caption": ["a cat"]})
    assert load_dataset(path).kind == "images"
    data = load_dataset(path, text_column="caption")
    assert data.raw(0) == "a cat"
    with pytest.raises(BadInput, match=r"no column of text named 'words', but 'image'.*'caption' \(string\)"):
        load_dataset(path, text_column="words")


@given(st.lists(st.integers(0, 29), max_size=30), st.integers(1, 12), st.sampled_from([0, 200, 1 << 20]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_rows_in_any_order_whatever_is_held(tmp_path: Path, rows: list[int], group: int, hold: int) -> None:
    path = tmp_path / f"{group}.parquet"
    if not path.exists():
        parquet(path, {"text": [f"text {number}" for number in range(30)]}, group=group)
    column = Column(pq.ParquetFile(path), "text", None, where="here", hold=hold)
    assert column.take(np.array(rows, dtype=np.int64)) == [f"text {row}" for row in rows]
    assert sum(column._sizes[held] for held in column._held) <= hold


def test_memory_does_not_grow_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the rows, the same memory: in Python (tracemalloc), in Arrow (its pool), and in row groups held."""
    monkeypatch.setattr("mulligan.datasets.parquet._size", lambda group, path: group.total_byte_size)

    def peak(rows: int) -> tuple[int, int]:
        path = tmp_path / f"{rows}.parquet"
        kind = pa.schema([("image", pa.struct([("bytes", pa.binary())])), ("label", pa.int64())])
        with pq.ParquetWriter(path, kind, compression="none", use_dictionary=False) as writer:
            for start in range(0, rows, 40):
                contents = [{"bytes": png(start + number, side=32)} for number in range(40)]
                writer.write_table(pa.table({"image": contents, "label": [0] * 40}, schema=kind))
        data = load_dataset(path)
        data.column.hold = 1 << 19  # type: ignore[attr-defined]
        tracemalloc.start()
        arrow = 0
        for batch in batches(data, SMALL, None, 20):
            arrow = max(arrow, pa.total_allocated_bytes())
            assert len(data.column._held) <= 4  # type: ignore[attr-defined]
            assert len(batch.x) == 20
        _, python = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return python, arrow

    peak(80)  # what is allocated once
    python, arrow = peak(200)
    more_python, more_arrow = peak(2000)
    assert more_python < 1.5 * python + (1 << 17)
    assert more_arrow < 1.5 * arrow + (1 << 17)


def test_one_large_row_group_is_not_read_whole(tmp_path: Path) -> None:
    contents = [np.random.default_rng(number).bytes(20_000) for number in range(2000)]  # 40 MB
    path = tmp_path / "x.parquet"
    pq.write_table(
        pa.table({"image": contents}), path, compression="none", use_dictionary=False, data_page_size=1 << 17,
        write_statistics=False, write_batch_size=8,  # pages are cut after whole batches
    )  # fmt: skip
    del contents
    data = load_dataset(path)
    data.column.hold = 1 << 20  # type: ignore[attr-defined]
    before, most = pa.total_allocated_bytes(), 0
    for row in range(0, 2000, 50):
        assert len(data.gather([row])[0][1]) == 20_000
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 10_000_000


@pytest.mark.parametrize("columns", [{"picture": ["x"], "number": [1]}, {"image": ["a path"]}, {"text": [3]}])
def test_a_file_without_a_known_column(tmp_path: Path, columns: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="no column 'image' or 'text', but") as caught:
        load_dataset(parquet(tmp_path / "x.parquet", columns))
    assert all(repr(name) in str(caught.value) for name in columns)


def test_files_that_are_no_parquet_or_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match=r"not a readable Parquet file.*x\.parquet"):
        load_dataset(tmp_path / "x.parquet")
    with pytest.raises(BadInput, match="no rows"):
        load_dataset(parquet(tmp_path / "y.parquet", {"text": pa.array([], pa.string())}))
    with pytest.raises(BadInput, match="no row of the column 'text' holds text"):
        load_dataset(parquet(tmp_path / "z.parquet", {"text": ["", None, " "]}))


def test_broken_pages_and_images(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", {"image": image_column([PNGS[0], None, b"broken"])})
    data = load_dataset(path)
    with pytest.raises(BadInput, match=r"holds no image, at most its path.*row 1"):
        data.raw(1)
    with pytest.raises(BadInput, match=r"cannot be read.*row 2"):
        data.raw(2)
    with pytest.raises(BadInput, match="row 1"):
        _ = data.ids
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(BadInput, match="not a readable Parquet file"):
        load_dataset(path).raw(0)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    broken = pa.array([b"\xff\xfe"]).view(pa.string())
    with pytest.raises(BadInput, match="not UTF-8"):
        load_dataset(parquet(tmp_path / "x.parquet", {"text": broken}))


@pytest.mark.parametrize(
    "metadata", ["", "[]", "{", '{"info": {"features": []}}', '{"info": {"features": {"label": 3}}}']
)
def test_broken_metadata_are_passed_over(tmp_path: Path, metadata: str) -> None:
    table = pa.table({"image": PNGS[:1], "label": [0]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "x.parquet")
    assert load_dataset(tmp_path / "x.parquet").label_names is None
