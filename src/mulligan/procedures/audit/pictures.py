"""Pictures on the cards of an audit: one optimized for each unit and output, and the region that excites it.

A network that takes no pictures gets none. What the budget does not buy stands in the coverage.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from PIL import Image

from ...activations import Recording, pool_name
from ...datasets import Dataset
from ...networks import ImageInput, Network
from ...records import BadInput, CoverageLine, ExampleRef, OutputCard, Portrait, Sighting, SiteInventory, UnitCard
from ...runs import Context, Piece, Result, digest
from ...visualization.climbing import visualize
from ...visualization.examples import count_units
from ...visualization.measuring import OnData, fires_less, summarized, values_on
from ...visualization.objectives import Objective, channel, logit
from ...visualization.reading import before_nonlinearity
from ...visualization.receptive import look
from ...visualization.sightings import Drawing, heat_scale
from ...visualization.statistics import ImageStatistics, image_input
from .means import Means

SIDE = 96  # pixels of an optimized picture, where the network takes larger ones
STEPS, STEPS_OF_SMALL = 40, 64  # of pictures of that size, and of such as are smaller anyway
#: Pictures that the colours and frequencies are measured on.
MEASURED = 96
#: Examples of an output in which the region is looked for; a unit's are all that it shows as its strongest.
OUTPUT_EXAMPLES = 3
#: Examples of a unit whose value is measured anew, where what was recorded is not what pictures climb on.
CANDIDATES = 4
#: What a look at an example and a step of a picture cost, in forward passes of as many pixels: measured on
#: EfficientNet-lite0, where most sites lie halfway and pictures climb on a quickened copy.
A_LOOK, A_STEP = 1.5, 1.0
#: What is spent of the time left on regions, on pictures, and on those of the twin.
SHARES = 0.06, 0.08, 0.03
#: How many of each are made however little time is left: a few seconds' worth, so that a short audit shows some too.
LEAST = 8, 12, 4

Key = tuple[str, int]  # a site's alias and a unit; "" and an output


@dataclass(frozen=True, slots=True)
class Seen:
    """A network on data: the audited one, or its random twin."""

    network: Network
    dataset: Dataset
    recording: Recording


@dataclass(frozen=True, slots=True)
class Illustrated:
    """Cards with their pictures, and what could not be drawn."""

    inventory: tuple[SiteInventory, ...]
    cards: tuple[OutputCard, ...]
    coverage: tuple[CoverageLine, ...] = ()


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One picture: what it and the data reach, its pixels (of the network's own) and its steps; or why it failed."""

    key: Key
    reached: float = math.nan
    on_data: OnData | None = None
    pixels: np.ndarray | None = None
    steps: int = 0
    why: str = ""


@dataclass
class _Work:
    """What the steps share."""

    own: Seen
    twin: Seen
    means: Means
    names: Mapping[int, str]
    context: Context = field(init=False)

    def __post_init__(self) -> None:
        known: list[ImageStatistics] = []

        def statistics() -> ImageStatistics:
            if not known:
                taken, dataset = self.own.network.input, self.own.dataset
                known.append(ImageStatistics.measure(taken, dataset, seed=self.means.seed, most=MEASURED))
            return known[0]

        there = {"network": self.own, "twin": self.twin, "statistics": statistics}
        network, steps = self.own.network, image_input(self.own.network.input).steps()
        identity = digest(network.identity, *steps, self.own.dataset.identity, self.twin.dataset.identity)
        self.context = Context(identity, there)


def illustrate(
    own: Seen,
    twin: Seen,
    inventory: tuple[SiteInventory, ...],
    cards: tuple[OutputCard, ...],
    outputs: Mapping[str, int],
    means: Means,
) -> Illustrated:
    """Give unit cards and output cards their pictures.

    Args:
        outputs: the number of each output that has a card, by its name.
    """
    if not isinstance(own.network.input, ImageInput) or own.dataset.kind != "images":
        return Illustrated(inventory, cards)
    work = _Work(own, twin, means, {number: name for name, number in outputs.items()})
    examples: dict[Key, tuple[ExampleRef, ...]] = {
        ("", outputs[card.output]): card.examples[:OUTPUT_EXAMPLES] for card in cards if card.examples
    }
    shown: list[Key] = list(examples)
    for card_number in range(max((len(site.cards) for site in inventory), default=0)):
        for site in inventory:  # one of each site, then the next, so that a small budget reaches them all
            if card_number < len(site.cards):
                unit = site.cards[card_number]
                shown.append((site.site, unit.unit))
                examples[site.site, unit.unit] = unit.top
    sightings = _sightings(work, shown, examples)
    portraits, failed = _portraits(work, shown)

    def unit_card(site: SiteInventory, unit: UnitCard) -> UnitCard:
        key = site.site, unit.unit
        return replace(unit, sightings=sightings.get(key, ()), portrait=portraits.get(key))

    def output_card(card: OutputCard) -> OutputCard:
        key = "", outputs[card.output]
        return replace(card, sightings=sightings.get(key, ()), portrait=portraits.get(key))

    lines = tuple(
        CoverageLine(what=f"the picture of {where}", examined=0, total=1, unit="pictures", why=why)
        for where, why in failed.items()
    )
    return Illustrated(
        tuple(replace(site, cards=tuple(unit_card(site, unit) for unit in site.cards)) for site in inventory),
        tuple(output_card(card) for card in cards),
        lines,
    )


