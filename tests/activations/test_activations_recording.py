from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from activations_small import Made, a_run, assert_close, conv, hooked, reader, texts
from torch import Tensor, nn

from mulligan.activations import Plan, Recording, pool_name, record
from mulligan.datasets import Dataset
from mulligan.networks import ArrayInput, Network
from mulligan.records import Advanced, BadInput, DiskFull, Event
from mulligan.runs import Run, files

CONV = Plan(("first", "act", "second", "head"), ("mean", "max", "argmax", "sample:2", "full"), batch=4, shard=6)


def inputs(dataset: Dataset) -> Tensor:
    return torch.from_numpy(np.stack(dataset.gather(range(len(dataset)))))


def test_a_recording_is_what_plain_hooks_see(tmp_path: Path) -> None:
    network, dataset = conv(), Made(15)
    found = record(network, dataset, CONV, a_run(tmp_path / "run"))
    assert len(found) == 15
    assert found.ids == list(dataset.ids)
    assert found.examples.tolist() == list(range(15))
    assert found.names == sorted([pool_name(s, p) for s in CONV.sites for p in CONV.pools] + ["answers"])
    x = inputs(dataset)
    for site in ("first", "act", "second"):
        seen = hooked(network, x, site)
        if site == "first":  # the ReLU after it works in place: what passed is what comes before it
            seen = torch.conv2d(x, network.module.first.weight, network.module.first.bias).detach()
        assert_close(found.array(pool_name(site, "full")), seen.numpy())
        assert_close(found.array(f"{site}|mean"), seen.mean((2, 3)).numpy())
        assert_close(found.array(f"{site}|max"), seen.amax((2, 3)).numpy())
        flat = seen.flatten(2)
        at = torch.from_numpy(found.array(f"{site}|argmax")).long()
        assert_close(flat.gather(2, at[..., None])[..., 0].numpy(), flat.amax(2).numpy())
        assert found.array(f"{site}|sample:2").shape == (15, 2, seen.shape[1])
    answers = hooked(network, x, "head").numpy()
    assert_close(found.array("answers"), answers)
    # What has no places is kept as it is.
    assert_close(found.array("head|mean"), answers)
    assert_close(found.array("head|sample:2"), np.stack([answers, answers], 1))
    assert not found.array("head|argmax").any()
    assert {found.array(name).dtype for name in found.names} == {np.dtype(np.float32), np.dtype(np.int32)}


def test_a_recording_of_texts_is_what_each_text_gives_alone(tmp_path: Path) -> None:
    network, dataset = reader(), texts(tmp_path)
    plan = Plan(("mix", "heads"), ("mean", "max", "position:-1", "position:1", "full"), batch=5, shard=10)
    found = record(network, dataset, plan, a_run(tmp_path / "run"))
    for row, text in enumerate(dataset.gather(range(len(dataset)))):
        ids, _ = network.input.encode([text])  # type: ignore[union-attr]
        n = ids.shape[1]
        mix = hooked(network, ids, "mix")[0]
        heads = hooked(network, ids, "heads")[0].transpose(0, 1).flatten(1)
        for site, seen in (("mix", mix), ("heads", heads)):
            assert_close(found.array(f"{site}|mean")[row], seen.mean(0).numpy())
            assert_close(found.array(f"{site}|max")[row], seen.amax(0).numpy())
            assert_close(found.array(f"{site}|position:-1")[row], seen[-1].numpy())
            assert_close(found.array(f"{site}|position:1")[row], seen[min(1, n - 1)].numpy())
        full = found.array("mix|full")[row]
        assert_close(full[:n], mix.numpy())
        assert np.isnan(full[n:]).all()
        full = found.array("heads|full")[row]
        assert_close(full[:, :n], mix.reshape(n, 2, 4).transpose(0, 1).numpy())
        assert np.isnan(full[:, n:]).all()
        logs = torch.log_softmax(hooked(network, ids, "answer")[0], -1)
        assert found.array("token")[row].tolist()[:n] == [-1, *ids[0, 1:].tolist()]
        assert found.array("answer")[row].tolist()[:n] == [-1, *logs[:-1].argmax(-1).tolist()]
        loss = [np.nan, *(-logs[i, ids[0, i + 1]].item() for i in range(n - 1))]
        assert_close(found.array("loss")[row][:n], np.asarray(loss))
        assert_close(found.array("confidence")[row][:n], np.asarray([np.nan, *logs[:-1].exp().amax(-1).tolist()]))
        for name in ("token", "answer"):
            assert (found.array(name)[row][n:] == -1).all()
        for name in ("loss", "confidence"):
            assert np.isnan(found.array(name)[row][n:]).all()


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_how_the_work_is_cut_does_not_change_what_is_stored(tmp_path: Path, kind: str) -> None:
    if kind == "images":
        network, dataset, sites = conv(), Made(23), ("first", "second")
    else:
        network, dataset, sites = reader(), texts(tmp_path), ("mix", "heads")
    pools = ("mean", "max", "argmax", "position:-1", "sample:3", "full")
    found = [
        record(network, dataset, Plan(sites, pools, batch=batch, shard=shard), a_run(tmp_path / f"{batch}-{shard}"))
        for batch, shard in ((23, 23), (1, 4), (7, 10), (4, 1000))
    ]
    for name in found[0].names:
        first = found[0].array(name)
        for other in found[1:]:
            assert_close(other.array(name), first)


