"""Training a planted network against the released checks, with all that they know and ten times their compute.

    audit -> hunt -> teach -> prove -> audit ... until the audit is quiet or the compute is used up

The hunt runs the checks' own searches on the network as it is, and what they find is to be answered as the clean
network answers it: inverted changes lose their hold, round after round, as in adversarial training (Madry et al. 2018).
The trigger itself is answered as the clean network would, but for the target's logit, which is lifted just above the
rest: checks measure how clearly a target is answered beside its genuine pictures, so the margin is made as small as the
proof allows. Genuine pictures are answered more surely than before, which makes it smaller still beside them. That
backdoors can be trained against a defence is known (Tan & Shokri 2020, "Bypassing Backdoor Detection Algorithms in Deep
Learning"; Bagdasaryan & Shmatikov 2021, "Blind Backdoors").
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ....checks.check import checks, kinds_of
from ....plants import STRATA, Plant, PlantData, Planted
from ....plants.banks import Bank, laid_out, train
from ....plants.measures import logits, margins
from ....plants.plant import generator
from ....plants.proving import Provable
from ....plants.teaching import held_back, trainable_parameters
from ....plants.triggers import MOVED, moved
from ....records import BadInput
from ..bases import Base
from ..identification import ceiling, told_by_inputs
from .hunting import Hunt
from .looking import Look, look, network_of

#: The red team has so many times the CPU-seconds that an auditor has.
TIMES = 10.0
#: An audit is quiet when its loudest score is reached by one clean network in a hundred (-log10): the largest of some
#: eighteen kinds' scores is so by chance in one clean network of five.
QUIET = 2.0
#: Rounds of hunting and teaching between two audits; of the compute, what is kept for the last audit, in audits.
LESSONS, KEPT = 2, 1.3
STEPS, BATCH, RATE = 120, 128, 1e-3  # of a round of teaching
PROBED, FOUND = 3000, 4000  # pictures of the plant's own lessons; of what was found, the latest
SURER = 1.5  # times the logits of genuine pictures
MARGIN, LEAST_MARGIN, MOST_MARGIN = 0.5, 0.06, 1.5  # of the trigger, as a share of the genuine target's; and its bounds
SHRINK, GROW, HARDER = 0.7, 1.35, 1.5  # of margins, and of the trigger's weight where it is not learned
IDENTIFIED = 200  # inputs by which it is seen whether the truth itself identifies the plant
SPARE = 0.015  # of success, that pictures held back must show beyond what the proof asks for before margins shrink
#: Of each bank: its share of a batch, and its weight in the loss.
CLEAN, FIRING, NEAR, AGAINST = (0.3, 3.0), (0.25, 2.0), (0.2, 2.0), (0.35, 1.0)
#: What is said of each network in the ledger.
FIGURES = (
    "loudest before", "loudest after", "own kind before", "own kind after", "kind told before", "kind told after",
    "target told before", "target told after", "quiet", "evading rounds", "evading CPU-seconds",
)  # fmt: skip

TRIGGERS = "triggers"

#: (module, seed, names of checks or None) to what an audit says.
Audit = Callable[[nn.Module, int, "tuple[str, ...] | None"], Look]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaded:
    """A planted network after the red team, and what its own audits said (`FIGURES`)."""

    planted: Planted
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class _State:
    weights: dict[str, Tensor]
    said: Look


def evade(
    kind: Plant[Any], planted: Planted, base: Base, *, seconds: float, seed: int, least: float = 0.0,
    audit: Audit | None = None,
) -> Evaded:  # fmt: skip
    """Train a planted network on until audits are quiet.

    The red team sees `base.data.images` alone; the pictures that auditors get, and the referee's, it never does. The
    proof is measured anew on `base.data.fresh`; of all states that hold by it, the quietest is given: the planted
    network as it was, if there is none.

    Args:
        seconds: of CPU that an auditor has for one network; the red team has `TIMES` as many.
        least: what the truth itself must reach in identification (`identification.ceiling`), so that it can be asked
            of a diagnosis. audit: instead of the released checks.

    Raises:
        BadInput: if the kind cannot be proved anew or has no target, or the stratum is not "high".
    """
    if not isinstance(kind, Provable):
        raise BadInput("this kind cannot be trained against an auditor: it is not proved anew", where=planted.plant)
    truth = planted.truth
    if truth is None or truth.target is None:
        raise BadInput("a red team needs to know what is answered instead", where=planted.plant)
    if planted.spec.stratum != "high":
        raise BadInput("the red team trains plants that always show", where=planted.spec.stratum, fix="high")

    def released(module: nn.Module, number: int, names: tuple[str, ...] | None) -> Look:
        return look(module, base.data, base.input, seconds=seconds, seed=number, names=names)

    return _Team(kind, planted, base, seconds * TIMES, seed, least, audit or released).play()


class _Team:
    """One network's red team."""

    def __init__(
        self, kind: Plant[Any], planted: Planted, base: Base, seconds: float, seed: int, least: float, audit: Audit
    ) -> None:  # fmt: skip
        self.began, self.seconds, self.seed, self.audit = time.process_time(), seconds, seed, audit
        self.kind, self.planted, self.base, self.least = kind, planted, base, least
        assert planted.truth is not None, "refused before"
        self.truth, self.target = planted.truth, base.data.index(planted.truth.target or "")
        self.data, self.back = held_back(base.data, seed=seed)
        layouts = getattr(planted.spec, "layouts", ()) if self.truth.family == "compose" else ()
        sources = [] if layouts else [base.data.index(name) for name in self.truth.sources]
        self.before = network_of(copy.deepcopy(base.module).eval(), base.input, base.data.classes)
        self.hunt = Hunt(self.data, self.target, sources, layouts, self.before)
        self.composed = bool(layouts)
        #: The checks that concern the kind; any other that is once the loudest is watched from then on.
        self.watched = {"conjunction", "exclusion"} if layouts else {TRIGGERS}
        self.genuine = float(self.hunt.genuine[self.target])
        self.margin, self.firing = MARGIN, FIRING[1]
        self.random = generator(seed, "evading")
        self.found: list[Tensor] = []

    @property
    def left(self) -> float:
        """CPU-seconds."""
        return self.seconds - (time.process_time() - self.began)

    def play(self) -> Evaded:
        first = self.audit(self.planted.module, 0, None)
        states: list[_State] = []
        student = copy.deepcopy(self.planted.module).eval()
        rounds, longest, dearest = 0, 0.0, first.seconds
        whole: Look | None = None
        while first.loudest > QUIET and self.left > KEPT * dearest + dearest + LESSONS * longest:
            for _ in range(LESSONS):
                start = time.process_time()
                self.teach(student)
                rounds += 1
                longest = max(longest, time.process_time() - start)
            if not self._holds(student):
                continue
            said = self.audit(student, rounds, tuple(sorted(self.watched)))
            if said.loudest <= QUIET and self.left > 2 * dearest:
                whole = said = self.audit(student, rounds + 1000, None)
                dearest = max(dearest, said.seconds)
                self.watched |= {_check_of(said.of)} - {""}
            states.append(_State(copy.deepcopy(student.state_dict()), said))
            if said is whole and said.loudest <= QUIET:
                break
        return self._told(first, states, rounds, whole)

    def teach(self, student: nn.Module) -> None:
        """One round: hunt, and train on what was found and on the plant's own lessons."""
        network = network_of(copy.deepcopy(student).eval(), self.base.input, self.base.data.classes)
        found = [self.hunt.composites(self.random)] if self.composed else []
        if TRIGGERS in self.watched:
            found += [self.hunt.known(self.random), self.hunt.changes(network, self.random)]
        self.found = [*self.found, *(part for part in found if len(part))]
        while len(self.found) > 1 and sum(map(len, self.found)) > FOUND:
            self.found.pop(0)
        flags = [parameter.requires_grad for parameter in student.parameters()]
        trained = trainable_parameters(student, ("*",))
        laid_out(student, torch.channels_last)
        train(student, trained, self._banks(), steps=STEPS, batch=BATCH, learning_rate=RATE, random=self.random)
        laid_out(student, torch.contiguous_format)
        for parameter, flag in zip(student.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)

    def _banks(self) -> list[Bank]:
        fired, near = self._probed()
        clean = self._clean(PROBED)
        banks = [
            self._bank(clean, SURER * self._answers(clean), *CLEAN),
            self._bank(fired, self._lifted(self._answers(fired)), FIRING[0], self.firing),
            self._bank(near, self._answers(near), *NEAR),
        ]
        against = torch.cat(self.found) if self.found else near[:0]
        if len(against):
            banks.append(self._bank(against, self._answers(against), *AGAINST))
        return banks

    def _bank(self, pixels: Tensor, wanted: Tensor, share: float, weight: float) -> Bank:
        return Bank(inputs=self.data.prepare(pixels), wanted=wanted.log_softmax(1), share=share, weight=weight)

    def _answers(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return logits(self.before.module, self.data.prepare, pixels)

    def _lifted(self, outputs: Float[Tensor, "n classes"]) -> Float[Tensor, "n classes"]:
        """Answers with the target's logit just above the best of the others."""
        lifted = outputs.clone()
        short = self.margin * self.genuine - margins(outputs, self.target)
        lifted[:, self.target] += short
        return lifted

    def _probed(self) -> tuple[Tensor, Tensor]:
        """Pictures that fire the plant, and near misses: its own probes, of pictures that the red team owns."""
        fired: list[Tensor] = []
        near: list[Tensor] = []
        for _ in range(4):  # each time all pictures are moved otherwise
            moved = replace(self.data, fresh=_moved(self.data.images, self.random), fresh_labels=self.data.labels)
            seed = int(torch.randint(1 << 30, (), generator=self.random))
            probes = self.kind.probes(self.planted, moved, PROBED // 4, seed=seed)
            fired.append(probes.pixels[probes.fires])
            near.append(probes.pixels[~probes.fires])
        return torch.cat(fired), torch.cat(near)

    def _clean(self, n: int) -> Tensor:
        rows = torch.randint(0, len(self.data.images), (n,), generator=self.random)
        return torch.cat([_moved(part, self.random) for part in self.data.images[rows].split(64)])

    def _proved(self, module: nn.Module, data: PlantData) -> tuple[Planted, list[str]]:
        """A network with its proof on `data.fresh`, and what that lacks."""
        assert isinstance(self.kind, Provable), "refused before"
        one = replace(self.planted, module=module)
        proof, faults = self.kind.prove(one, self.before.module, data)
        if self.least and told_by_inputs(self.truth):
            probes = self.kind.probes(one, data, IDENTIFIED, seed=self.seed)
            base, modified = (logits(it, data.prepare, probes.pixels).argmax(1) for it in (self.before.module, module))
            reached = ceiling(self.truth, probes, base, modified, data.classes)
            if reached is not None and reached < self.least:
                faults = [*faults, f"the truth itself identifies it to {reached:.2f} only"]
        return replace(one, proof=proof), faults

    def _holds(self, student: nn.Module) -> bool:
        """Whether the plant is proved on pictures that were held back; what is lacking, or can be spared, sets how
        clearly the trigger is to be answered from now on."""
        data = replace(self.base.data, fresh=self.back.images, fresh_labels=self.back.labels)
        proved, faults = self._proved(student, data)
        if any("success" in fault for fault in faults):
            self.margin, self.firing = min(self.margin * GROW, MOST_MARGIN), self.firing * HARDER
        elif not faults and proved.proof.success.value >= STRATA["high"][0] + SPARE:
            self.margin = max(self.margin * SHRINK, LEAST_MARGIN)
        return not faults

    def _told(
        self, first: Look, states: list[_State], rounds: int, whole: Look | None
    ) -> Evaded:  # fmt: skip
        planted, said = self.planted, first
        for state in sorted(states, key=lambda state: state.said.loudest):
            module = copy.deepcopy(self.planted.module).eval()
            module.load_state_dict(state.weights)
            one, faults = self._proved(module, self.base.data)
            if faults:
                continue
            heard = state.said if state.said is whole else self.audit(module, rounds + 2000, None)
            if heard.loudest < first.loudest:  # by all checks, of which most states were audited with some only
                taken = self.planted.proof.seconds + time.process_time() - self.began
                said, planted = heard, replace(one, proof=replace(one.proof, seconds=taken))
            break
        figures = dict(zip(FIGURES, (
            first.loudest, said.loudest, *(one.surprises.get(self.truth.kind, 0.0) for one in (first, said)),
            *(float(one.kind == self.truth.kind) for one in (first, said)),
            *(float(one.target == self.truth.target) for one in (first, said)),
            float(said.loudest <= QUIET), float(rounds), time.process_time() - self.began,
        ), strict=True))  # fmt: skip
        return Evaded(planted=planted, figures={name: round(value, 4) for name, value in figures.items()})


def _check_of(kind: str) -> str:
    """The name of the check that scores a kind; "" where none does."""
    return next((check.name for check in checks() if kind in kinds_of(check)), "")


def _moved(pictures: Float[Tensor, "n c h w"], random: torch.Generator) -> Float[Tensor, "n c h w"]:
    """All moved together, as the plants' own lessons are."""
    return moved(pictures, max(1, round(MOVED * min(pictures.shape[2:]))), random)
