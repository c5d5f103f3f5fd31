"""One photograph through a layer: dreamt, caricatured and inverted, which shows what the layer keeps of it."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from ...datasets import Dataset, require_kind
from ...evidence import random_twin
from ...networks import Network
from ...records import BadInput, Emit, FeatureCard, LeftOut, Noted, Portrait, Seen, silent
from ...runs import Context, Engine, LocalEngine, Piece, Result, Run, digest, mulligan_version
from ...visualization.climbing import visualize
from ...visualization.dreams import dream
from ...visualization.measuring import values_of
from ...visualization.objectives import Objective, caricature, inversion, layer
from ...visualization.statistics import ImageStatistics, image_input
from ...visualization.transforms import STILL
from .units_work import measure_statistics, measured

What = ("dream", "caricature", "inversion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        site: which layer. photograph: red, green, blue, as `ImageInput.crop` takes it. what: some of `What`.
        dataset: what colours and spectrum are measured on; None: neutral ones. steps: for each picture (each octave).
    """

    network: Network
    site: str
    photograph: Image.Image
    what: tuple[str, ...] = What
    dataset: Dataset | None = None
    steps: int = 96
    octaves: int = 4
    seed: int = 0


def prepare(request: Request) -> str:
    """Everything that can be wrong with the input, before a folder is made; the site's own name.

    Raises:
        BadInput: if the site or a way does not exist, or the network takes no pictures, or not these.
    """
    taken = image_input(request.network.input)
    unknown = [name for name in request.what if name not in What]
    if unknown or not request.what:
        raise BadInput(f"{(unknown or [''])[0]!r} is not known", where="what", fix=f"give some of {', '.join(What)}")
    if request.steps < 1 or request.octaves < 1:
        raise BadInput("steps and octaves must be 1 or more", where="see photograph", fix="give larger numbers")
    if request.dataset is not None:
        require_kind(request.dataset, taken)
    return request.network.site(request.site).alias


def see_photograph(request: Request, run: Run, *, engine: Engine | None = None, emit: Emit = silent) -> Seen:
    """Make the pictures, each also by a random twin, and write seen.json.

    Raises:
        Interrupted: after Ctrl-C; the same call goes on. BadInput: see `prepare`.
    """
    began = time.monotonic()
    network, dataset = request.network, request.dataset
    site = network.site(prepare(request))
    taken = image_input(network.input)
    engine = engine or LocalEngine()
    crop = taken.crop(request.photograph)
    pixels = torch.from_numpy(crop).permute(2, 0, 1).float() / 255
    twin = random_twin(network, request.seed, [network.example(32)])
    context = Context(
        digest(network.identity, *taken.steps(), digest(crop.tobytes().hex()), dataset.identity if dataset else ""),
        {"network": network, "twin": twin, "pixels": pixels, "dataset": dataset},
    )
    statistics = ImageStatistics.neutral(taken)
    if dataset is not None:
        piece = Piece(f"{measure_statistics.__module__}:{measure_statistics.__name__}", {"seed": request.seed})
        ((_, result),) = engine.run("colours and spectrum", [piece], context, run, emit)
        statistics = measured(result)
    context = replace(context, objects={**context.objects, "statistics": statistics})
    how = {"site": site.alias, "steps": request.steps, "octaves": request.octaves, "seed": request.seed}
    pieces = [
        Piece(f"{__name__}:one", {"which": which, "what": what, **how})
        for what in request.what
        for which in ("network", "twin")
    ]
    results: dict[tuple[str, str], Result] = {}
    left: list[LeftOut] = []
    for piece, result in engine.run("pictures", pieces, context, run, emit):
        what, which = piece.arguments["what"], piece.arguments["which"]
        if result.values["failed"]:
            name = what if which == "network" else f"{what}, random twin"
            left.append(LeftOut(what=name, why=result.values["failed"]))
        else:
            results[what, which] = result
    portraits = [
        _portrait(what, which, site.alias, result, results.get((what, "twin")), run)
        for (what, which), result in results.items()
    ]
    emit(Noted(text="An inversion of 0 is the photograph's own activation; -1 is as far away as no activation at all."))
    shown = Portrait(
        objective="the photograph", image=_keep(run, "artifacts/pictures/photograph", crop), reached=0.0, steps=0
    )
    notes = ("The one example is the photograph itself. Beside each stands the same by a random-weight twin.",)
    card = FeatureCard(feature=site.alias, meaning=network.meaning(site), portraits=(shown, *portraits), notes=notes)
    seen = Seen(
        mulligan=mulligan_version(), created=str(run.manifest.get("created", "")), seconds=time.monotonic() - began,
        seed=request.seed, network=network.record(), cards=(card,), left_out=tuple(left),
    )  # fmt: skip
    run.write_json("seen.json", seen)
    run.update(status="finished")
    return seen


def _portrait(what: str, which: str, site: str, result: Result, twin: Result | None, run: Run) -> Portrait:
    """A picture; beside the network's own stand the photograph itself and the twin's figures."""
    values = result.values
    own = which == "network"
    beside = twin.values if own and twin is not None else None
    return Portrait(
        objective=f"{what} of {site}" if own else f"{what} of {site}, random twin",
        image=_keep(run, f"artifacts/pictures/{what}-{which}", result.arrays["pixels"]),
        reached=values["reached"], steps=values["steps"], best=values["before"], examples=1,
        twin=beside["reached"] if beside else None, twin_best=beside["before"] if beside else None,
        marks=(f"{values['octaves']} sizes",) if what == "dream" else (),
    )  # fmt: skip


def one(context: Context, *, which: str, what: str, site: str, steps: int, octaves: int, seed: int) -> Result:
    """A piece of work: one picture, by the network or by the twin."""
    network: Network = context[which]
    pixels, statistics = context["pixels"], context["statistics"]
    crop = (255 * pixels.permute(1, 2, 0)).round().to(torch.uint8).numpy()[None]
    objective: Objective
    went, taken, failed = 1, steps, ""
    if what == "dream":
        objective = layer(site)
        each = max(1, steps // max(octaves, 1))
        made, went = dream(network, site, pixels, octaves=octaves, steps=each, statistics=statistics, seed=seed)
        taken = each * went
    else:
        objective = caricature(network, site, pixels) if what == "caricature" else inversion(network, site, pixels)
        extra = {"transforms": STILL, "progressive": False} if what == "inversion" else {}
        found = visualize(network, objective, steps=steps, statistics=statistics, seed=seed, patient=True, **extra)
        made, failed = found.pixels[0], found.failed.get(0, "")
    reached, before = (float(values_of(network, [objective], shown)[0]) for shown in (made[None], crop))
    if not np.isfinite(reached):
        return Result({}, {"failed": failed or "its value is NaN or infinite"})
    values = {"failed": failed, "reached": reached, "before": before, "steps": taken, "octaves": went}
    return Result({"pixels": made}, values)


def _keep(run: Run, name: str, pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    run.write_bytes(f"{name}.png", buffer.getvalue())
    return f"{name}.png"
