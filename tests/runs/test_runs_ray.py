"""Pieces on a local Ray cluster of two workers, which lose a process and then a whole node; and all that it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs_work
from runs_work import HERE, a_run, parts, rebuilt

from mulligan.records import BadInput
from mulligan.runs import LocalEngine, Piece, Run, engine_for, load_piece

ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

# A head without processors and two nodes with one each, on a loopback address that Ray takes as it is.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
same = {"node_ip_address": sys.argv[1], "object_store_memory": 80 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **same})
nodes = [cluster.add_node(num_cpus=1, memory=10**9, **same) for _ in range(2)]
print(cluster.address, flush=True)
for _ in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("killed", flush=True)
cluster.shutdown()
"""

ENVIRONMENT = {
    **os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0",
    "PYTHONPATH": os.pathsep.join([os.path.dirname(runs_work.__file__), os.environ.get("PYTHONPATH", "")]),
}  # fmt: skip


class ACluster:
    """A cluster in a process of its own; only what this test started is ever ended."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address

    def lose_a_node(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "killed"

    def driver(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        """A process that uses the cluster: warnings are errors there, too."""
        command = [sys.executable, "-W", "error", "-c", script, self.address, *map(str, arguments)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[ACluster]:
    loopback = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, loopback], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield ACluster(process, process.stdout.readline().strip())
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    return out


def until(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    patience = time.monotonic() + 180
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.01)


TELL = """
import sys
from mulligan.records import Interrupted
from mulligan.runs import Piece, Run, engine_for
from runs_work import HERE, rebuilt
address, folder, notes, n, seconds = sys.argv[1:]
work = [Piece(f"{HERE}:tell", {"number": i, "folder": notes, "seconds": float(seconds)}) for i in range(int(n))]
run = Run.open(folder)
try:
    found = list(engine_for(f"ray:{address}").run("tell", work, rebuilt(), run, lambda event: print(event, flush=True)))
except Interrupted as error:
    print(error, flush=True)
    sys.exit(error.exit_status)
assert [piece for piece, _ in found] == work
"""


def told(notes: Path, n: int, seconds: float) -> list[Piece]:
    return [Piece(f"{HERE}:tell", {"number": i, "folder": str(notes), "seconds": seconds}) for i in range(n)]


@ray
def test_a_worker_that_is_killed_loses_and_doubles_nothing(cluster: ACluster, tmp_path: Path) -> None:
    run, notes = a_run(tmp_path / "run"), tmp_path / "notes"
    notes.mkdir()
    process = cluster.driver(TELL, run.path, notes, 40, 0.1)
    until(lambda: len(list(notes.iterdir())) >= 12, process)
    newest = max(notes.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    victim = int(newest.read_text().split()[-1])
    os.kill(victim, signal.SIGKILL)
    events = [line for line in ended(process).splitlines() if line.startswith(("Started", "Advanced", "Finished"))]
    assert events[0] == "Started(job='tell', total=40, done=0)"
    assert [f"done={n}, total=40" in line for n, line in zip(range(1, 41), events[1:-1], strict=True)] == [True] * 40
    assert events[-1].startswith("Finished")
    attempts = [file.read_text().split() for file in notes.iterdir()]
    # What the killed worker had begun, and nothing else, was begun again; another worker took its place.
    assert len(attempts) == 40
    assert all(int(pid) == victim for pids in attempts for pid in pids[:-1])
    assert len({int(pid) for pids in attempts for pid in pids}) >= 3
    local = a_run(tmp_path / "local")
    work = told(notes, 40, 0.0)
    found = [result for _, result in LocalEngine().run("tell", work, rebuilt(), local)]
    for piece, ours in zip(told(notes, 40, 0.1), found, strict=True):
        theirs = load_piece(run, piece.address(rebuilt()))
        assert theirs is not None
        assert theirs.arrays["drawn"].tobytes() == ours.arrays["drawn"].tobytes()
    assert len(list(run.path.glob("pieces/*/*"))) == 40
    assert parts(run.path) == []


@ray
def test_ctrl_c_keeps_what_was_handed_out(cluster: ACluster, tmp_path: Path) -> None:
    run, notes = a_run(tmp_path / "run"), tmp_path / "notes"
    notes.mkdir()
    process = cluster.driver(TELL, run.path, notes, 30, 0.4)
    until(lambda: len(list(notes.iterdir())) >= 3, process)
    process.send_signal(signal.SIGINT)
    said = ended(process, 130).splitlines()[-1]
    kept = len(list(run.path.glob("pieces/*/*.safetensors")))
    # All that were begun are kept, and not many were begun.
    assert len(list(notes.iterdir())) == kept < 20
    assert said == (
        f"interrupted; {kept} of 30 pieces of 'tell' are kept in {run.path}: run the same command with --resume to go "
        "on."
    )


REFUSED = """
import json, sys, types
from mulligan.records import MulliganError
from mulligan.runs import Piece, Run, engine_for, ray_engine
from runs_work import HERE, pieces, rebuilt
address, folder = sys.argv[1:]
run, engine, said = Run.open(folder), engine_for(f"ray:{address}"), {}
def say(name, work, context=rebuilt(), run=run):
    try:
        list(engine.run("job", work, context, run))
    except Exception as error:
        said[name] = [type(error).__name__, isinstance(error, ValueError), str(error)]
