"""The example's photographs: as many as promised, the same each time, their licences beside them."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from mulligan.datasets import load_dataset

EXAMPLE = Path(__file__).parents[2] / "examples" / "photographs.py"


def test_photographs(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    example = runpy.run_path(str(EXAMPLE))
    count = example["write"](tmp_path / "one")
    assert 220 <= count <= 260
    data = load_dataset(tmp_path / "one")
    assert len(data) == count
    assert data.labels is None
    assert data.notes == ("Files that are not images were passed over: 1.",)
    sizes = {np.asarray(data.raw(index)).shape[:2] for index in range(0, count, 10)}
    assert sizes == {(256, 256)}
    assert len({name.partition("-")[0] for name in data.ids}) == count  # no two are the same
    licences = (tmp_path / "one" / example["LICENCES"]).read_text(encoding="utf-8")
    for photograph in example["PHOTOGRAPHS"]:
        assert photograph.licence in ("CC0 1.0", "public domain")
        assert photograph.author in licences
        assert any(path.startswith(f"{photograph.name}-") for path in (p.name for p in (tmp_path / "one").iterdir()))
    example["write"](tmp_path / "two")
    assert load_dataset(tmp_path / "two").identity == data.identity


def test_boxes_lie_inside_the_photograph() -> None:
    pieces = runpy.run_path(str(EXAMPLE))["_pieces"]
    for width, height in ((400, 300), (512, 512), (300, 451), (1411, 1411)):
        boxes = [box for _, box in pieces(width, height)]
        assert len(set(boxes)) == len(boxes)
        for left, top, right, bottom in boxes:
            assert right - left == bottom - top
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
        assert {0, width} <= {box[0] for box in boxes} | {box[2] for box in boxes}
