"""Concepts by images, by classes and by what texts mean: each fits what it should, judged without the feature."""

from __future__ import annotations

import numpy as np
import pytest

from mulligan.features.labels import class_concepts, grouped_concepts
from mulligan.features.labels.probes import probed_concepts


def test_a_class_fits_its_examples_and_says_nothing_of_unknown_ones() -> None:
    labels = np.array([0, 1, 1, -1, 3])
    concepts = {concept.name: concept.judged for concept in class_concepts(labels, ("a", "b", "c", "d"))}
    assert list(concepts) == ["a", "b", "d"]  # no example is a c
    assert np.array_equal(concepts["b"], [0, 1, 1, np.nan, 0], equal_nan=True)


def test_classes_that_are_alike_are_grouped_at_every_grain() -> None:
    labels = np.repeat(np.arange(8), 3)
    names = ("cat", "lynx", "dog", "wolf", "car", "bus", "boat", "ship")
    alike = np.repeat([0.0, 10.0], 4)[:, None] + np.repeat([0.0, 1.0, 0.0, 1.0], 2)[:, None]
    alike = np.concatenate([alike, np.tile([0.0, 0.1], 4)[:, None]], 1)
    groups = {frozenset(np.unique(labels[c.judged > 0]).tolist()) for c in grouped_concepts(labels, names, alike)}
    assert frozenset({0, 1}) in groups
    assert frozenset({6, 7}) in groups
    assert frozenset({0, 1, 2, 3}) in groups
    assert frozenset({4, 5, 6, 7}) in groups
    assert all(2 <= len(group) <= 4 for group in groups)
    assert grouped_concepts(labels[:6], names, alike) == []  # two classes are no tree


def test_a_probe_says_where_a_concept_is_and_one_that_cannot_is_left_out() -> None:
    rng = np.random.default_rng(0)
    size = 12

    def features(n: int, along: int | None) -> np.ndarray:
        x = rng.normal(size=(n, size))
        if along is not None:
            x[:, along] += 4
        return x

    truth = np.zeros(300, bool)
    truth[:60] = True
    data = features(300, None)
    data[truth, 0] += 4
    images = {"striped": features(30, 0), "noise": features(30, None), "few": features(3, 1)}
    concepts, left_out = probed_concepts(images, features(100, None), data, 0)
    assert [concept.name for concept in concepts] == ["striped"]
    fit = concepts[0].judged >= 0.5
    assert fit[truth].mean() > 0.9
    assert fit[~truth].mean() < 0.15
    reasons = {item.what: item.why for item in left_out}
    assert "3 images" in reasons["few"]
    assert "AUC" in reasons["noise"]
    # A random twin's probes are kept whatever they are worth.
    assert {c.name for c in probed_concepts(images, features(100, None), data, 0, strict=False)[0]} == {
        "striped",
        "noise",
    }


def test_texts_are_judged_by_what_they_mean_and_by_their_tokens() -> None:
    pytest.importorskip("transformers")
    from mulligan.features.labels.text_vocabulary import text_vocabulary
    from mulligan.networks import load

    try:
        network = load("minilm-l6")
    except Exception as error:
        pytest.skip(f"the encoder is not installed: {error}")
    rng = np.random.default_rng(0)
    sports = ["The striker scored twice and the team won the match", "The goalkeeper saved a penalty in the final"]
    cooking = ["Stir the onions in butter until they are soft", "Bake the bread for forty minutes in a hot oven"]
    texts = [f"{rng.choice(sports if row % 10 == 0 else cooking)} {row}" for row in range(120)]
    search = np.arange(60)
    words = text_vocabulary(texts, search, ("football", "cooking"), network.input)
    held = np.arange(60, 120)
    football = words.judge("football", held) >= 0.5
    assert football.tolist() == [row % 10 == 0 for row in held]
    # A name that is none of the vocabulary's is judged by what it means, too.
    assert (words.judge("a ball game", held) >= 0.5).tolist() == football.tolist()
    (token,) = [c for c in words.concepts if c.name == "texts with the token 'bread'"]
    assert (token.judged > 0).tolist() == ["bread" in text.lower() for text in texts]
    assert len({concept.name for concept in words.concepts}) == len(words.concepts)