say("bad input", [*pieces(3), Piece(f"{HERE}:refuse", {}), *pieces(6)[3:]])
said["kept"] = [ray_engine.load_piece(run, piece.address(rebuilt())) is not None for piece in pieces(3)]
say("full disk", [Piece(f"{HERE}:refuse", {"full": True})])
say("our fault", [Piece(f"{HERE}:fail", {"number": 3})])
say("identity", pieces(1), rebuilt("a", stands_for="b"))
say("memory", [Piece(f"{HERE}:draw", {"number": 50}, memory=10**18)])
ours = ray_engine.library_versions
ray_engine.library_versions = lambda: {**ours(), "numpy": "0.1"}
say("versions", pieces(7)[6:])
ray_engine.library_versions = ours
code = ray_engine.code_digest
ray_engine.code_digest = lambda: "another"
say("code", pieces(7)[6:])
ray_engine.code_digest = code
import os
os.remove(os.path.join(folder, "manifest.json"))
say("folder", [Piece(f"{HERE}:draw", {"number": 99})], rebuilt("unseen"))
ray_engine.RETRIES = 1
run.update()
say("dies", [Piece(f"{HERE}:die", {})])
print(json.dumps(said), file=sys.stderr)
"""


@ray
def test_what_a_worker_refuses_is_one_sentence_here(cluster: ACluster, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    process = cluster.driver(REFUSED, run.path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    said: dict[str, Any] = json.loads(err.splitlines()[-1])
    assert said.pop("kept") == [True] * 3
    assert said.pop("our fault")[:2] == ["RayTaskError(ValueError)", True]
    kinds = {name: kind for name, (kind, _, _) in said.items()}
    assert kinds == {**dict.fromkeys(said, "BadInput"), "full disk": "DiskFull"}
    for name, words in {
        "bad input": "this cannot be (over/there): do otherwise.",
        "full disk": "this cannot be (over/there): do otherwise.",
        "identity": "a worker built another network or other data than this process has (the worker at ",
        "memory": "a piece of work needs about 1000000000.0 GB of memory and the cluster's largest machine has 1.0 GB",
        "versions": f"a worker has numpy {np.__version__} and this process has 0.1 (the worker at ",
        "code": "a worker runs other code of Mulligan than this process (the worker at ",
        "folder": f"a worker does not see the run's folder ({run.path}, the worker at ",
        "dies": "a piece of work lost its worker 2 times (WorkerCrashedError) (job): see whether",
    }.items():
        assert said[name][2].startswith(words), (name, said[name])
        assert said[name][2].endswith(".")


# The node is lost while the recording is made, so that this test comes last.
RECORD = """
import sys
from pathlib import Path
import torch
from mulligan.activations import Plan, record
from mulligan.datasets import load_dataset
from mulligan.networks import load
from mulligan.runs import LocalEngine, Run, engine_for
torch.set_num_threads(1)
address, where = sys.argv[1], Path(sys.argv[2])
network, dataset = load(f"{where / 'net.py'}:factory"), load_dataset(where / "data.npz")
plan = Plan(("0", "2"), ("mean", "max", "sample:2"), batch=2, shard=4, fast="never")
ours = record(network, dataset, plan, Run.open(where / "cluster"), engine=engine_for(f"ray:{address}"))
whole = record(network, dataset, plan, Run.create("record", [], {}, out=where / "local"), engine=LocalEngine())
assert ours.ids == whole.ids and ours.names == whole.names and len(ours) == 120
for name in whole.names:
    assert ours.array(name).tobytes() == whole.array(name).tobytes(), name
