"""The auditing game: planted and clean networks, four auditors, one ledger a round.

    python benchmarks/game.py headline-3 [--workers 2] [--limit N] [--auditors mulligan,black-box] [--kinds a,b]
    python benchmarks/game.py headline-3 --roles calibration --auditors mulligan
    python benchmarks/game.py headline-3 --make-only  # networks, and no audits
    python benchmarks/game.py headline-3 --left-out  # each planted network by an auditor that does not know its kind
    python benchmarks/game.py headline-3 --roles plant --limit 11 --auditors mulligan:seed=1,mulligan:seed=2
    python benchmarks/game.py write-bank  # the calibration networks to src/mulligan/checks/bank.json

A round's ledger is committed under results/game/; what it has is not done again, also on another machine, where its
networks are made anew from the round's seed. `write_results.py` makes the tables.
"""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import platformdirs
from rich.console import Console

from mulligan.apps.progress import ProgressBars
from mulligan.checks.bank import BANK, Bank
from mulligan.plants import plants
from mulligan.procedures.game import Auditor, Round, run_round
from mulligan.procedures.game.entries import Role
from mulligan.procedures.game.ledger import Ledger, Line
from mulligan.procedures.game.rounds import open_round

RESULTS = Path(__file__).parent / "results" / "game"
CHECKS = Path(__file__).parent.parent / "src" / "mulligan" / "checks"
EVERY = ("digits", "fashion-mnist", "cifar-10")
#: Networks of a cell, and the rounds that are cells: the others are run whole.
SAMPLE, CELLS = 24, ("weights-only", "siblings", "reference")

#: `bank` calibrates what ships and is what checks were tuned beside; no other round shares a seed with it.
HEADLINE = Round(
    name="headline", seed="0c8fa30199187478", data=EVERY, per_kind=9, calibration=99, test=60, track="B", seconds=60.0,
    wall=12.0,
)
ROUNDS = {
    "bank": replace(
        HEADLINE, name="bank", seed="d0fff75cf61d6682", per_kind=1, calibration=30, test=0, data=("digits",)
    ),
    # Two kinds that had just been seen to work on one network each, tried again on networks that nothing was tuned on.
    "second-look": replace(
        HEADLINE, name="second-look", seed="second-look-1", kinds=("patch", "conjunction"), strata=("high",),
        per_kind=3, calibration=0, test=8, data=("digits",),
    ),
    "headline": HEADLINE,
    # The checks were changed after 33 planted networks of the headline had been looked at. The same clean networks, of
    # which the 60 of the test took no part in that, and planted ones that had not been made by then.
    "headline-2": replace(HEADLINE, name="headline-2", first=9),
    # The ladder and the checks were mended once more, by the planted networks of all rounds before and their
    # calibration networks. The same clean networks again, and planted ones that had not been made by then.
    "headline-3": replace(HEADLINE, name="headline-3", first=18, per_kind=3),
    # Plants that were trained against the checks as they then were, with ten times their compute. The clean networks
    # are another round's: what the auditor said of those calibrates it here.
    "evasive": replace(
        HEADLINE, name="evasive", seed="5e0c77a1b94f2d36", evasive=True, strata=("high",), per_kind=3, calibration=0,
        test=0, kinds=("patch", "blend", "filter", "natural-object", "conjunction", "exclusion"),
    ),
    "weights-only": replace(HEADLINE, name="weights-only", seed="b8f33ed895838ecc", track="A"),
    "siblings": replace(HEADLINE, name="siblings", seed="7fb5da6e4d669202", track="C"),
    "reference": replace(HEADLINE, name="reference", seed="3024db8dc95b2fba", track="D"),
}


#: Rounds that begin with the clean networks of another, and what auditors said of them that have not changed since.
BEGUN_FROM = {
    "headline-2": ("headline", ("black-box", "random", "prior")), "headline-3": ("headline-2", ("random", "prior")),
    "evasive": ("headline-3", ("mulligan", "black-box", "random", "prior")),
}  # fmt: skip


