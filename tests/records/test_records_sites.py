from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mulligan.records import BadInput, Feature, Site, parse_feature, parse_site, unit

# torch refuses no name but the empty one and those with a dot; people write letters, digits and underscores.
names = st.from_regex(r"[A-Za-z0-9_]{1,8}", fullmatch=True).filter(lambda name: name not in ("in", "out"))
paths = st.lists(names, max_size=4).map(".".join)
leaves = st.one_of(st.just(""), st.lists(names, min_size=1, max_size=3).map("/".join))
parts = st.sampled_from(["", "heads", "head3", "pattern", "mid"])
sites = st.builds(Site, paths, st.sampled_from(["in", "out"]), st.integers(0, 12), leaves, parts)


@given(sites)
def test_a_site_is_read_back_from_its_alias(site: Site) -> None:
    assert parse_site(site.alias) == site
    assert str(site) == site.alias


@given(st.text(max_size=30))
def test_any_text_is_a_site_or_is_refused_in_one_sentence(text: str) -> None:
    try:
        site = parse_site(text)
    except BadInput:
        with pytest.raises(BadInput, match=re.escape(f"this is not the name of a site ({text}): write PATH, ")):
            parse_site(text)
    else:
        assume(not site.path.endswith((".in", ".out", "\n")))
        assert parse_site(site.alias) == site


@pytest.mark.parametrize(
    ("alias", "site"),
    [
        ("", Site("")),
        (".in", Site("", "in")),
        ("blocks.5", Site("blocks.5")),
        ("blocks.5.in", Site("blocks.5", "in")),
        ("blocks.5.out", Site("blocks.5")),
        ("act!1", Site("act", call=1)),
        ("act!1.in", Site("act", "in", 1)),
        ("lstm[1/0]", Site("lstm", leaf="1/0")),
        ("layers.3.attn#head2", Site("layers.3.attn", part="head2")),
        ("inner", Site("inner")),
    ],
)
def test_what_people_write(alias: str, site: Site) -> None:
    assert parse_site(alias) == site


def test_what_a_dry_run_adds_is_no_part_of_the_place() -> None:
    site = Site("conv", axes=("batch", "channel", "height", "width"), shape=(2, 6, 4, 4))
    assert site.place == Site("conv")
    assert (site.units, site.unit_axis) == (6, 1)
    assert Site("conv").units == 0


def test_an_attention_pattern_has_no_units() -> None:
    pattern = Site("attn", part="pattern", axes=("batch", "head", "query", "key"), shape=(2, 3, 5, 5))
    with pytest.raises(BadInput, match=r"no axis of units \(attn#pattern\)"):
        _ = pattern.units


@given(sites, st.integers(0, 100_000), st.sampled_from(["", "NAME"]))
def test_a_feature_is_read_back_from_its_alias(site: Site, index: int, dictionary: str) -> None:
    feature = Feature((site,), (site,), index, dictionary)
    assert parse_feature(feature.alias) == feature


def test_a_feature_of_a_dictionary_is_called_by_its_name_alone() -> None:
    feature = Feature((Site("blocks.5"),), (Site("blocks.6"),), 12, "NAME/sha256:0123")
    assert feature.alias == "blocks.5@NAME:12"
    assert unit("blocks.5", 12).alias == "blocks.5:12"


@pytest.mark.parametrize("alias", ["blocks.5", "blocks.5:", "blocks.5:x", "blocks.5:-1", ":", "a#b#c:1"])
def test_what_is_no_feature(alias: str) -> None:
    with pytest.raises(BadInput):
        parse_feature(alias)


def test_equal_sites_are_one_key() -> None:
    assert len({Site("a"), Site("a"), Site("a", "in")}) == 2