files = {path.name: path.read_bytes() for path in (where / "local").glob("pieces/*/*")}
assert {path.name: path.read_bytes() for path in (where / "cluster").glob("pieces/*/[!.]*")} == files
"""

NETWORK = """
import time
import torch
from torch import nn
INPUT = "size=8,channels=1"
class Slow(nn.ReLU):
    def forward(self, x):
        time.sleep(0.02)
        return super().forward(x)
def factory():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), Slow(), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(96, 3))
"""


@ray
def test_a_recording_that_loses_a_node_is_the_same(cluster: ACluster, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    pixels = np.random.default_rng(0).integers(0, 256, (120, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=pixels)
    run = a_run(tmp_path / "cluster")
    process = cluster.driver(RECORD, tmp_path)
    until(lambda: len(list(run.path.glob("pieces/*/[!.]*.safetensors"))) >= 8, process)
    cluster.lose_a_node()
    assert len(list(run.path.glob("pieces/*/[!.]*.safetensors"))) < 30, "the node was lost too late to matter"
    ended(process)
    assert len(list(run.path.glob("pieces/*/[!.]*.safetensors"))) == 30


# Without a cluster
def test_engines_by_name() -> None:
    assert isinstance(engine_for("local"), LocalEngine)
    for text in ("", "ray:", "rays", "local:1", "dask"):
        with pytest.raises(BadInput, match="there is no such engine"):
            engine_for(text)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"not installed \(ray\): install it with pip install 'mulligan\[ray\]'\.$"):
        engine_for("ray")


NOWHERE = """
import sys
from mulligan.runs import engine_for
from mulligan.records import BadInput
from runs_work import context, pieces, rebuilt
for text in sys.argv[1:]:
    try:
        engine_for(text)
    except BadInput as error:
        print(error)
"""


@ray
def test_without_a_cluster_it_says_how_to_start_one() -> None:
    command = [sys.executable, "-W", "error", "-c", NOWHERE, "ray:127.0.0.1:1", "ray:nowhere.invalid:6379", "ray:what"]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=ENVIRONMENT, check=True)
    assert done.stdout.count("there is no Ray cluster to connect to") == 3, done
    assert done.stdout.count("`ray start --head`") == 3
    assert time.monotonic() - started < 60


class _Unconnected:
    """Ray's module as far as an engine without pieces needs it."""

    def nodes(self) -> list[Any]:
        return []

    def remote(self, function: Any) -> Any:
        return function


def test_what_cannot_be_built_or_seen_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mulligan.runs import ray_engine

    monkeypatch.setattr(ray_engine, "_connected", lambda address: _Unconnected())
    engine = ray_engine.RayEngine()
    with pytest.raises(BadInput, match=r"cannot build what this job works on \(draw\): load network and data by their"):
        list(engine.run("draw", runs_work.pieces(1), runs_work.context(), a_run(tmp_path / "run")))
    away = Run.create("test", [], {}, out=f"memory://{tmp_path.name}/run")
    with pytest.raises(BadInput, match="memory:// is seen by this process alone"):
        list(engine.run("draw", runs_work.pieces(1), rebuilt(), away))
    # What is finished needs no worker.
    run = a_run(tmp_path / "done")
    whole = [result.arrays["drawn"] for _, result in LocalEngine().run("draw", runs_work.pieces(3), rebuilt(), run)]
    again = [result.arrays["drawn"] for _, result in engine.run("draw", runs_work.pieces(3), rebuilt(), run)]
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one, other)