def main() -> None:
    """Run what the ledger lacks, or write the bank."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("round", choices=[*ROUNDS, "write-bank"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--kinds")
    parser.add_argument("--make-only", action="store_true")
    parser.add_argument("--left-out", action="store_true")
    parser.add_argument("--roles")
    parser.add_argument("--auditors", default="mulligan,black-box,random,prior")
    options = parser.parse_args()
    if options.round == "write-bank":
        write_bank(Ledger(RESULTS / "headline-3.jsonl").lines())
        return
    round = ROUNDS[options.round]
    game, kept = folder(round.name), RESULTS / f"{round.name}.jsonl"
    ledger = Ledger(game / "ledger.jsonl")
    if kept.exists() and len(ledger.lines()) < len(Ledger(kept).lines()):
        game.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, ledger.path)
    elif round.name in BEGUN_FROM and not ledger.lines():
        begin_from(*BEGUN_FROM[round.name], game, round)
    wanted = options.kinds.split(",") if options.kinds else None
    roles: list[Role] | None = options.roles.split(",") if options.roles else None
    runs: list[tuple[list[str], list[str] | None]] = [(options.auditors.split(","), wanted)]
    if options.make_only:
        runs = [([], wanted)]
    elif options.left_out:
        runs = [([f"mulligan:without={kind}"], [kind]) for kind in wanted or round.kinds or sorted(plants())]
        roles = ["plant"]
    limit = options.limit if options.limit is not None or round.name not in CELLS else SAMPLE
    try:
        with ProgressBars(Console(stderr=True)) as emit:
            for names, kinds in runs:
                run_round(
                    game, round, [Auditor.parse(name) for name in names], workers=options.workers, limit=limit,
                    emit=emit, only=kinds, roles=roles,
                )  # fmt: skip
    finally:
        if ledger.path.exists():
            RESULTS.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ledger.path, kept)


def folder(name: str) -> Path:
    """Where a round's networks lie: outside the repository, since they can be made again."""
    root = os.environ.get("MULLIGAN_CACHE") or platformdirs.user_cache_dir("mulligan")
    return Path(root) / "games" / name


def begin_from(earlier: str, unchanged: tuple[str, ...], game: Path, round: Round) -> None:
    """A ledger that begins with the clean networks of an earlier round: of the same seed, or, for a round that has none
    of its own, of any."""
    lines = Ledger(RESULTS / f"{earlier}.jsonl").lines()
    clean = {line["id"] for line in lines if line.get("step") == "network" and line["role"] != "plant"}
    ledger = open_round(game, round)
    for line in lines[1:]:
        if line["id"] in clean and (line["step"] == "network" or line["auditor"] in unchanged):
            ledger.add(line)
    for part in ("entries", "sealed") if round.calibration or round.test else ():
        for id in sorted(clean):
            if (folder(earlier) / part / id).is_dir():
                shutil.copytree(folder(earlier) / part / id, game / part / id, dirs_exist_ok=True)


def write_bank(lines: list[Line]) -> None:
    """The scores of a round's calibration networks, as they ship."""
    clean = {line["id"] for line in lines if line.get("step") == "network" and line["role"] == "calibration"}
    scores: dict[str, list[float]] = {}
    for line in lines:
        if line.get("step") == "score" and line["auditor"] == "mulligan" and line["id"] in clean:
            for kind, score in line["scores"].items():
                scores.setdefault(kind, []).append(score)
    number = max((len(found) for found in scores.values()), default=0)
    data = ", ".join(lines[0]["round"]["data"]) if lines else ""
    about = f"{number} clean networks of the auditing game: small CNNs on {data}"
    bank = Bank(about=about, scores={kind: sorted(found) for kind, found in sorted(scores.items())})
    (CHECKS / BANK).write_bytes(msgspec.json.format(msgspec.json.encode(bank), indent=1) + b"\n")
    print(f"{CHECKS / BANK}: {about}, {len(scores)} kinds")


if __name__ == "__main__":
    main()
