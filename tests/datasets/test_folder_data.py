"""Folders of images: what is found, what it is called, and what is not followed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from making_data import images, pixels, png

from mulligan.datasets import load_dataset
from mulligan.records import BadInput


def test_class_subfolders(tmp_path: Path) -> None:
    folder = images(tmp_path, ["dog/x.png", "cat/deep/y.PNG", "cat/z.png"])
    data = load_dataset(folder)
    assert (len(data), data.kind, data.source, data.notes) == (3, "images", str(folder), ())
    assert data.label_names == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.labels.dtype == np.int64
    assert [np.asarray(data.raw(index)).tolist() for index in range(3)] == [pixels(k).tolist() for k in (1, 2, 0)]
    matched = load_dataset(folder, classes=["bird", "Dog", "CAT"])
    assert matched.label_names == ("bird", "Dog", "CAT")
    assert matched.labels is not None
    assert matched.labels.tolist() == [2, 2, 1]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    data = load_dataset(images(tmp_path, ["a.png", "b.png"]), classes=["a thing", "another"])
    assert data.labels is None
    assert data.label_names is None
    assert len(data) == 2


def test_images_beside_class_folders_are_unlabelled(tmp_path: Path) -> None:
    data = load_dataset(images(tmp_path, ["cat/a.png", "b.png"]))
    assert data.labels is not None
    assert data.labels.tolist() == [-1, 0]
    assert "beside the class folders" in data.notes[0]


FLAT = ["n00000001_great_white_shark.png", "n00000002_Crane.png", "n00000003_crane.png"]


def test_file_names_that_each_name_one_class(tmp_path: Path) -> None:
    classes = ["Tench", "Crane", "Great White Shark", "crane"]
    data = load_dataset(images(tmp_path, FLAT), classes=classes)
    assert data.labels is not None
    assert data.labels.tolist() == [2, 1, 3]
    assert data.label_names == tuple(classes)
    assert "names of the files" in data.notes[0]
    assert load_dataset(tmp_path).labels is None  # nothing to match without classes


def test_file_names_in_the_order_of_the_classes(tmp_path: Path) -> None:
    data = load_dataset(images(tmp_path, FLAT), classes=["great white shark, man-eater", "crane", "crane"])
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2]
    assert "3 of the 3 names agree" in data.notes[0]


def test_file_names_in_another_order_are_not_believed(tmp_path: Path) -> None:
    data = load_dataset(images(tmp_path, FLAT), classes=["crane", "crane", "great white shark, man-eater"])
    assert data.labels is None
    assert "Labels are unknown" in data.notes[0]


def test_wordnet_folders_in_the_order_of_the_classes(tmp_path: Path) -> None:
    folder = images(tmp_path, ["n00000007/a.png", "n00000002/b.png", "n00000002/c.png"])
    data = load_dataset(folder, classes=["tench", "goldfish"])
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.label_names == ("tench", "goldfish")
    assert "WordNet" in data.notes[0]


def test_ids_do_not_change_when_files_move(tmp_path: Path) -> None:
    ids = load_dataset(images(tmp_path / "one", ["a.png", "b.png", "c.png"])).ids
    assert all(len(name) == 16 for name in ids)
    for old, new in {"a.png": "z/1.png", "b.png": "y/2.png", "c.png": "x/3.png"}.items():
        (tmp_path / "two" / new).parent.mkdir(parents=True)
        (tmp_path / "one" / old).rename(tmp_path / "two" / new)
    assert list(load_dataset(tmp_path / "two").ids) == list(reversed(ids))


def test_a_file_that_vanished_before_it_was_hashed(tmp_path: Path) -> None:
    data = load_dataset(images(tmp_path, ["a.png"]))
    (tmp_path / "a.png").unlink()
    with pytest.raises(BadInput, match=r"cannot be read, No such file.*a\.png"):
        _ = data.ids


def test_repeats_are_numbered(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(png(0))
    first, second, third = load_dataset(tmp_path).ids
    assert (second, third) == (f"{first}-2", f"{first}-3")


def test_hidden_files_and_others_are_passed_over(tmp_path: Path) -> None:
    images(tmp_path, ["a.png", ".b.png", ".git/c.png", "._a.png"])
    (tmp_path / "README.md").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")  # would block whoever opens it
    data = load_dataset(tmp_path)
    assert len(data) == 1
    assert data.notes == ("Files that are not images were passed over: 1.",)


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = images(tmp_path / "outside", ["secret.png", "more/secret.png"])
    folder = images(tmp_path / "inside", ["a.png"])
    (folder / "out.png").symlink_to(outside / "secret.png")
    (folder / "folder").symlink_to(outside / "more")
    (folder / "circle").symlink_to(folder)
    (folder / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "within.png").symlink_to(folder / "a.png")
    data = load_dataset(folder)
    assert len(data) == 2
    assert data.ids[1] == f"{data.ids[0]}-2"
    assert "were not followed: 4." in data.notes[0]
    (tmp_path / "link").symlink_to(folder)
    assert len(load_dataset(tmp_path / "link")) == 2  # what the user names is followed


def test_a_folder_of_links_only(tmp_path: Path) -> None:
    images(tmp_path / "outside", ["a.png"])
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/a.png").symlink_to(tmp_path / "outside/a.png")
    with pytest.raises(BadInput, match="only links that lead out"):
        load_dataset(tmp_path / "inside")


@pytest.mark.parametrize(
    ("name", "says"), [(None, "holds no files"), ("a.txt", "no images"), ("a.parquet", "give one of the Parquet files")]
)
def test_a_folder_without_images(tmp_path: Path, name: str | None, says: str) -> None:
    if name:
        (tmp_path / name).write_text("x")
    with pytest.raises(BadInput, match=says):
        load_dataset(tmp_path)


def test_class_folders_that_are_no_classes(tmp_path: Path) -> None:
    folder = images(tmp_path, [f"{letter}/1.png" for letter in "abcdefg"])
    with pytest.raises(BadInput, match=r"6 labels \('b', 'c', 'd', 'e', 'f'\.\.\.\) are each no single one") as caught:
        load_dataset(folder, classes=["a", "z"])
    assert str(folder) in str(caught.value)
    with pytest.raises(BadInput, match="the label 'a' is no single one"):
        load_dataset(images(tmp_path / "two", ["a/1.png"]), classes=["A", "A"])


@pytest.mark.parametrize(
    "content", [b"", b"not an image", png(0)[:60], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_a_broken_image_is_found_when_read_and_named(tmp_path: Path, content: bytes) -> None:
    images(tmp_path, ["a.png"])
    (tmp_path / "b.png").write_bytes(content)
    data = load_dataset(tmp_path)
    assert len(data.ids) == 2
    with pytest.raises(BadInput, match=r"this image cannot be read.*b\.png"):
        data.raw(1)
    assert np.asarray(data.raw(0)).shape == (8, 8, 3)


def test_a_truncated_jpeg_says_so(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels(0, 64)).save(tmp_path / "a.jpg", quality=95)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"truncated.*a\.jpg"):
        load_dataset(tmp_path).raw(0)


def test_an_image_too_large_to_be_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path, ["a.png"])
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10)
    with pytest.raises(BadInput, match=r"cannot be read.*a\.png"):
        load_dataset(tmp_path).raw(0)


def test_an_image_that_vanished(tmp_path: Path) -> None:
    data = load_dataset(images(tmp_path, ["a.png"]))
    (tmp_path / "a.png").unlink()
    with pytest.raises(BadInput, match="no longer there"):
        data.raw(0)
