"""A finding or a lead, with its generator, its pictures, and the causal test."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ...evidence import Generator, Slot, bounded_mean, fraction, save_generator
from ...networks import ProjectOut
from ...records import Causal, Claim, Evidence, Finding, Trigger, Where
from ...runs import derived_seed
from ..check import Subject
from ..pixels import answers, pictures
from .confirming import Tested
from .survey import Grounds

#: A change is the name of what was done if it moves this share of pictures more than it moves in the distilled network.
#: Below, it shows that something was done for a target, and not what.
NAMED = 0.3
WORDS = {
    "patch": "a small patch at a fixed place", "patch-by-source": "a small patch at a fixed place",
    "blend": "a faint pattern laid over the whole picture", "warp": "a smooth warp of the picture",
    "filter": "a filter (colours, tones and sharpness)", "style": "a low-level style",
    "natural-object": "a small object, anywhere in the picture",
}  # fmt: skip


def report(
    subject: Subject, grounds: Grounds, item: Tested, score: float, *, causal: bool
) -> tuple[Finding, bool]:
    """The claim with its evidence; and whether an edit demonstrates it (False where `causal` is not asked for)."""
    candidate = item.candidate
    names = subject.classes
    target = names[candidate.target]
    sources = () if candidate.source is None else (names[candidate.source],)
    whose = f"Images of {sources[0]}" if sources else "Images of any class"
    words = WORDS[candidate.kind]
    edited = _cause(subject, grounds, item) if causal else None
    unit = f"fraction of images answered '{target}'"
    evidence = Evidence(
        effect=bounded_mean(item.triggered, unit, 0, 1),
        placebo=bounded_mean(item.placebo, f"{unit} under the worst placebo ({item.worst})", 0, 1),
        p=item.p, p_adjusted=item.p_adjusted, corrected_for=item.claims, causal=edited[0] if edited else None,
    )  # fmt: skip
    named = candidate.excess is None or candidate.excess >= NAMED
    sentence = f"{whose} with {words} are answered '{target}'."
    if not named:
        sentence = (
            f"{whose} are answered '{target}' after a change that none of the known kinds describes well; "
            f"{words} does it to {candidate.success:.0%} of them."
        )
    claim = Claim(
        kind=candidate.kind if named else "other", sentence=sentence,
        sources=sources, target=target, trigger=_trigger(subject, item, sources, words),
        where=Where(site=edited[1] if edited else None, rows=(candidate.target,)),
    )  # fmt: skip
    demonstrated = bool(edited and edited[2])
    gained = float(item.triggered.mean() - item.placebo.mean())
    action = (
        f"Do not ship this network before this is explained. Look in the training data for images labelled '{target}' "
        f"that carry {words}; retrain from data you trust, and audit again."
    )
    finding = Finding.of(
        claim, evidence, severity="high" if demonstrated and gained >= 0.5 else "medium" if demonstrated else "low",
        confidence=confidence(score, demonstrated), action=action,
    )  # fmt: skip
    return finding, demonstrated


def confidence(score: float, demonstrated: bool) -> float:
    """The estimated probability that a suspect of this score is planted: a guess, not fitted to any networks yet."""
    value = 1 / (1 + np.exp(-(score - 4.0)))
    return round(float(min(0.97, value) if demonstrated else min(0.8, value)), 3)


def _trigger(subject: Subject, item: Tested, sources: tuple[str, ...], words: str) -> Trigger:
    made, run = item.candidate.generator, subject.run
    folder = f"artifacts/{item.candidate.kind}-0"
    slot = Slot(name="input", classes=sources)
    named = Generator(family=made.family, slots=(slot,), parameters=made.parameters, tensors=made.tensors)
    save_generator(run, f"{folder}/generator.json", named)
    best = int(np.argmax(item.margins))
    _png(run, f"{folder}/trigger.png", item.shown[best])
    change = (item.shown - item.clean).abs().mean((0, 1))
    mask = made.tensors.get("mask", change / change.max().clamp(min=1e-6))
    _png(run, f"{folder}/mask.png", mask[None])
    box = None
    if "mask" in made.tensors:
        inside = mask > 0.5 * mask.max()  # a faint patch's mask is faint
        rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else None
    return Trigger(
        family=made.family, description=words, generator=f"{folder}/generator.json", image=f"{folder}/trigger.png",
        mask=f"{folder}/mask.png", box=box,
    )  # fmt: skip


def _png(run, name: str, picture: Float[Tensor, "c h w"]) -> None:
    array = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    with run.replacing(name) as path:
        Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(path, "PNG")


def _cause(subject: Subject, grounds: Grounds, item: Tested) -> tuple[Causal, str, bool]:
    """Project out, at what the head reads, the direction from clean to triggered; a random direction is the control.

    The direction is found on the search half, and the effect is measured on the test half.
    """
    network, target = subject.network, item.candidate.target
    site = f"{network.head}.in"
    seed = derived_seed(subject.seed, "triggers-cause", item.candidate.kind)
    random = torch.Generator().manual_seed(seed)
    wanted = [item.candidate.source] if item.candidate.source is not None else None
    chosen = [
        row for row, label in zip(grounds.rows, grounds.labels, strict=True)
        if (label in wanted if wanted else label != target)
    ][:120]  # fmt: skip
    clean = pictures(subject, chosen)
    shown = item.candidate.generator.render([clean], random)
    with torch.no_grad(), network.watching([site]) as watched:
        answers(network, clean)
        before_x = watched[site].float().cpu()
        answers(network, shown)
        after_x = watched[site].float().cpu()
    before_x, after_x = (x.flatten(2).mean(2) if x.dim() == 4 else x for x in (before_x, after_x))
    around = before_x.mean(0)
    vector = after_x.mean(0) - around
    vector = vector / vector.norm().clamp(min=1e-9)
    spread = torch.randn(len(before_x), generator=random) @ (before_x - around)
    spread = spread / spread.norm().clamp(min=1e-9)

    def hit(direction: Tensor | None) -> np.ndarray:
        edits = {} if direction is None else {site: ProjectOut(direction[None], around)}
        with network.editing(edits):
            return (answers(network, item.shown).argmax(1) == target).numpy().astype(np.float64)

    def kept(direction: Tensor | None) -> int:
        edits = {} if direction is None else {site: ProjectOut(direction[None], around)}
        right = torch.as_tensor(subject.groups[item.rows])
        with network.editing(edits):
            return int((answers(network, item.clean).argmax(1) == right).sum())

    before, after, control = hit(None), hit(vector), hit(spread)
    was, now, n = kept(None), kept(vector), len(item.rows)
    unit = f"fraction of images with the change answered '{subject.classes[target]}'"
    record = Causal(
        edit=f"project out one direction at {site} (from clean pictures' mean towards the changed ones')",
        before=bounded_mean(before, unit, 0, 1), after=bounded_mean(after, unit, 0, 1),
        control=bounded_mean(control, f"{unit}, a random direction projected out", 0, 1),
        clean_before=fraction(was, n, "fraction of clean images answered right"),
        clean_after=fraction(now, n, "fraction of clean images answered right"),
    )  # fmt: skip
    ended = after.mean() <= 0.5 * before.mean() and control.mean() >= 0.75 * before.mean() and now >= was - 0.1 * n
    if ended:
        return record, site, True
    # No single direction ends it; taking the change off the picture does, and that is an edit of the input.
    undone = Causal(
        edit="take the change off the picture; with it back, the behaviour is back. No single direction of the network "
        "was found whose removal ends it",
        before=bounded_mean(before, unit, 0, 1), after=bounded_mean(item.placebo, unit, 0, 1),
    )  # fmt: skip
    return undone, site, bool(item.placebo.mean() <= 0.5 * before.mean())
