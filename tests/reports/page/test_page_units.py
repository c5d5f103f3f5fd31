"""What a page says of an audit's units: selective for a class only where that is above chance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import reports_builder as builder
from explored_builder import written
from test_reports_html import Tree

TOKENS = "share of held-out strong texts that peak on the unit's own token"


def selective(run: Path, key: str) -> tuple[str | None, str, Tree]:
    tree, index, series = written(run)
    features = index["features"]
    at = features["key"].index(key)
    name = features["selective"]["of"][at]
    card = series["features"][at]
    return None if name is None else features["selective"]["names"][name], " ".join(card["notes"]), tree


def audit(folder: Path, value: float, n: int, unit: str) -> Path:
    description = builder.description()
    card = replace(builder.card(12), selectivity=builder.share(value, n, unit), selective_for="coat")
    site = replace(
        description.inventory[0], cards=(card,), selectivity=builder.share(value, 400, f"{unit}, median over units"),
        twin=builder.share(0.3, 64, f"{unit}, median over units"),
    )  # fmt: skip
    return builder.build(folder, described=replace(description, inventory=(site,)))


def test_a_unit_is_selective_only_where_its_interval_is_above_chance(tmp_path: Path) -> None:
    name, notes, tree = selective(audit(tmp_path / "a", 0.8, 200, "AUC"), "blocks.5:12")
    assert (name, notes) == ("coat", "")
    assert "Below chance" not in tree.text
    for value, n in ((0.55, 20), (0.18, 200)):
        name, notes, tree = selective(audit(tmp_path / str(value), value, n, "AUC"), "blocks.5:12")
        assert name is None
        assert "not seen to be selective" in notes
        assert "no better than chance" in notes
        assert ("Below chance" in tree.text) == (value < 0.5)


def test_a_share_of_texts_is_held_against_the_random_twin(tmp_path: Path) -> None:
    assert selective(audit(tmp_path / "a", 0.45, 400, TOKENS), "blocks.5:12")[0] == "coat"
    name, notes, _ = selective(audit(tmp_path / "b", 0.3, 400, TOKENS), "blocks.5:12")
    assert name is None
    assert "the units of a random twin do" in notes