def _sightings(
    work: _Work, shown: Sequence[Key], examples: Mapping[Key, tuple[ExampleRef, ...]]
) -> dict[Key, tuple[Sighting, ...]]:
    """Where units and outputs fire in the examples that are shown for them."""
    means, own = work.means, work.own
    row_of = {name: row for row, name in enumerate(own.dataset.ids)}
    asked = [key for key in shown if examples.get(key)]
    most = max((len(examples[key]) for key in asked), default=1)
    number = means.budget.buy(
        "units and outputs in whose examples the region was looked for",
        len(asked),
        most * A_LOOK * means.seconds_an_example,
        share=SHARES[0],
        least=LEAST[0],
    )
    pieces = [
        Piece(
            f"{__name__}:look_again",
            {"site": site or None, "unit": unit, "rows": [row_of[e.id] for e in examples[site, unit]]},
        )
        for site, unit in asked[:number]
    ]
    drawing = Drawing(means.run, side=120, crop_side=96)
    taken = image_input(own.network.input)
    found: dict[Key, tuple[Sighting, ...]] = {}
    done = means.engine.run("where units fire", pieces, work.context, means.run, means.emit)
    for key, (piece, result) in zip(asked, done, strict=False):
        if not result.arrays:
            continue
        site, unit = key
        scale = heat_scale(result.arrays, None if result.values["through"] else _largest(own, site, unit))
        feature = f"{site}:{unit}" if site else f"class {unit}"
        found[key] = tuple(
            drawing.sighting(feature, e, taken.crop(own.dataset.raw(row)), result.arrays, at, scale)  # type: ignore[arg-type]
            for at, (e, row) in enumerate(zip(examples[key], piece.arguments["rows"], strict=True))
        )
    return found


def _largest(own: Seen, site: str, unit: int) -> float | None:
    if not site:
        return None
    return float(np.nanmax(own.recording.array(pool_name(site, "max"))[:, unit]))


def _portraits(work: _Work, shown: Sequence[Key]) -> tuple[dict[Key, Portrait], dict[str, str]]:
    """Optimized pictures, and why some could not be made: those of one site climb side by side."""
    means, taken = work.means, image_input(work.own.network.input)
    able = [key for key in shown if not key[0] or _is_plain(work.own.network, key[0])]
    size = None if max(taken.size) <= SIDE else SIDE
    area = 1.0 if size is None else size**2 / math.prod(taken.size)
    steps = STEPS_OF_SMALL if size is None else STEPS
    price = steps * A_STEP * area * means.seconds_an_example
    named = "pictures optimized for units and outputs", "pictures of the random twin beside them"
    number = means.budget.buy(named[0], len(able), price, share=SHARES[1], least=LEAST[1])
    twins = means.budget.buy(named[1], number, price, share=SHARES[2], least=LEAST[2])
    twin_drawn = {one.key: one for one in _drawn(work, "twin", able[:twins], size, steps)}
    found: dict[Key, Portrait] = {}
    failed: dict[str, str] = {}
    for one in _drawn(work, "network", able[:number], size, steps):
        site, unit = one.key
        text = f"{site}:{unit}" if site else f"class {work.names[unit]}"
        if one.pixels is None or one.on_data is None:
            failed[text] = one.why
            continue
        best, median = float(one.on_data.best[0]), float(one.on_data.median[0])
        twin = twin_drawn.get(one.key)
        beside = twin.on_data if twin else None
        found[one.key] = Portrait(
            objective=text,
            image=_kept(work, text, one.pixels),
            reached=one.reached,
            steps=one.steps,
            best=best,
            best_example=work.own.dataset.ids[int(one.on_data.row[0])],
            examples=one.on_data.n,
            twin=twin.reached if twin and beside else None,
            twin_best=float(beside.best[0]) if beside else None,
            marks=("fires less than real examples",) if fires_less(one.reached, best, median) else (),
        )
    return found, failed


