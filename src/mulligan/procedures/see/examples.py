"""Examples of features from the data: which excite them most, least and in between, and what they see there.

    features -> one pass over the data -> a choice for each -> one pass over what is shown -> pictures -> seen.json
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from ...datasets import Dataset, require_kind
from ...evidence import fraction
from ...networks import ImageInput, Network
from ...records import (
    BadInput,
    DataRecord,
    Emit,
    ExampleRef,
    FeatureCard,
    LeftOut,
    Quantity,
    Seen,
    Sighting,
    silent,
)
from ...runs import Context, Engine, LocalEngine, Piece, Result, Run, digest, generator, mulligan_version
from ...visualization.directions import with_directions
from ...visualization.duplicates import Likeness
from ...visualization.examples import Sought, around, choose, names_of, seek, spread_over_classes, strengths
from ...visualization.heat import Pixels, small
from ...visualization.receptive import look
from ...visualization.sightings import Drawing, heat_scale

SEEN = "seen.json"
_COLUMNS = ("top", "levels", "bottom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        features: "SITE:UNIT", or "class NAME" for an output.
        directions: further features by a name of their own: the site, and the direction there, [units].
        n: how many examples of each kind (strongest, weakest, levels) a card shows.
        batch: examples in one forward pass; None: as many as suit the network.
    """

    network: Network
    dataset: Dataset
    features: tuple[str, ...] = ()
    directions: Mapping[str, tuple[str, Float[np.ndarray, " units"]]] = field(default_factory=dict)
    n: int = 9
    seed: int = 0
    batch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What will be looked for.

    Attributes:
        network: the one asked for, with a site more for directions. sought: the features.
        left_out: those that are not there, each with its reason.
    """

    network: Network
    sought: tuple[Sought, ...]
    left_out: tuple[LeftOut, ...]


def prepare(request: Request) -> Prepared:
    """Everything that can be wrong with the input, before a folder is made.

    Raises:
        BadInput: if no feature is there, the network does not take these data, or no example would be shown.
    """
    network = request.network
    if request.n < 1:
        raise BadInput(f"{request.n} examples cannot be shown", where="n", fix="give 1 or more")
    if network.input is None:
        fix = "pass --input size=...,channels=...,mean=...,std=..."
        raise BadInput("this network does not say what it takes", where=network.name, fix=fix)
    require_kind(request.dataset, network.input)
    found: dict[str, Sought] = {}
    left_out: list[LeftOut] = []
    first: BadInput | None = None
    for name in (*request.features, *request.directions):
        try:
            if name in request.directions:
                network, site = with_directions(network, *request.directions[name])
                found[name] = Sought(name, site, 0)
            else:
                sought = seek(network, name)
                found[sought.alias] = sought
        except BadInput as error:
            first = first or error
            left_out.append(LeftOut(what=name, why=str(error)))
    if not found:
        raise first or BadInput("no feature is named", where="features", fix="name one or more, as SITE:UNIT")
    return Prepared(network=network, sought=tuple(found.values()), left_out=tuple(left_out))


def see_examples(request: Request, run: Run, *, engine: Engine | None = None, emit: Emit = silent) -> Seen:
    """Find the examples of each feature and write them into `run` as seen.json, with pictures in artifacts/.

    Raises:
        Interrupted: after Ctrl-C; the same call goes on. BadInput, DiskFull: see their messages.
    """
    began = time.monotonic()
    prepared, dataset = prepare(request), request.dataset
    network, sought = prepared.network, prepared.sought
    values = strengths(network, dataset, sought, run, engine=engine, emit=emit, batch=request.batch, seed=request.seed)
    steps = network.input.steps() if network.input else ()
    there = {"network": network, "dataset": dataset, "strengths": values, "likeness": Likeness(network, dataset)}
    context = Context(digest(network.identity, *steps, dataset.identity), there)
    pieces = [
        Piece(
            "mulligan.procedures.see.examples:find",
            {
                "feature": item.alias,
                "site": item.site.alias if item.site is not None else None,
                "unit": item.unit,
                "n": request.n,
                "seed": request.seed,
            },
        )
        for item in sought
    ]
    shown = _Shown(network, dataset, run)
    cards: list[FeatureCard] = []
    failures: list[LeftOut] = []
    done = (engine or LocalEngine()).run("examples", pieces, context, run, emit)
    for item, (_, result) in zip(sought, done, strict=True):
        cards.append(_card(item, values[item.alias], result, shown))
        if result.values["failed"]:
            failures.append(LeftOut(what=f"where {item.alias} fires", why=result.values["failed"]))
    seen = Seen(
        mulligan=mulligan_version(),
        created=str(run.manifest.get("created", "")),
        seconds=time.monotonic() - began,
        seed=request.seed,
        network=network.record(),
        data=DataRecord(source=dataset.source, identity=dataset.identity, n=len(dataset)),
        cards=tuple(cards),
        left_out=(*prepared.left_out, *failures),
        notes=dataset.notes,
    )
    run.write_json(SEEN, seen)
    run.update(status="finished")
    return seen


def find(context: Context, *, feature: str, site: str | None, unit: int, n: int, seed: int) -> Result:
    """A piece of work: choose one feature's examples, and look where in them it fires.

    Returns:
        What `look` gives, a row for each of `rows`; beside it the choice, the tokens of texts, and why it failed.
    """
    values: Float[np.ndarray, " n"] = context["strengths"][feature]
    choice = choose(values, n, context["likeness"].alike, generator(seed, "levels", feature))
    seen = look(context, site=site, unit=unit, rows=choice.rows) if choice.rows else Result({}, {})
    told = {"failed": "", "tokens": [], "through": "", **seen.values}
    return Result(seen.arrays, {**asdict(choice), "rows": choice.rows, **told})


class _Shown:
    """The examples of a data set as cards show them; each one's own picture is written once."""

    def __init__(self, network: Network, dataset: Dataset, run: Run) -> None:
        self.network, self.dataset, self.drawing = network, dataset, Drawing(run)
        self.names = names_of(network, dataset)
        self._whole: dict[int, str] = {}

    def pixels(self, row: int) -> Pixels | None:
        """What the network sees of an example; None if it is no picture."""
        taken = self.network.input
        return taken.crop(self.dataset.raw(row)) if isinstance(taken, ImageInput) else None  # type: ignore[arg-type]

    def whole(self, row: int, pixels: Pixels) -> str:
        """Path of the example's small picture."""
        if row not in self._whole:
            name = f"artifacts/examples/{self.dataset.ids[row]}"
            self._whole[row] = self.drawing.keep(name, small(pixels), pixels)
        return self._whole[row]


