"""What units look for: pictures that were optimized, each beside real examples and a random twin; then the examples.

    features -> statistics of the data -> values on the data and on the twin -> pictures -> ways -> cards -> seen.json
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from ...datasets import Dataset, batches
from ...evidence import random_twin
from ...networks import Network
from ...records import DataRecord, Emit, FeatureCard, LeftOut, Noted, Portrait, Quantity, Seen, silent
from ...runs import Context, Engine, LocalEngine, Piece, Result, Run, digest, generator, mulligan_version
from ...visualization.climbing import CHECK
from ...visualization.measuring import OnData, fires_less, summarized
from ...visualization.paths import FORGED, standing_apart
from ...visualization.statistics import ImageStatistics, image_input
from . import examples as see_examples
from . import units_work
from .units_request import Prepared, Request, prepare
from .units_work import measured

SEEN = "seen.json"
#: Examples in one piece of work.
CHUNK = 128
SETTLE = 128
#: A unit whose values on the data differ by less than this share of the site's usual spread never fires.
NEVER = 1e-6
_WORK = units_work.__name__


def see_units(request: Request, run: Run, *, engine: Engine | None = None, emit: Emit = silent) -> Seen:
    """Make the pictures and find the examples of each feature; write seen.json, with pictures in artifacts/.

    Raises:
        Interrupted: after Ctrl-C; the same call goes on. BadInput, DiskFull: see their messages.
    """
    began = time.monotonic()
    prepared = prepare(request)
    for note in prepared.notes:
        emit(Noted(text=note))
    work = _Work(request, prepared, run, engine or LocalEngine(), emit)
    data = work.on_data("network")
    portraits, left_out = work.portraits(data)
    cards = work.cards(portraits)
    dataset, notes = request.dataset, list(prepared.notes)
    if dataset is None:
        notes.append("Without data, colours and frequencies of pictures are supposed, and nothing stands beside them.")
    seen = Seen(
        mulligan=mulligan_version(), created=str(run.manifest.get("created", "")), seconds=time.monotonic() - began,
        seed=request.seed, network=request.network.record(),
        data=DataRecord(source=dataset.source, identity=dataset.identity, n=len(dataset)) if dataset else None,
        cards=cards, left_out=(*prepared.left_out, *left_out, *work.left_out),
        notes=(*notes, *(dataset.notes if dataset else ())),
    )  # fmt: skip
    run.write_json(SEEN, seen)
    run.update(status="finished")
    return seen


class _Work:
    """One request's jobs, in the order in which they are done."""

    def __init__(self, request: Request, prepared: Prepared, run: Run, engine: Engine, emit: Emit) -> None:
        self.request, self.prepared, self.run, self.engine, self.emit = request, prepared, run, engine, emit
        self.left_out: list[LeftOut] = []
        self.texts = list(prepared.objectives)
        network, dataset = request.network, request.dataset
        twin = _twin(network, dataset, request.seed) if request.twin else None
        steps = network.input.steps() if network.input else ()
        names = [f"{name}={dictionary.digest}" for name, dictionary in sorted(request.dictionaries.items())]
        identity = digest(network.identity, *steps, dataset.identity if dataset else "", *names, str(request.seed))
        self.context = Context(
            identity,
            {"network": network, "twin": twin, "dataset": dataset, "dictionaries": dict(request.dictionaries),
             "texts": self.texts},
        )
        self.statistics = self._statistics()
        self.objects = {**self.context.objects, "statistics": self.statistics}
        self.context = replace(self.context, objects=self.objects)

    def _pieces(self, job: str, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Result]]:
        return self.engine.run(job, pieces, self.context, self.run, self.emit)

    def _statistics(self) -> ImageStatistics:
        if self.request.dataset is None:
            return ImageStatistics.neutral(self.request.network.input)
        piece = Piece(f"{_WORK}:measure_statistics", {"seed": self.request.seed})
        ((_, result),) = self._pieces("colours and spectrum", [piece])
        return measured(result)

    def on_data(self, which: str) -> np.ndarray | None:
        """Values [examples, objectives] of the network's or the twin's; None without data."""
        dataset = self.request.dataset
        if dataset is None or (which == "twin" and not self.request.twin):
            return None
        pieces = [
            Piece(f"{_WORK}:values_chunk", {"which": which, "features": self.texts, "start": start,
                  "stop": min(start + CHUNK, len(dataset)), "batch": 32})
            for start in range(0, len(dataset), CHUNK)
        ]  # fmt: skip
        job = "values on the data" if which == "network" else "values of the random twin"
        return np.concatenate([result.arrays["values"] for _, result in self._pieces(job, pieces)])

    def portraits(self, data: np.ndarray | None) -> tuple[dict[str, list[Portrait]], list[LeftOut]]:
        """The pictures of each feature."""
        request, dataset = self.request, self.request.dataset
        twin = self.on_data("twin")
        known = summarized(data) if data is not None else None
        opposite = summarized(-data) if data is not None else None
        twin_known = summarized(twin) if twin is not None else None
        twin_opposite = summarized(-twin) if twin is not None else None
        still = self._never(data)
        self.objects["values"] = data
        alive = [text for text in self.texts if text not in still]
        signs = ("+", "-") if request.negative else ("+",)
        how = {
            "steps": request.steps, "size": request.size, "parametrization": request.parametrization,
            "patient": request.patient, "compiled": request.compiled, "seed": request.seed,
        }  # fmt: skip
        jobs = {
            which: [
                Piece(
                    f"{_WORK}:climb",
                    {"which": which, "features": part, "sign": sign, "copies": request.diverse, **how},
                    cost=float(len(part)),
                )
                for sign in signs
                for part in _parts(alive, max(1, request.batch // request.diverse))
            ]
            for which in (("network", "twin") if request.twin else ("network",))
        }
        found: dict[str, list[Portrait]] = {text: [] for text in self.texts}
        left = [LeftOut(what=text, why=why) for text, why in still.items()]
        reached = dict[tuple[str, str], list[float | None]]()
        for piece, result in self._pieces("pictures of the random twin", jobs.get("twin", [])):
            for text, values in zip(piece.arguments["features"], result.values["reached"], strict=True):
                reached[text, piece.arguments["sign"]] = values
        for piece, result in self._pieces("pictures", jobs["network"]):
            sign = piece.arguments["sign"]
            side, twin_side = (known, twin_known) if sign == "+" else (opposite, twin_opposite)
            for number, text in enumerate(piece.arguments["features"]):
                why = result.values["failed"][number]
                if why:
                    left.append(LeftOut(what=f"the picture of {'-' if sign == '-' else ''}{text}", why=why))
                    continue
                at = self.texts.index(text)
                for copy in range(request.diverse):
                    found[text].append(
                        self._portrait(
                            text, at, sign, copy, number, result, side, twin_side, reached.get((text, sign)), dataset
                        )
                    )
        if known is not None:
            self._mark_forged(found, known)
        if request.facets and data is not None:
            self._facets(alive, found, known, how)
        return found, left

    def _never(self, data: np.ndarray | None) -> dict[str, str]:
        """Features that are the same on all the data, or no numbers at all."""
        if data is None or len(data) < 2:
            return {}
        whole = np.isfinite(data)
        broken = np.asarray(~whole.any(0))
        span = np.where(whole, data, -np.inf).max(0) - np.where(whole, data, np.inf).min(0)
        usual = float(np.median(span[~broken])) if not broken.all() else 0.0
        found = dict[str, str]()
        for at, text in enumerate(self.texts):
            if broken[at]:
                found[text] = f"it is NaN or infinite on all {len(data)} examples: {CHECK}"
            elif span[at] <= NEVER * (usual or 1.0):
                value = data[whole[:, at].argmax(), at]
                found[text] = f"it is {value:.3g} on all {len(data)} examples: it never fires"
        return found

    def _portrait(
        self, text: str, at: int, sign: str, copy: int, number: int, result: Result, data: OnData | None,
        twin: OnData | None, reached: list[float | None] | None, dataset: Dataset | None,
    ) -> Portrait:  # fmt: skip
        row = number * self.request.diverse + copy
        value = result.values["reached"][number][copy]
        name = f"artifacts/pictures/{_file_name(text)}{'-opposite' if sign == '-' else ''}-{copy}"
        image = self._keep(name, result.arrays["pixels"][row])
        alpha = None
        if "alpha" in result.arrays:
            alpha = self._keep(f"{name}-alpha", (255 * result.arrays["alpha"][row]).astype(np.uint8)[..., None])
        marks = []
        if data is not None and fires_less(value, float(data.best[at]), float(data.median[at])):
            marks.append("fires less than real examples")
        natural = result.values["natural"][number] if not copy else None
        return Portrait(
            objective=("-" if sign == "-" else "") + text if " " not in text or sign == "+" else f"-({text})",
            image=image, alpha=alpha, reached=value, steps=int(result.values["steps"][row]),
            best=float(data.best[at]) if data is not None else None,
            best_example=dataset.ids[int(data.row[at])] if data is not None and dataset is not None else None,
            examples=data.n if data is not None else 0,
            twin=reached[copy] if reached is not None else None,
            twin_best=float(twin.best[at]) if twin is not None else None,
            natural=Quantity(**natural) if natural else None, marks=tuple(marks),
        )  # fmt: skip

    def _mark_forged(self, found: dict[str, list[Portrait]], data: OnData) -> None:
        """Mark pictures whose ways stand apart from those of the other units of their site."""
        groups: dict[str, dict[str, tuple[Quantity, float]]] = {}
        for at, text in enumerate(self.texts):
            first = next(iter(found[text]), None)
            if first is not None and first.natural is not None:
                low, high = float(data.median[at]), float(data.best[at])
                above = (first.reached - low) / max(high - low, 1e-12)
                groups.setdefault(text.rpartition(":")[0], {})[text] = first.natural, above
        for group in groups.values():
            shares, heights = ({text: pair[part] for text, pair in group.items()} for part in (0, 1))
            for text in standing_apart(shares, heights):  # pyright: ignore[reportArgumentType]
                first, *others = found[text]
                found[text] = [replace(first, marks=(*first.marks, FORGED)), *others]

    def _facets(self, texts: list[str], found: dict[str, list[Portrait]], data: OnData | None, how: dict) -> None:
        pieces = [
            Piece(f"{_WORK}:climb_facets", {"feature": text, "at": self.texts.index(text), **how}) for text in texts
        ]
        for piece, result in self._pieces("cases", pieces):
            text, at = piece.arguments["feature"], piece.arguments["at"]
            for case, members in enumerate(result.values["members"]):
                name = f"artifacts/pictures/{_file_name(text)}-case-{case}"
                mark = (
                    f"case {case + 1} of {len(result.values['members'])}: {len(members)} of the strongest examples; "
                    f"silhouette {result.values['silhouette']:.2f}, shuffled {result.values['chance']:.2f}"
                )
                value = result.values["reached"][case]
                less = data is not None and fires_less(value, float(data.best[at]), float(data.median[at]))
                found[text].append(
                    Portrait(
                        objective=text, image=self._keep(name, result.arrays["pixels"][case]), reached=value,
                        steps=result.values["steps"][case], best=float(data.best[at]) if data else None,
                        examples=data.n if data else 0,
                        marks=(mark, "fires less than real examples") if less else (mark,),
                    )
                )

    def _keep(self, name: str, pixels: np.ndarray) -> str:
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
        self.run.write_bytes(f"{name}.png", buffer.getvalue())
        return f"{name}.png"

    def cards(self, portraits: dict[str, list[Portrait]]) -> tuple[FeatureCard, ...]:
        """Cards with examples where there are data, and with pictures."""
        request, network = self.request, self.request.network
        cards: dict[str, FeatureCard] = {}
        simple = [text for text in self.texts if _is_unit(text)]
        if request.dataset is not None and request.n and simple:
            asked = see_examples.Request(
                network=network, dataset=request.dataset, features=tuple(simple), n=request.n, seed=request.seed
            )
            seen = see_examples.see_examples(asked, self.run, engine=self.engine, emit=self.emit)
            cards = {card.feature: card for card in seen.cards}
            self.left_out += seen.left_out
            self.run.update(status="running")
        elif request.dataset is not None and request.n:
            self.emit(Noted(text="Examples are found for units and classes alone, not for sums."))
        return tuple(
            replace(cards.get(text, FeatureCard(feature=text)), portraits=tuple(portraits[text])) for text in self.texts
        )


def _twin(network: Network, dataset: Dataset | None, seed: int) -> Network:
    settle: Any = [network.example(32)]
    if dataset is not None:
        rows = np.sort(generator(seed, "settle").permutation(len(dataset))[:SETTLE])
        settle = ((b.x.to(network.device), b.mask) for b in batches(dataset, image_input(network.input), rows, 32))
    return random_twin(network, seed, settle)


def _parts(texts: list[str], size: int) -> list[list[str]]:
    """Features in batches: those of one site side by side."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(text.rpartition(":")[0], []).append(text)
    return [group[at : at + size] for group in groups.values() for at in range(0, len(group), size)]


def _is_unit(text: str) -> bool:
    return bool(re.fullmatch(r"[^\s@]+:\d+", text)) or (text.startswith("class ") and " + " not in text)


def _file_name(text: str) -> str:
    plain = re.sub(r"[^\w.-]+", "_", text)[:60].strip("_")
    return f"{plain}-{digest(text)[-8:]}"