def _is_plain(network: Network, site: str) -> bool:
    """Whether units are counted along one axis, as objectives count them."""
    found = network.site(site)
    return count_units(found) == found.shape[found.unit_axis]


def _drawn(work: _Work, which: str, keys: Sequence[Key], size: int | None, steps: int) -> Iterator[_Drawn]:
    """The pictures of the network or of its twin: those of one site are one piece of work."""
    seen = work.own if which == "network" else work.twin
    sites = list(dict.fromkeys(site for site, _ in keys))
    pieces: list[Piece] = []
    for site in sites:
        units = [unit for other, unit in keys if other == site]
        rows = _candidates(work.own.network, seen, site, units)
        arguments = {
            "which": which, "site": site, "units": units, "names": [work.names[u] for u in units] if not site else [],
            "rows": rows, "size": size, "steps": steps, "seed": work.means.seed,
        }  # fmt: skip
        pieces.append(Piece(f"{__name__}:draw", arguments, cost=float(len(units))))
    job = "pictures" if which == "network" else "pictures of the random twin"
    done = work.means.engine.run(job, pieces, work.context, work.means.run, work.means.emit)
    for site, (piece, result) in zip(sites, done, strict=True):
        for at, unit in enumerate(piece.arguments["units"]):
            if why := result.values["failed"].get(str(at), ""):
                yield _Drawn((site, unit), why=why)
                continue
            rows = piece.arguments["rows"]
            values = result.arrays["values"][:, at] if rows else _recorded(seen, site, unit)
            on_data = summarized(values[:, None])
            if rows:  # they were chosen among all
                on_data = replace(on_data, row=np.asarray(rows)[on_data.row], n=len(seen.dataset))
            pixels = result.arrays["pixels"][at] if "pixels" in result.arrays else None
            reached, steps_taken = float(result.arrays["reached"][at]), int(result.arrays["steps"][at])
            yield _Drawn((site, unit), reached, on_data, pixels, steps_taken)


def _recorded(seen: Seen, site: str, unit: int) -> Float[np.ndarray, " n"]:
    """The objective of a picture, on all examples, where it was recorded as it is."""
    return seen.recording.array(pool_name(site, "mean") if site else "answers")[:, unit].astype(np.float64)


def _candidates(network: Network, seen: Seen, site: str, units: Sequence[int]) -> list[int]:
    """Examples on which objectives must be measured anew: those with the largest recorded means.

    Pictures climb on what goes into the nonlinearity; where the site lies behind one, the recording has something else.
    """
    if not site or before_nonlinearity(network, network.site(site)).place == network.site(site).place:
        return []
    values = seen.recording.array(pool_name(site, "mean"))[:, list(units)]
    rows = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=0, kind="stable")[:CANDIDATES]
    return sorted({int(row) for row in rows.ravel()})


def _kept(work: _Work, text: str, pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    name = f"artifacts/portraits/{digest(text).rpartition(':')[2][:16]}.png"
    work.means.run.write_bytes(name, buffer.getvalue())
    return name


# Pieces of work.
def look_again(context: Context, *, site: str | None, unit: int, rows: list[int]) -> Result:
    """Where a unit or an output fires in some examples: see `receptive.look`."""
    own: Seen = context["network"]
    plain = Context(context.identity, {"network": own.network, "dataset": own.dataset})
    return look(plain, site=site, unit=unit, rows=rows)


def draw(
    context: Context, *, which: str, site: str, units: list[int], names: list[str], rows: list[int], size: int | None,
    steps: int, seed: int,
) -> Result:  # fmt: skip
    """Pictures of some units of a site, or of outputs: "pixels", "reached", "steps", and "values" [rows, units].

    Returns:
        Also {"failed": {position: why}}.
    """
    seen: Seen = context[which]
    objectives: list[Objective] = [channel(site, unit) for unit in units]
    if not site:
        objectives = [logit(unit, name) for unit, name in zip(units, names, strict=True)]
    statistics: Callable[[], ImageStatistics] = context["statistics"]
    try:
        values = values_on(seen.network, objectives, seen.dataset, rows) if rows else np.zeros((0, len(units)))
        how = {"statistics": statistics(), "steps": steps, "seed": seed}
        try:
            made = visualize(seen.network, objectives, size=size, **how)
        except BadInput:
            if size is None:
                raise
            made = visualize(seen.network, objectives, **how)  # a network of one size
    except (BadInput, RuntimeError) as error:
        why = str(error).strip().split("\n")[0]
        return Result({}, {"failed": {str(at): why for at in range(len(units))}})
    arrays = {"reached": made.reached, "steps": made.steps, "values": values}
    if which == "network":
        arrays["pixels"] = made.pixels
    return Result(arrays, {"failed": {str(at): why for at, why in made.failed.items()}})
