"""The language of quoted numbers, against sums done by hand; and that nothing in it is run."""

from __future__ import annotations

import statistics
from pathlib import Path

import articles_builder
import pytest

from mulligan.records import BadInput
from mulligan.reports.articles.documents import RunDocuments
from mulligan.reports.articles.expressions import derive

REACHED, BEST = [15.93, 30.0, 2.0], [5.0, 10.0, 4.0]
EACH = "seen.cards[*].portraits[0]"


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, RunDocuments]:
    return {"net": RunDocuments.open("net", articles_builder.run(tmp_path / "run"))}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("net: seen.cards['a.1:0'].portraits[0].reached", 15.93),
        ("net: seen.cards[-1].portraits[0].reached", 2.0),
        ("net: seen.network.parameters", 4652008),
        ("net: seen.cards['a.1:0'].portraits[0].natural", 0.7),
        ("net: seen.cards['a.1:0'].portraits[0].natural.high", 0.85),
        ("net: tables.units['a.1:1'].auc", 0.5),
        ("net: tables.units[0].auc", 0.75),
        ("net: manifest.status", "finished"),
        ("net: count(seen.cards)", 3),
        (f"net: count({EACH}.reached > {EACH}.best)", 2),
        (f"net: share({EACH}.reached > {EACH}.best)", 2 / 3),
        (f"net: median({EACH}.reached / {EACH}.best)", statistics.median([15.93 / 5, 3.0, 0.5])),
        (f"net: mean({EACH}.reached)", sum(REACHED) / 3),
        (f"net: min({EACH}.reached)", 2.0),
        (f"net: max({EACH}.reached - {EACH}.best)", 20.0),
        (f"net: sum({EACH}.best)", 19.0),
        (f"sum(net: {EACH}.best)", 19.0),
        ("net: median(seen.cards['a.1:*'].portraits[0].reached)", (15.93 + 30) / 2),
        (f"net: count(known({EACH}.natural))", 1),
        ("net: seen.cards['a.1:0'].portraits[0].reached / net: seen.cards['a.1:0'].portraits[0].best", 15.93 / 5),
        ("net: 100 * (seen.cards[0].portraits[0].best - 1) / 2 + -3", 197.0),
        ("net: abs(seen.cards[2].portraits[0].reached - seen.cards[2].portraits[0].best)", 2.0),
        ("net: seen.cards[0].portraits[0].reached > 15", "yes"),
        ("net: count(seen.cards[2].portraits[0].marks)", 1),
    ],
)
def test_values(runs: dict[str, RunDocuments], text: str, value: float | str) -> None:
    for card in runs["net"].get(("seen", "cards")):
        card["portraits"][0].setdefault("natural", None)
    found = derive(text, runs)
    assert found.value == pytest.approx(value) if not isinstance(value, str) else found.value == value


def test_a_quantity_keeps_its_interval_and_says_where_it_was_read(runs: dict[str, RunDocuments]) -> None:
    found = derive("net: seen.cards['a.1:0'].portraits[0].natural", runs)
    assert (found.low, found.high, found.unit) == (0.55, 0.85, "share")
    assert [(source.run, source.file) for source in found.sources] == [("net", "seen.json")]
    assert found.sources[0].path == "seen.cards['a.1:0'].portraits[0].natural"
    assert derive("net: tables.units[0].auc", runs).sources[0].file == "tables/units.parquet"
    assert derive("net: 1 - seen.cards['a.1:0'].portraits[0].natural", runs).low is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("net: seen.cards['a.1:9'].portraits", "the nearest is 'a.1:"),
        ("net: seen.card['a.1:0']", "the nearest is seen.cards"),
        ("net: see.cards", "the nearest is seen"),
        ("net: tables.unit[0]", "the nearest is tables.units"),
        ("net: seen.cards[7]", "has 3 entries and no [7]"),
        ("net: seen.cards[0].portraits[0].alpha.x", "no such field"),
        ("nett: seen.cards", "the article names no run 'nett'"),
        ("seen.cards", "does not say of which run"),
        ("net: seen.cards[*].feature", "comes to 3 values"),
        ("net: seen.network", "no single value"),
        ("net: seen.cards[0].feature + 1", "no number: 'a.1:0'"),
        ("net: median(seen.cards[*].feature)", "no number"),
        ("net: median(seen.network.parameters)", "no list"),
        ("net: seen.network.parameters / 0", "divides by zero"),
        ("net: seen.cards[*].portraits[0].natural", "no such field"),
        ("net: secrets()", "there is no function secrets()"),
        ("net: __import__('os').system('x')", "there is no function __import__()"),
        ("net: seen.cards[0]; 1", "';' has no meaning"),
        ("net: seen.cards[", "ends too early"),
        ("net: seen.cards[0] seen", "goes on with 'seen'"),
        ("net: (seen.cards", "stands where ')' should"),
        ("net:", "ends too early"),
        ("(" * 30 + "1" + ")" * 30, "nested too deeply"),
        ("-" * 30 + "1", "nested too deeply"),
        ("1 + " * 200 + "1", "characters"),
        ("net: seen.network.parameters.x", "is a value"),
        ("net: seen.cards[1.5]", "no position"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(runs: dict[str, RunDocuments], text: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        derive(text, runs)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_two_records_have_is_refused(tmp_path: Path) -> None:
    data = articles_builder.seen()
    data["cards"].append(data["cards"][0])
    runs = {"net": RunDocuments.open("net", articles_builder.run(tmp_path / "run", data))}
    with pytest.raises(BadInput, match=r"2 entries called 'a\.1:0'"):
        derive("net: seen.cards['a.1:0']", runs)
