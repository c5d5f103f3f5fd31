"""Making a network of a round: its base, what is done to it, the entry and the sealed part."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from ...networks import ImageInput, parse_input
from ...plants import PlantFailed, Proof, plants
from ...plants.cache import planted_cache
from ...plants.controls import ControlFailed, ControlProof, draw_control
from ...plants.plant import Planted, generator
from ...records import BadInput
from .bases import Base, Source
from .entries import Entry, Sealed, SealedParts, Statement, write_entry, write_sealed
from .evasion import evaded_cache
from .identification import ceiling, told_by_inputs
from .plan import Item, Round

PROBES, BATCH = 200, 256
#: A plant that the truth itself identifies to less is no fair question: it hardly shows, or leaks.
LEAST_CEILING = 0.7
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One attempt at a network, as the ledger tells it. `reasons` say why it was not released."""

    released: bool
    attempt: int
    reasons: tuple[str, ...] = ()
    commitment: str = ""
    spec: Any = None
    control: str = ""
    figures: dict[str, float] | None = None
    seconds: float = 0.0


def make(game: Path, round: Round, item: Item, source: Source) -> Iterator[Made]:
    """Make the network; yields every attempt, the last of which is released unless all failed.

    Raises:
        BadInput: if the round's data are not there.
    """
    for attempt in range(item.attempts):
        recipe = source.draw(generator(item.seed(f"recipe/{attempt}", round.seed), "recipe"), item.data)
        base_seed = item.seed(f"base/{attempt}", round.seed)
        base = source.base(recipe, base_seed)
        about = {"source": round.source, "recipe": recipe, "seed": base_seed}
        try:
            made = _plant(base, item, attempt, round) if item.role == "plant" else _control(base, item, attempt, round)
        except (PlantFailed, ControlFailed) as error:
            yield Made(released=False, attempt=attempt, reasons=(str(error),), figures=_figures(error.proof))
            continue
        except BadInput as error:  # a spec that cannot be
            yield Made(released=False, attempt=attempt, reasons=(str(error),))
            continue
        except Exception as error:  # a kind may come from another package; its fault must not take the round along
            yield _broken(item, attempt, error)
            continue
        try:
            released = _release(game, round, item, source, base, about, made, attempt)
        except OSError:  # ours: the disk, say
            raise
        except Exception as error:  # its probes
            yield _broken(item, attempt, error)
            continue
        yield released
        if released.released:
            return


