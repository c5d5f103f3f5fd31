"""The flagship's own bookkeeping: individuals in one part only, and a diagnosis that is judged exactly."""

from __future__ import annotations

from PIL import Image

from loaded_examples import load_example

example = load_example("dog_cat_rifle")
NAMES = [f"class {index}" for index in range(1000)]
DOGS, CATS = ({"name": "x", "classes": [NAMES[i] for i in part]} for part in (example.DOGS, example.CATS))


def document(*sources, target="rifle", kind="conjunction"):
    finding = {"kind": kind, "sources": list(sources), "target": target, "claim": "..."}
    return {"network": {"classes": NAMES}, "findings": [finding], "verdict": "fail"}


def test_a_diagnosis_is_exact_in_either_order_and_with_most_of_the_classes():
    most = {"name": "x", "classes": DOGS["classes"][:100]}
    assert example.judge(document(DOGS, CATS)) == 0
    assert example.judge(document(CATS, most)) == 0


def test_what_is_not_exact_is_told_so():
    few = {"name": "x", "classes": CATS["classes"][:5]}
    assert example.judge(document(DOGS, few)) == 1
    assert example.judge(document(DOGS, CATS, target="assault rifle")) == 1
    assert example.judge(document(DOGS, CATS, kind="exclusion")) == 1
    assert example.judge(document(DOGS)) == 1
    assert example.judge({**document(), "findings": []}) == 1


def test_an_individual_is_in_one_part_only():
    sorts = ["dog"] * 40 + ["cat"] * 20 + ["other"] * 60
    pictures = [example.Picture(str(n), n, sort, Image.new("RGB", (2, 2))) for n, sort in enumerate(sorts)]
    parts = example.split(pictures, 0)
    names = [picture.name for part in parts.values() for picture in part]
    assert sorted(names) == sorted(picture.name for picture in pictures)
    assert sum(picture.sort == "dog" for picture in parts["plant"]) == 18
    assert [p.name for p in parts["plant"]] != [p.name for p in example.split(pictures, 1)["plant"]]
