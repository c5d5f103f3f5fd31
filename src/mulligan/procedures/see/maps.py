"""Maps of a network's layers: the same examples at each, aligned, beside a random-weight twin's.

    examples chosen -> means of activations, of the network and a twin -> a map a layer, each from the one before
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np

from ...activations import Plan, Recording, pool_name, record
from ...datasets import Dataset, batches, require_kind
from ...evidence import bootstrap, random_twin
from ...features import class_groups
from ...networks import ImageInput, Network, spread, trunk
from ...records import BadInput, Beside, DataRecord, Emit, ExampleRef, LeftOut, Maps, Quantity, Site, SiteMap, silent
from ...runs import Context, Engine, LocalEngine, Piece, Run, derived_seed, digest, generator, mulligan_version
from ...visualization.atlas.trust import MOST, trust
from ...visualization.heat import encoded, is_photograph, small
from ...visualization.maps import FEWEST, moved, shown_at

INDEX = "maps.json"
_SITES = 6
_MANY = 12  # classes: more are put into groups
_GROUPS = 10
_THUMBNAIL = 72
MOVED = "distance from where an example lay one map before (1: the spread of that map), median"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapsRequest:
    """What is asked for.

    Attributes:
        sites: aliases or globs; None: six blocks, spread evenly. examples: that the maps are made of, at most.
        shown: how many of these are drawn.
    """

    network: Network
    dataset: Dataset
    sites: tuple[str, ...] | None = None
    examples: int = MOST
    shown: int = 300
    seed: int = 0


def prepare_maps(request: MapsRequest) -> list[Site]:
    """Everything that can be wrong with the input, before a folder is made: returns the sites.

    Raises:
        BadInput: if network and data do not fit, a site does not exist or has no units, or there are too few examples.
    """
    network, dataset = request.network, request.dataset
    if network.input is None:
        raise BadInput("this network does not say what it takes", where=network.name, fix="pass --input")
    require_kind(dataset, network.input)
    n = min(len(dataset), request.examples)
    if n < FEWEST:
        raise BadInput(
            f"maps of {n} examples would show nothing: {FEWEST} are the fewest",
            where=dataset.source,
            fix="give more data, or a higher --examples",
        )
    if request.examples > MOST:
        raise BadInput(
            f"maps are compared by all pairs of examples, and {request.examples} are too many",
            where="examples",
            fix=f"give at most {MOST}",
        )
    sites = spread(trunk(network), _SITES) if request.sites is None else network.sites(request.sites)
    for site in sites:
        site.unit_axis  # noqa: B018, raises
    return sites


def make_maps(
    request: MapsRequest, run: Run, *, engine: Engine | None = None, emit: Emit = silent
) -> Maps:
    """Make the maps in `run`; returns what maps.json says.

    Raises:
        BadInput: as `prepare_maps` does. Interrupted: after Ctrl-C; the same call goes on.
    """
    began = time.monotonic()
    sites = prepare_maps(request)
    network, engine = request.network, engine or LocalEngine()
    random = generator(request.seed, "maps", "examples")
    rows = np.sort(random.permutation(len(request.dataset))[: request.examples])
    dataset = request.dataset.subset(rows)
    plan = Plan(tuple(site.alias for site in sites), ("mean",), answers=network.task == "classification")
    recording = record(network, dataset, plan, run, engine=engine, emit=emit, job="activations")
    assert network.input is not None, "it was looked"
    settled = batches(dataset, network.input, list(range(min(len(dataset), 64))), 64)
    twin = random_twin(network, request.seed, ((group.x, group.mask) for group in settled))
    twin_plan = replace(plan, answers=False)
    index = "tables/twin.parquet"
    twins = record(twin, dataset, twin_plan, run, engine=engine, emit=emit, job="random twin", index=index)
    planes, scores = _lay(request, run, engine, emit, sites, recording, "maps")
    twin_planes, twin_scores = _lay(request, run, engine, emit, sites, twins, "maps of the random twin")
    chosen = np.sort(generator(request.seed, "maps", "shown").permutation(len(dataset))[: request.shown])
    groups, group_of = _groups(network, dataset)
    maps = []
    for number, site in enumerate(sites):
        figures = [
            Beside(
                name="neighbours kept", shown=trust(scores[number]),
                controls=(("random twin", trust(twin_scores[number])),),
            )
        ]  # fmt: skip
        if number:
            figures.append(
                Beside(
                    name="moved since the map before",
                    shown=_moved(planes[number - 1 : number + 1], request.seed),
                    controls=(("random twin", _moved(twin_planes[number - 1 : number + 1], request.seed)),),
                )
            )
        points = shown_at(planes[number])[chosen]
        maps.append(
            SiteMap(
                site=site.alias, meaning=network.meaning(site), units=site.units,
                points=tuple((round(float(x), 4), round(float(y), 4)) for x, y in points), figures=tuple(figures),
            )
        )  # fmt: skip
    answers = recording.array("answers").argmax(1) if "answers" in recording.names else None
    gallery, failed = _examples(network, dataset, run, chosen, answers)
    document = Maps(
        mulligan=mulligan_version(), created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - began, seed=request.seed, network=network.record(),
        data=DataRecord(
            source=request.dataset.source, identity=request.dataset.identity, n=len(request.dataset)
        ),
        laid_out=len(dataset), examples=tuple(gallery), groups=groups,
        group_of=tuple(int(group_of[row]) for row in chosen), maps=tuple(maps), left_out=tuple(failed),
        notes=request.dataset.notes,
    )  # fmt: skip
    run.write_json(INDEX, document)
    return document


def _lay(
    request: MapsRequest,
    run: Run,
    engine: Engine,
    emit: Emit,
    sites: Sequence[Site],
    recording: Recording,
    job: str,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A map a site, each from the one before, and each example's trustworthiness there."""
    planes: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    rows = {}
    for site in sites:
        values = recording.array(pool_name(site.alias, "mean"))
        rows[site.alias] = values.reshape(len(values), -1)
    for number, site in enumerate(sites):
        before = planes[-1] if planes else None
        parts = [rows[site.alias].tobytes(), before.tobytes() if before is not None else b""]
        context = Context(digest("maps", *parts), {"rows": rows, "before": before})
        seed = derived_seed(request.seed, "maps", number)
        piece = Piece("mulligan.visualization.maps:map_of", {"site": site.alias, "seed": seed})
        ((_, result),) = engine.run(f"{job}, {site.alias}", [piece], context, run, emit)
        planes.append(result.arrays["plane"])
        scores.append(result.arrays["trust"])
    return planes, scores


