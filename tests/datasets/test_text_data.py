"""Texts: lines, and JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulligan.datasets import load_dataset
from mulligan.records import BadInput

lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")).filter(str.strip)
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@given(st.lists(lines, min_size=1), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
@quick
def test_lines_read_back(tmp_path: Path, texts: list[str], end: str, mark: bool) -> None:
    texts = [text.removeprefix("\ufeff") or "x" for text in texts]
    path = tmp_path / "x.txt"
    path.write_bytes(end.join(texts).encode("utf-8-sig" if mark else "utf-8"))
    data = load_dataset(path)
    assert (data.kind, data.labels, len(data)) == ("texts", None, len(texts))
    assert [data.raw(index) for index in reversed(range(len(texts)))] == texts[::-1]
    assert data.gather(list(range(len(texts)))) == texts


@given(st.lists(lines, min_size=1, unique=True), st.randoms())
@quick
def test_ids_follow_the_texts_into_another_format(tmp_path: Path, texts: list[str], random) -> None:
    texts = [text.replace("\ufeff", "x") for text in texts]
    (tmp_path / "x.txt").write_bytes("\n".join(texts).encode())
    ids = dict(zip(load_dataset(tmp_path / "x.txt").ids, texts, strict=True))
    random.shuffle(texts)
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    again = load_dataset(tmp_path / "x.jsonl")
    assert sorted(again.ids) == sorted(ids)
    if len(set(texts)) == len(texts):
        assert [ids[name] for name in again.ids] == texts


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    records = [{"text": "good", "label": "yes"}, {"text": " "}, {"text": "bad", "label": "no"}, {"text": "so"}]
    path.write_text("\n\n".join(map(json.dumps, records)))
    data = load_dataset(path)
    assert data.gather([2, 0, 1]) == ["so", "good", "bad"]
    assert data.label_names == ("no", "yes")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, -1]
    assert data.notes == ("Lines without text were passed over: 1.",)
    matched = load_dataset(path, classes=["maybe", "YES", "NO"])
    assert matched.labels is not None
    assert matched.labels.tolist() == [1, 2, -1]


def test_json_lines_with_numbers_and_another_column(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"q": "a", "label": 1}\n{"q": "b", "label": 0.0}\n{"q": "c", "label": null}\n{"q": "d", "label": true}'
    )
    data = load_dataset(path, text_column="q", classes=["x", "y"])
    assert data.gather([0, 1]) == ["a", "b"]
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, -1, 1]
    assert data.label_names == ("x", "y")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"text": "cut', "this line is not JSON.*line 3"),
        ("[" * 100_000, "this line is not JSON.*line 3"),
        ('["text"]', "no JSON object.*line 3"),
        ('{"content": "x"}', "no text under 'text', but 'content'.*line 3"),
        ("{}", "no text under 'text', but nothing"),
        ('{"text": 3}', "no text under 'text'"),
        ('{"text": "x", "label": [1]}', r"label \[1\] is neither"),
        ('{"text": "x", "label": 0.5}', "label 0.5 is neither"),
        ('{"text": "x", "label": "a"}', "some labels are numbers and some are names"),
        ('{"text": "x", "label": 9}', "label 9 is out of range"),
        ('{"text": "x", "label": 99999999999999999999}', "too large"),
        ('{"text": "\\ud800"}', "not valid Unicode.*line 3"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "fine", "label": 0}\n\n' + line)
    with pytest.raises(BadInput, match=says) as caught:
        load_dataset(path, classes=["a", "b"])
    assert "x.jsonl" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.txt", b"", "holds no text"),
        ("x.txt", b"\n  \r\n\t\n", "holds no text"),
        ("x.txt", b"fine\n\xff\xfe\n", "line 2 is not UTF-8"),
        ("x.jsonl", b"\n", "holds no text"),
        ("x.jsonl", b'{"text": ""}', "holds no text"),
    ],
)
def test_files_without_text(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=says):
        load_dataset(tmp_path / name)


def test_a_line_that_is_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulligan.datasets.texts._LONGEST", 100)
    (tmp_path / "x.txt").write_text("y" * 100 + "\nz")
    assert load_dataset(tmp_path / "x.txt").gather([0, 1]) == ["y" * 100, "z"]
    (tmp_path / "x.txt").write_text("fine\n" + "y" * 1000)
    with pytest.raises(BadInput, match="line 2 is longer"):
        load_dataset(tmp_path / "x.txt")


def test_a_file_that_changed(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("one\ntwo\n")
    data = load_dataset(tmp_path / "x.txt")
    (tmp_path / "x.txt").write_text("three\n")
    with pytest.raises(BadInput, match="has changed"):
        data.raw(1)
