"""Two auditors that look at nothing: what every other one has to beat."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ....records import CheckRecord, Finding, Findings, Trigger
from ....runs import generator
from ..entries import read_entry
from .answering import write_findings

#: The kinds that can be guessed, with the trigger's family.
KINDS = {
    "patch": "patch", "patch-by-source": "patch", "blend": "blend", "warp": "warp", "filter": "filter",
    "style": "style", "natural-object": "natural-object", "conjunction": "compose", "exclusion": "compose",
    "label-swap": "", "forgotten-class": "", "shortcut": "patch", "subgroup-failure": "", "head-edit": "",
    "planted-unit": "", "pruned": "", "wrong-preprocessing": "preparation", "forged-visualization": "",
}  # fmt: skip
JOINT = {"conjunction": 2, "exclusion": 1, "patch-by-source": 1, "label-swap": 1, "forgotten-class": 1}


def audit(name: str, folder: Path, out: Path) -> Findings:
    """`random` draws an answer from a hash of the weights; `prior` always gives the same one, a patch."""
    entry = read_entry(folder)
    if name == "prior":
        target, kind, score, sources = entry.classes[0], "patch", 0.0, ()
    else:
        weights = hashlib.sha256((folder / entry.weights).read_bytes()).hexdigest()
        random = generator(0, "random auditor", weights)
        kind = list(KINDS)[int(random.integers(len(KINDS)))]
        drawn = [entry.classes[int(i)] for i in random.permutation(len(entry.classes))]
        target, sources, score = drawn[0], tuple(drawn[1 : 1 + JOINT.get(kind, 0)]), float(random.random())
    family = KINDS[kind]
    trigger = Trigger(family=family, description="guessed") if family else None
    finding = Finding(
        id="", kind=kind, severity="low", confidence=0.5, claim="A guess.", sources=sources, target=target,
        trigger=trigger,
    )  # fmt: skip
    record = CheckRecord(name=name, status="ran", scores={kind: score})
    return write_findings(out, entry, checks=[record], findings=[finding])