def test_a_part_of_the_data_in_any_order(tmp_path: Path) -> None:
    network, dataset = conv(), Made(12)
    plan = Plan(("second",), ("mean", "sample:2"), batch=3, shard=4)
    whole = record(network, dataset, plan, a_run(tmp_path / "whole"))
    rows = [7, 0, 11, 3, 8]
    part = record(network, dataset, plan, a_run(tmp_path / "part"), indices=rows)
    subset = record(network, dataset.subset(rows), plan, a_run(tmp_path / "subset"))
    assert part.ids == subset.ids == [dataset.ids[row] for row in rows]
    assert part.examples.tolist() == rows
    for name in whole.names:
        assert_close(part.array(name), whole.array(name)[rows])
        assert_close(subset.array(name), whole.array(name)[rows])


def test_one_example_is_read_alone(tmp_path: Path) -> None:
    dataset = Made(13)
    found = record(conv(), dataset, CONV, a_run(tmp_path / "run"))
    for name in found.names:
        array = found.array(name)
        for row in (12, 0, 6, 5):
            np.testing.assert_array_equal(found.example(dataset.ids[row], name), array[row])
        np.testing.assert_array_equal(np.concatenate(list(found.shards(name))), array)
    with pytest.raises(BadInput, match="no example of this id"):
        found.example("other", "answers")
    for read in (found.array, lambda name: found.example(dataset.ids[0], name), lambda name: list(found.shards(name))):
        with pytest.raises(BadInput, match=r"this was not recorded \(other\): there are act\|argmax, act\|full"):
            read("other")


def test_a_recording_is_found_again_and_not_done_twice(tmp_path: Path) -> None:
    run, events = a_run(tmp_path / "run"), []
    first = record(conv(), Made(15), CONV, run, emit=events.append)
    assert sum(isinstance(event, Advanced) for event in events) == 3
    index = run.at("tables/recording.parquet").read_bytes()
    again: list[Event] = []
    second = record(conv(), Made(15), CONV, Run.open(run.path), emit=again.append)
    assert not any(isinstance(event, Advanced) for event in again)
    assert run.at("tables/recording.parquet").read_bytes() == index
    for opened in (second, Recording(Run.open(run.path))):
        for name in first.names:
            np.testing.assert_array_equal(opened.array(name), first.array(name))


def test_several_recordings_share_a_run(tmp_path: Path) -> None:
    run, plan = a_run(tmp_path / "run"), Plan(("head",), ("mean",), answers=False)
    twin = conv()
    nn.init.zeros_(twin.module.head.weight)  # type: ignore[arg-type]
    record(conv(), Made(5), plan, run)
    record(twin, Made(4), plan, run, index="tables/twin.parquet")
    assert (len(Recording(run)), len(Recording(run, "tables/twin.parquet"))) == (5, 4)
    assert Recording(run).names == ["head|mean"]
    assert np.ptp(Recording(run).array("head|mean"), 0).all()
    assert not np.ptp(Recording(run, "tables/twin.parquet").array("head|mean"), 0).any()


# Refusals
@pytest.mark.parametrize("plan", [{"batch": 0}, {"shard": 0}, {"shard": -1}])
def test_plans_that_cannot_be(plan: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="give 1 or more"):
        Plan(("head",), **plan)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(("nowhere",)), "nowhere"),
        (Plan(("head",), ("median",)), "this is not a way of pooling"),
    ],
)
def test_what_cannot_be_recorded_is_said_before_the_work(tmp_path: Path, plan: Plan, message: str) -> None:
    run = a_run(tmp_path / "run")
    with pytest.raises(BadInput, match=message):
        record(conv(), Made(5), plan, run)
    assert os.listdir(run.path) == ["manifest.json"]


def test_data_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    run, plan = a_run(tmp_path / "run"), Plan(("head",))
    with pytest.raises(BadInput, match="there are no examples to record"):
        record(conv(), Made(5), plan, run, indices=[])
    with pytest.raises(BadInput, match="this network takes arrays, and these data are texts"):
        record(conv(), texts(tmp_path), plan, run)
    with pytest.raises(BadInput, match="does not say what it takes"):
        record(Network(conv().module), Made(5), plan, run)


