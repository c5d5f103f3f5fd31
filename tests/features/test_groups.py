"""Groups of classes by their rows in the head."""

from __future__ import annotations

import numpy as np

from mulligan.features import class_groups


def test_classes_that_are_alike_come_together() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 32))
    kind = np.repeat(np.arange(4), [5, 3, 2, 1])
    rows = (centres[kind] + 0.1 * rng.standard_normal((11, 32))) * rng.uniform(0.5, 5, (11, 1))  # sizes do not matter
    names = [f"{'abcd'[k]}{i}" for i, k in enumerate(kind)]
    groups = class_groups(names, rows, 4)
    assert sorted(tuple(sorted(kind[list(g.classes)])) for g in groups) == [(0,) * 5, (1,) * 3, (2,) * 2, (3,)]
    assert sorted(c for g in groups for c in g.classes) == list(range(11))
    large = next(g for g in groups if len(g.classes) == 5)
    assert large.name.endswith(" and 3 like them")
    assert {part.strip() for part in large.name.removesuffix(" and 3 like them").split(",")} <= set(names[:5])
    assert next(g for g in groups if len(g.classes) == 1).name == "d10"


def test_few_classes() -> None:
    assert [g.classes for g in class_groups(["a"], np.ones((1, 3)), 5)] == [(0,)]
    assert len(class_groups(["a", "b"], np.eye(2), 5)) == 2
    assert class_groups(["a", "b"], np.eye(2), 0)[0].classes == (0, 1)