def _card(item: Sought, values: Float[np.ndarray, " n"], result: Result, shown: _Shown) -> FeatureCard:
    told: Mapping[str, Any] = result.values
    network, dataset = shown.network, shown.dataset
    meaning = network.meaning(item.site) if item.site is not None else "an output of the network, before any softmax"
    sound = values[np.isfinite(values)]
    card = FeatureCard(feature=item.alias, meaning=meaning, duplicates=told["duplicates"])
    notes: list[str] = []
    if told["broken"]:
        notes.append(f"Its activation is NaN or infinite on {told['broken']} of {len(values)} examples: left out.")
    if told["never"]:
        return replace(card, notes=(told["never"], *notes))
    active = fraction(int((sound > 0).sum()), len(sound), "share of examples with a value above zero")
    notes.insert(0, f"From {sound.min():.3g} to {sound.max():.3g} on these data; {active.unit}: {_in_words(active)}.")
    arrays = {name: result.arrays[name] for name in result.arrays}
    scale = heat_scale(arrays, None if told["through"] else float(sound.max()))
    by_row = {
        row: _sighting(item, row, at, float(values[row]), arrays, told["tokens"], scale, shown)
        for at, row in enumerate(told["rows"])
    }
    notes += _on_regions([by_row[row] for row in told["top"]], told["through"], network)
    classes, chance, counted = (), (), 0
    if dataset.labels is not None:
        classes, chance, counted = spread_over_classes(told["strongest"], dataset.labels, shown.names)
    columns = {name: tuple(by_row[row] for row in told[name]) for name in _COLUMNS}
    return replace(card, **columns, classes=classes, chance=chance, strongest=counted, heat=scale, notes=tuple(notes))


def _sighting(
    item: Sought,
    row: int,
    at: int,
    value: float,
    arrays: Mapping[str, np.ndarray],
    tokens: Sequence[Sequence[str]],
    scale: tuple[float, float] | None,
    shown: _Shown,
) -> Sighting:
    """One example: example number `row`, which stands at `at` in what was measured."""
    dataset, classes = shown.dataset, shown.network.classes
    label = int(dataset.labels[row]) if dataset.labels is not None else -1
    answer = int(arrays["answers"][at]) if "answers" in arrays else -1
    example = ExampleRef(
        id=dataset.ids[row],
        label=shown.names[label] if label >= 0 else None,
        answer=classes[answer] if classes is not None and 0 <= answer < len(classes) else None,
        activation=value,
    )
    if dataset.kind == "texts":
        peak = tuple(int(place) for place in arrays["peak"][at]) if "peak" in arrays else ()
        if not (tokens and peak):
            return Sighting(example=example, peak=peak)
        trace = arrays["values"][at][: len(tokens[at])]
        return Sighting(example=replace(example, **around(tokens[at], trace, peak[0])), peak=peak)
    pixels = shown.pixels(row)
    if pixels is None:
        return Sighting(example=example, peak=tuple(int(p) for p in arrays["peak"][at]) if "peak" in arrays else ())
    example = replace(example, image=shown.whole(row, pixels))
    return shown.drawing.sighting(item.alias, example, pixels, arrays, at, scale)


def _on_regions(top: Sequence[Sighting], through: str, network: Network) -> list[str]:
    """What a reader must know of the regions of the strongest examples."""
    taken = network.input
    if not isinstance(taken, ImageInput) or not top:
        return []
    if through:
        return [f"It has no places of its own: its heat maps show what each place of {through} adds to it."]
    if not any(sighting.peak for sighting in top):
        return ["It has no places, so no region is outlined."]
    whole = (0, 0, taken.size[1], taken.size[0])
    if all(sighting.box is None for sighting in top):
        return ["No gradient reaches the pixels from its peaks: what it sees there is not outlined."]
    if all(sighting.box in (whole, None) for sighting in top):
        return ["It sees the whole picture: the picture is no larger than its receptive field, so nothing is cropped."]
    return []


def _in_words(share: Quantity) -> str:
    return f"{share.value:.3g} [{share.low:.3g}, {share.high:.3g}], n = {share.n}"