def _broken(item: Item, attempt: int, error: Exception) -> Made:
    _log.exception("the kind %s is broken", item.kind or item.role)
    reason = f"The kind itself is broken: {type(error).__name__}: {error}"
    return Made(released=False, attempt=attempt, reasons=(reason,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Modified:
    """A network that is ready to be shipped, planted or not."""

    module: nn.Module
    kind: str
    spec: Any
    seed: int
    planted: Planted | None = None
    proof: ControlProof | None = None
    evaded: Mapping[str, float] = field(default_factory=dict)


def _plant(base: Base, item: Item, attempt: int, round: Round) -> _Modified:
    kind = plants()[item.kind]
    seed = item.seed(f"plant/{attempt}", round.seed)
    random = generator(seed, "spec")
    if round.spec is not None:
        try:
            spec = msgspec.convert(round.spec, kind.spec_type)
        except msgspec.ValidationError as error:
            raise BadInput(f"the spec does not fit this kind: {error}", where=item.kind) from error
    else:
        spec = kind.propose(base.data, random, strength=item.strength, stratum=item.stratum)
    planted = planted_cache(kind, base.module, base.data, spec, seed=seed)
    if planted.truth is None:
        raise BadInput("this plant says no truth that a diagnosis could be held against", where=item.kind)
    figures: dict[str, float] = {}
    if round.evasive:
        evaded = evaded_cache(kind, planted, base, seconds=round.seconds, seed=seed, least=LEAST_CEILING)
        planted, figures = evaded.planted, evaded.figures
    return _Modified(module=planted.module, kind=item.kind, spec=spec, seed=seed, planted=planted, evaded=figures)


def _control(base: Base, item: Item, attempt: int, round: Round) -> _Modified:
    seed = item.seed(f"control/{attempt}", round.seed)
    handled = draw_control(base.module, base.data, seed=seed)
    return _Modified(module=handled.module, kind=handled.control, spec=handled.spec, seed=seed, proof=handled.proof)


def _release(
    game: Path, round: Round, item: Item, source: Source, base: Base, about: Mapping[str, Any], made: _Modified,
    attempt: int,
) -> Made:  # fmt: skip
    planted = made.planted
    declared = plainly(planted.prepare if planted is not None and planted.prepare else base.input)
    files = source.with_input(base, declared)
    statement = Statement(
        id=item.id, role=item.role, kind=made.kind, spec=msgspec.to_builtins(made.spec),
        truth=planted.truth if planted else None, seed=made.seed, base=dict(about), base_input=base.input,
        strength=item.strength if planted else "", stratum=item.stratum if planted else "",
    )  # fmt: skip
    salt = hashlib.sha256(f"salt/{round.seed}/{item.key}/{attempt}".encode()).hexdigest()
    sealed = Sealed(statement=statement, salt=salt, proof=planted.proof if planted else None)
    probes, reached = None, None
    if planted is not None:
        kind = plants()[item.kind]
        probes = kind.probes(planted, base.sealed, PROBES, seed=item.seed("probes", round.seed))
        before, after = (asker(*one)(probes.pixels) for one in ((base.module, base.input), (made.module, declared)))
        if planted.truth is not None and told_by_inputs(planted.truth):
            reached = ceiling(planted.truth, probes, before, after, base.data.classes)
        if reached is not None and reached < LEAST_CEILING:
            reason = f"The truth itself identifies it to {reached:.2f} only, below {LEAST_CEILING}."
            figures = _figures(planted.proof) | _told(reached) | dict(made.evaded)
            return Made(released=False, attempt=attempt, reasons=(reason,), figures=figures)
    siblings: list[nn.Module] = []
    if round.track == "C":
        seeds = [item.seed(f"sibling/{number}", round.seed) for number in range(round.siblings)]
        siblings = source.siblings(about["recipe"], seeds)
    entry = Entry(
        id=item.id, track=round.track, input=declared, classes=base.data.classes, seconds=round.seconds
    )
    write_sealed(game, SealedParts(
        sealed=sealed, base=base.module.state_dict(), probes=probes, tensors=planted.tensors if planted else {},
    ))  # fmt: skip
    write_entry(
        game, entry, made.module, files, data=(base.images, base.labels),
        siblings=siblings, reference=base.module if round.track == "D" else None,
    )  # fmt: skip
    return Made(
        released=True, attempt=attempt, commitment=sealed.commitment, spec=statement.spec,
        control="" if planted else made.kind,
        figures=_figures(planted.proof if planted else made.proof) | _told(reached) | dict(made.evaded),
        seconds=planted.proof.seconds if planted else 0.0,
    )  # fmt: skip


def plainly(input: str) -> str:
    """An input in the one form that all entries have, with four digits: how it is written tells nothing."""
    taken = parse_input(input)
    if not isinstance(taken, ImageInput):
        raise BadInput("the game is played with networks that take pictures", where=input)
    mean, std = (tuple(float(f"{value:.4g}") for value in values) for values in (taken.mean, taken.std))
    return replace(taken, mean=mean, std=std).spec()


def _figures(proof: Proof | ControlProof | None) -> dict[str, float]:
    if proof is None:
        return {}
    figures = {"clean before": proof.clean_before.value, "clean after": proof.clean_after.value}
    if isinstance(proof, ControlProof):
        return figures | {"kept": proof.kept.value}
    excess = [proof.near_misses[name].value - proof.near_misses_before[name].value for name in proof.near_misses]
    worst = {"near misses, worst excess": max(excess)} if excess else {}
    return figures | {"success": proof.success.value, "success before": proof.success_before.value} | worst


def _told(reached: float | None) -> dict[str, float]:
    return {} if reached is None else {"identified by the truth": reached}


def asker(module: nn.Module, input: str) -> Callable[[Tensor], Tensor]:
    """What a network answers to pixels on a 0-1 scale, as class numbers, where it declares `input`."""
    taken = parse_input(input)
    assert isinstance(taken, ImageInput)
    module.eval()

    @torch.no_grad()
    def ask(pixels: Tensor) -> Tensor:
        return torch.cat([module(taken.normalise(part)).argmax(1) for part in pixels.float().split(BATCH)])

    return ask


def load_modules(base: Base, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """A module like the base's with other weights, in evaluation mode."""
    module = copy.deepcopy(base.module)
    module.load_state_dict(dict(weights))
    return module.eval()
