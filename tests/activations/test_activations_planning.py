"""Which engine a recording takes, and that all of them store the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from activations_small import Made, a_run, assert_close, conv, reader, texts
from torch import Tensor, nn

from mulligan.activations import Plan, pool_name, record
from mulligan.activations.passes import EagerPass, Wanted, compiled_pass
from mulligan.activations.planning import cut, disagreement, plan_pass
from mulligan.activations.pools import Pool
from mulligan.networks import ArrayInput, ImageInput, Network
from mulligan.records import BadInput, Event, Noted

pytest.importorskip("openvino")
CONV = Plan(("first", "second"), ("mean", "max"), batch=4, shard=4)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULLIGAN_CACHE", str(tmp_path / "cache"))


def planned(network: Network, dataset: Any, **options: Any) -> Any:
    wanted = Wanted(sites=tuple(network.sites("second")), pools=(Pool("mean"),), answers=True)
    return plan_pass(network, dataset, network.input, wanted, range(len(dataset)), **options)  # type: ignore[arg-type]


def test_little_work_is_run_eagerly() -> None:
    found = planned(conv(), Made(20))
    assert found.run.engine == "eager"
    assert "all of it takes" in found.text()


def test_never_is_never_and_always_is_always() -> None:
    assert planned(conv(), Made(20), fast="never").why == "compiling was not asked for"
    found = planned(conv(), Made(20), fast="always")
    assert found.run.engine in ("openvino", "inductor")
    assert "times as fast as eager" in found.why
    assert "read from the cache" in planned(conv(), Made(20), fast="always").why


def test_much_work_is_compiled_where_compiling_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulligan.activations.planning.expected_seconds", lambda *given: (1e9, False))
    slow = conv(seconds=0.05)
    assert "compiling takes about" in planned(slow, Made(400), batch=8).why
    monkeypatch.setattr("mulligan.activations.planning.expected_seconds", lambda *given: (0.1, False))
    # The sleep is no part of the graph, so that it is faster for certain.
    assert planned(slow, Made(400), batch=8).run.engine != "eager"


def test_a_batch_is_planned_from_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert planned(conv(), Made(1000), fast="never").batch > 16  # a small network would lose its time to calls
    assert planned(conv(seconds=0.1), Made(1000), fast="never").batch == 16
    assert planned(conv(), Made(1000), fast="never", batch=7).batch == 7
    assert planned(conv(), Made(5), fast="never").batch <= 5
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 2_000})())
    assert planned(conv(), Made(1000), fast="never").batch == 1


@pytest.mark.parametrize("kind", ["images", "texts"])
@pytest.mark.parametrize("answers", [True, False])
def test_a_compiled_recording_is_the_eager_one(tmp_path: Path, kind: str, answers: bool) -> None:
    if kind == "images":
        network, dataset, sites = conv(), Made(23), CONV.sites
    else:
        network, dataset, sites = reader(), texts(tmp_path), ("mix", "heads")
    pools = ("mean", "max", "argmax", "position:-1", "full")
    eager, fast = (
        record(network, dataset, Plan(sites, pools, answers, batch=5, shard=9, fast=how), a_run(tmp_path / how))
        for how in ("never", "always")
    )
    assert fast.run.manifest["passes"]["record"]["engine"] in ("openvino", "inductor")
    assert eager.names == fast.names
    assert ("answers" in eager.names or "loss" in eager.names) == answers
    for name in eager.names:
        assert_close(fast.array(name), eager.array(name))


def test_the_choice_is_told_and_kept(tmp_path: Path) -> None:
    said: list[Event] = []
    recording = record(conv(), Made(9), CONV, a_run(tmp_path / "run"), emit=said.append)
    (note,) = [event.text for event in said if isinstance(event, Noted)]
    kept = recording.run.manifest["passes"]["record"]
    assert kept["engine"] in note
    assert kept["why"] in note
    # Finished work is not planned again.
    said.clear()
    record(conv(), Made(9), CONV, recording.run, emit=said.append)
    assert not [event for event in said if isinstance(event, Noted)]


def test_a_recording_begun_with_one_engine_goes_on_with_another(tmp_path: Path) -> None:
    run, network = a_run(tmp_path / "run"), conv()
    record(network, Made(8), Plan(CONV.sites, batch=3, shard=4, fast="never"), run, index="tables/first.parquet")
    files = set(run.path.rglob("pieces/*/*.safetensors"))
    record(network, Made(8), Plan(CONV.sites, batch=5, shard=4, fast="always"), run)
    assert set(run.path.rglob("pieces/*/*.safetensors")) == files


def test_random_places_are_drawn_eagerly(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="sample:2 draws its places example by example"):
        record(conv(), Made(8), Plan(CONV.sites, ("sample:2",), fast="always"), a_run(tmp_path / "run"))


class Moody(nn.Module):
    """Answers other than its graph: what is made at random is burnt in or drawn anew."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * torch.rand(x.shape[0], 4)


def test_a_graph_that_does_not_agree_is_not_taken() -> None:
    network = Network(Moody(), input=ArrayInput(shape=(4,)))
    wanted = Wanted(sites=(network.site("layer"),), pools=(Pool("mean"),), answers=True)
    dataset = Made(40, (4,))
    with pytest.raises(BadInput, match=r"does not agree with the eager one|cannot be compiled"):
        plan_pass(network, dataset, network.input, wanted, range(40), fast="always")  # type: ignore[arg-type]