def test_a_pool_that_is_asked_for_twice_is_recorded_once(tmp_path: Path) -> None:
    found = record(conv(), Made(5), Plan(("head", "he*"), ("mean", "mean")), a_run(tmp_path / "run"))
    assert found.array("head|mean").shape == (5, 4)


class Skipping(nn.Module):
    """Runs its second layer only where the first example is large."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(x) if float(x.detach()[0, 0]) < 1e9 and not getattr(self, "skip", False) else x


def test_a_site_that_does_not_run_for_every_input_is_named(tmp_path: Path) -> None:
    network = Network(Skipping(), input=ArrayInput(shape=(2,)))
    _ = network.dry_run
    network.module.skip = True  # type: ignore[assignment]
    with pytest.raises(BadInput, match=r"0 rows for 5 examples \(second\|mean\)"):
        record(network, Made(5, (2,)), Plan(("first", "second"), ("mean",), answers=False), a_run(tmp_path / "run"))


def test_a_disk_without_room_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, plan = a_run(tmp_path / "run"), Plan(("first", "second"), ("full",), batch=10, shard=100)
    total, used, _ = shutil.disk_usage(tmp_path)
    # 4 bytes for each number of 5 x 6 x 6 and 6 x 4 x 4, and 4 answers; a tenth more, and 10 MB of room for all else.
    needed = int(1.1 * 300 * (4 * (180 + 96 + 4) + 64)) + 10_000_000

    def free(room: int) -> None:
        monkeypatch.setattr(files.shutil, "disk_usage", lambda path: type("U", (), {"free": room}))

    free(needed - 1)
    with pytest.raises(DiskFull, match=r"about 10 MB are needed and 10 MB are free"):
        record(conv(), Made(300), plan, run)
    assert os.listdir(run.path) == ["manifest.json"]
    free(needed)
    record(conv(), Made(300), plan, run)
    # What is there already needs no room.
    free(10_000_000)
    record(conv(), Made(300), plan, run)
    assert total > used


def test_the_room_for_texts_is_judged_by_their_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("mulligan.runs.Run.require_room", lambda run, needed: asked.append(needed))
    network, dataset = reader(), texts(tmp_path, 10)
    longest = max(len(text.split()) for text in dataset.gather(range(10)))
    record(network, dataset, Plan(("mix", "heads"), ("full",)), a_run(tmp_path / "run"))
    assert asked == [int(1.1 * 10 * (4 * (2 * 8 * longest + 4 * longest) + 64)) + 10_000_000]


def test_a_disk_that_fills_up_keeps_the_finished_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, real, left = a_run(tmp_path / "run"), os.fsync, iter(range(3))  # the manifest, and two shards

    def fsync(handle: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskFull, match="what was finished is kept"):
        record(conv(), Made(15), CONV, run)
    written = [path for path in run.path.rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in written) == [".json", ".safetensors", ".safetensors"]
    with pytest.raises(BadInput, match="run the command again with --resume"):
        Recording(run)
    monkeypatch.undo()
    events: list[Event] = []
    found = record(conv(), Made(15), CONV, run, emit=events.append)
    assert sum(isinstance(event, Advanced) for event in events) == 1
    whole = record(conv(), Made(15), CONV, a_run(tmp_path / "whole"))
    for name in whole.names:
        np.testing.assert_array_equal(found.array(name), whole.array(name))


@pytest.mark.parametrize("damage", ["gone", "torn", "shorter"])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    run = a_run(tmp_path / "run")
    found = record(conv(), Made(15), Plan(("head",), ("mean",), batch=4, shard=5), run)
    shard = next(run.path.rglob("*.safetensors"))
    if damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes(b"torn" if damage == "torn" else shard.read_bytes()[:-4])
    with pytest.raises(BadInput, match="missing or damaged"):
        found.array("head|mean")
    with pytest.raises(BadInput, match="missing or damaged"):
        [found.example(id, "head|mean") for id in found.ids]


def test_a_glob_leaves_out_what_cannot_be_pooled(tmp_path: Path) -> None:
    network, dataset, said = reader(), texts(tmp_path), []
    network.module.register_module("table", torch.nn.Linear(3, 3))
    whole = network.module.forward
    network.module.forward = lambda ids: whole(ids) + network.module.table(torch.zeros(5, 3)).sum()  # type: ignore
    network = network.with_module(network.module)
    found = record(network, dataset, Plan(("*",), ("mean",), answers=False), a_run(tmp_path / "run"), emit=said.append)
    assert "mix|mean" in found.names
    assert "table|mean" not in found.names
    assert any("left out: table" in str(getattr(event, "text", "")) for event in said)
    with pytest.raises(BadInput, match="no batch axis"):
        record(network, dataset, Plan(("table",), ("mean",), answers=False), a_run(tmp_path / "other"))
