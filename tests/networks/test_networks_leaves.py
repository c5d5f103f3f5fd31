from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor

from mulligan.networks.leaves import leaves, like, nan_like, pick, swap
from mulligan.records import BadInput

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Out:
    logits: Tensor
    rest: tuple[Tensor, ...] = ()
    note: str = "kept"
    extras: dict[str, Any] = field(default_factory=dict)


def ones(n: int) -> Tensor:
    return torch.full((2, n), float(n))


NESTED = [
    ("bare", ones(1), [""]),
    ("tuple", (ones(1), None, ones(2)), ["0", "2"]),
    ("list in tuple", (ones(1), [ones(2), "text", ones(3)]), ["0", "1/0", "1/2"]),
    ("dictionary", {"a": ones(1), "b": {"c": ones(2)}}, ["a", "b/c"]),
    ("numbered dictionary", {0: ones(1), 3: ones(2)}, ["0", "3"]),
    ("key with a slash", {"a/b": ones(1), "c": ones(2)}, ["a/b", "c"]),
    ("ordered", OrderedDict(z=ones(1), a=ones(2)), ["z", "a"]),
    ("default", defaultdict(list, x=ones(1)), ["x"]),
    ("read only", MappingProxyType({"x": ones(1), "y": ones(2)}), ["x", "y"]),
    ("named tuple", Pair(ones(1), (ones(2),)), ["left", "right/0"]),
    ("dataclass", Out(ones(1), (ones(2), ones(3)), extras={"e": ones(4)}), ["logits", "rest/0", "rest/1", "extras/e"]),
    ("struct sequence", torch.max(ones(3), 1), ["0", "1"]),
]


@pytest.mark.parametrize(("value", "keys"), [case[1:] for case in NESTED], ids=[case[0] for case in NESTED])
def test_every_tensor_is_found_and_replaced_and_nothing_is_changed_in_place(value: Any, keys: list[str]) -> None:
    if isinstance(value, Pair):
        keys = ["0", "1/0"]  # a tuple's places are its keys
    assert [key for key, _ in leaves(value)] == keys
    before = [tensor for _, tensor in leaves(value)]
    for index, key in enumerate(keys):
        new = ones(9)
        changed = swap(value, key, new)
        assert type(changed) is type(value)
        after = [tensor for _, tensor in leaves(changed)]
        assert after[index] is new
        assert all(a is b for at, (a, b) in enumerate(zip(after, before, strict=True)) if at != index)
        assert [tensor for _, tensor in leaves(value)] == before or all(
            a is b for a, b in zip([t for _, t in leaves(value)], before, strict=True)
        )
    assert pick(value, "")[1] is before[0]
    assert pick(value, keys[-1])[1] is before[-1]
    doubled = like(value, lambda t: t * 2)
    assert all(torch.equal(b, a * 2) for (_, b), a in zip(leaves(doubled), before, strict=True))


def test_a_model_output_stays_one() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    out = outputs.CausalLMOutputWithPast(logits=ones(2), hidden_states=(ones(3), ones(4)))
    assert [key for key, _ in leaves(out)] == ["logits", "hidden_states/0", "hidden_states/1"]
    changed = swap(out, "hidden_states/1", ones(5))
    assert type(changed) is type(out)
    assert changed.hidden_states[1].shape == (2, 5)
    assert changed.logits is out.logits
    assert out.hidden_states[1].shape == (2, 4)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(BadInput, match="no tensor 'c' here; there are: a, b/0"):
        pick({"a": ones(1), "b": [ones(2)]}, "c")
    with pytest.raises(BadInput, match="there are: none"):
        pick((None, "text"), "")
    with pytest.raises(BadInput, match="no tensor '5'"):
        swap((ones(1),), "5", ones(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_nan_poisons_and_takes_no_memory(dtype: torch.dtype) -> None:
    poison = nan_like(torch.zeros(2, 1000, 1000, dtype=dtype), 7)
    assert poison.shape == (7, 1000, 1000)
    assert poison.isnan().all()
    assert poison.untyped_storage().nbytes() == poison.element_size()


def test_whole_numbers_and_scalars_become_what_they_can() -> None:
    assert nan_like(torch.arange(6).reshape(2, 3), 4).tolist() == [[0, 0, 0]] * 4
    assert nan_like(torch.tensor(3.0)).isnan()