def _moved(planes: Sequence[np.ndarray], seed: int) -> Quantity:
    ((before, after),) = pairwise(planes)
    random = generator(seed, "maps", "moved")
    return bootstrap(moved(after, before), MOVED, lambda values: float(np.median(values)), random, repeats=300)


def _groups(network: Network, dataset: Dataset) -> tuple[tuple[str, ...], np.ndarray]:
    """What examples are told apart by: their classes, or where these are many, classes that the head holds alike."""
    labels = dataset.labels if dataset.labels is not None else np.full(len(dataset), -1, dtype=np.int64)
    names = dataset.label_names or network.classes
    there = np.unique(labels[labels >= 0])
    if not len(there):
        return (), labels
    if len(there) <= _MANY:
        group = np.searchsorted(there, labels)
        told = tuple(names[label] if names and label < len(names) else f"class {label}" for label in there.tolist())
        return told, np.where(labels >= 0, group, -1)
    if network.classes is None or names != network.classes:
        return (), np.full(len(labels), -1, dtype=np.int64)
    found = class_groups(network.classes, network.head_weights[0].float().cpu().numpy(), _GROUPS)
    lookup = np.empty(len(network.classes), dtype=np.int64)
    for number, group in enumerate(found):
        lookup[list(group.classes)] = number
    return tuple(group.name for group in found), np.where(labels >= 0, lookup[labels], -1)


def _examples(
    network: Network, dataset: Dataset, run: Run, chosen: np.ndarray, answers: np.ndarray | None
) -> tuple[list[ExampleRef], list[LeftOut]]:
    names = network.classes or dataset.label_names
    found: list[ExampleRef] = []
    failed: list[LeftOut] = []
    for row in chosen.tolist():
        id: str = dataset.ids[int(row)]
        image: str | None = None
        if isinstance(network.input, ImageInput):
            try:
                pixels = network.input.crop(dataset.raw(row))  # type: ignore[arg-type]  # it is a picture: it was run
                data, suffix = encoded(small(pixels, _THUMBNAIL), photograph=is_photograph(pixels))
                image = f"artifacts/examples/{id}{suffix}"
                run.write_bytes(image, data)
            except BadInput as error:
                failed.append(LeftOut(what=f"picture of {id}", why=str(error)))
        label = int(dataset.labels[row]) if dataset.labels is not None else -1
        text = str(dataset.raw(row))[:400] if dataset.kind == "texts" else None
        found.append(
            ExampleRef(
                id=id, label=names[label] if names and 0 <= label < len(names) else None,
                answer=names[int(answers[row])] if names and answers is not None else None, image=image,
                tokens=(text,) if text is not None else None, weights=(0.0,) if text is not None else None,
            )
        )  # fmt: skip
    return found, failed