def test_disagreement_is_seen_number_by_number() -> None:
    a = {"x|max": torch.tensor([1.0, 2.0]), "x|argmax": torch.arange(200)}
    assert disagreement(a, {name: tensor.clone() for name, tensor in a.items()}) is None
    assert disagreement(a, {**a, "x|max": torch.tensor([1.0, 2.0001])}) is None
    assert "differs by" in str(disagreement(a, {**a, "x|max": torch.tensor([1.0, 2.001])}))
    assert disagreement(a, {**a, "x|max": torch.tensor([1.0, 2.001])}, "bfloat16") is None
    assert "NaN" in str(disagreement(a, {**a, "x|max": torch.tensor([1.0, torch.nan])}))
    assert "shape" in str(disagreement(a, {**a, "x|max": torch.tensor([1.0])}))
    assert disagreement(a, {**a, "x|argmax": torch.arange(200) + (torch.arange(200) == 7)}) is None
    assert "1 %" in str(disagreement(a, {**a, "x|argmax": torch.arange(200) + 1}))
    assert "arrays" in str(disagreement(a, {"x|max": a["x|max"]}))


def test_a_pass_without_answers_ends_at_its_last_site() -> None:
    network, ran = conv(), []
    assert network.dry_run
    network.module.get_submodule("head").register_forward_hook(lambda *given: ran.append(1))
    with network.watching("first", stop=True) as watched:
        assert network(torch.randn(2, 3, 8, 8)) is None
    assert watched["first"].shape == (2, 5, 6, 6)
    assert not ran
    with network.watching("first") as watched:
        assert network(torch.randn(2, 3, 8, 8)) is not None
    assert ran
    assert not any(module._forward_pre_hooks for module in network.module.modules())


def test_half_precision_is_another_recording(tmp_path: Path) -> None:
    network = conv()
    fine = record(network, Made(8), Plan(CONV.sites), a_run(tmp_path / "fine"))
    rough = record(network, Made(8), Plan(CONV.sites, precision="bfloat16"), a_run(tmp_path / "rough"))
    name = pool_name("second", "mean")
    assert rough.array(name).dtype == np.float32
    gap = np.abs(rough.array(name) - fine.array(name)).max() / np.abs(fine.array(name)).max()
    assert 1e-5 < gap < 5e-2
    assert not {path.name for path in fine.run.path.rglob("*.safetensors")} & {
        path.name for path in rough.run.path.rglob("*.safetensors")
    }


def test_words_that_are_not_known() -> None:
    with pytest.raises(BadInput, match="auto or always or never"):
        Plan(("x",), fast="sometimes")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="float32 or bfloat16"):
        Plan(("x",), precision="float8")  # type: ignore[arg-type]


def test_pictures_keep_their_numbers_whatever_their_order_in_memory(tmp_path: Path) -> None:
    network = conv().with_input(ImageInput(size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3))
    wanted = Wanted(sites=tuple(network.sites("second")), pools=(Pool("full"),), answers=True)
    x = torch.randn(4, 3, 8, 8)
    one, other = (EagerPass(network, wanted, channels_last=how)(x, None, range(4)) for how in (False, True))
    assert disagreement(one, other) is None
    assert compiled_pass(network, wanted)(x, None, range(4)).keys() == one.keys()


class Grown(nn.Module):
    """Its own graph, once compiled, does not know that `by` was changed since."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.by = nn.Linear(4, 4), 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.by


def test_what_does_not_agree_any_more_is_compiled_once_more() -> None:
    network = Network(Grown(), input=ArrayInput(shape=(4,)))
    wanted = Wanted(sites=(network.site(""),), pools=(Pool("full"),), answers=True)
    dataset = Made(40, (4,))
    given: Any = (network, dataset, network.input, wanted, range(40))
    assert "compiled in" in plan_pass(*given, fast="always").why
    assert "read from the cache" in plan_pass(*given, fast="always").why
    network.module.by = 3.0  # type: ignore[assignment]
    assert "compiled in" in plan_pass(*given, fast="always").why


def test_batches_of_texts_are_cut_by_their_places() -> None:
    assert cut([3, 3, 4, 5, 9], 2, None) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert cut([3, 3, 4, 5, 9, 100], 4, 12) == [slice(0, 3), slice(3, 4), slice(4, 5), slice(5, 6)]
    assert cut([7], 4, 2) == [slice(0, 1)]


def test_an_infinity_does_not_hide_a_difference() -> None:
    a = {"x|max": torch.tensor([1.0, torch.inf]), "x|mean": torch.tensor([1.0])}
    assert disagreement(a, {**a, "x|mean": torch.tensor([100.0])}) is not None
    assert "infinity" in str(disagreement(a, {**a, "x|max": torch.tensor([1.0, 2.0])}))
    assert "float64" in str(disagreement(a, {**a, "x|mean": torch.tensor([1.0], dtype=torch.float64)}))


def test_a_small_network_is_given_one_thread_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.get_num_threads() == 1:
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    seen: list[int | None] = []

    def timed(network: Any, run: Any, batch: Any, wanted: Any) -> float:
        seen.append(run.threads)
        return 0.01 if run.threads == 1 else 0.02

    monkeypatch.setattr("mulligan.activations.planning._timed", timed)
    monkeypatch.setattr("mulligan.activations.planning.expected_seconds", lambda *given: (1e9, False))
    found = planned(conv(), Made(4000), batch=16)
    assert 1 in seen
    assert found.run.threads == 1
    assert "1 thread" in found.text()


def test_threads_are_given_back() -> None:
    network, before = conv(), torch.get_num_threads()
    wanted = Wanted(sites=tuple(network.sites("second")), pools=(Pool("mean"),), answers=True)
    inside: list[int] = []
    network.module.register_forward_hook(lambda *given: inside.append(torch.get_num_threads()))
    EagerPass(network, wanted, threads=1)(torch.randn(2, 3, 8, 8), None, range(2))
    assert inside[-1] == 1
    assert torch.get_num_threads() == before
