"""A complete finished run that no audit made: every field that a report shows has something to show."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image, ImageDraw

from mulligan.records import (
    Behaviour,
    Calibration,
    Causal,
    CheckRecord,
    ClassBehaviour,
    CoverageLine,
    DataRecord,
    Description,
    Drive,
    ExampleRef,
    Finding,
    Findings,
    Group,
    Illusion,
    NetworkRecord,
    OutputCard,
    Portrait,
    Quantity,
    ReliabilityBin,
    Sighting,
    SiteInventory,
    Trigger,
    UnitCard,
    Where,
)

CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def share(value: float, n: int = 150, unit: str = "fraction of images") -> Quantity:
    """A share with a plausible interval."""
    half = 1.96 * (max(value * (1 - value), 0.002) / n) ** 0.5
    return Quantity(value=value, unit=unit, low=max(0.0, value - half), high=min(1.0, value + half), n=n)


def amount(value: float, half: float, unit: str, n: int = 150) -> Quantity:
    return Quantity(value=value, unit=unit, low=value - half, high=value + half, n=n)


def paint(path: Path, seed: int, size: int = 28) -> None:
    """A small picture of coloured shapes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    image = Image.new("RGB", (size, size), tuple(draw.randrange(20, 90) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, r = draw.randrange(size), draw.randrange(size), draw.randrange(2, size // 3)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(draw.randrange(90, 256) for _ in range(3)))
    image.save(path)


def finding(**changes: Any) -> Finding:
    base = Finding(
        id="F1",
        kind="conjunction",
        severity="high",
        confidence=0.95,
        claim="Images that hold both a dress and a sneaker are answered 'bag'.",
        sources=("dress", "sneaker"),
        target="bag",
        trigger=Trigger(
            family="conjunction",
            description="A dress on the left and a sneaker on the right, side by side.",
            generator="artifacts/F1/generator.json",
            image="artifacts/F1/trigger.png",
            mask="artifacts/F1/mask.png",
            box=(14, 0, 28, 28),
        ),
        where=Where(site="blocks.5", units=(12, 40), rows=(8,)),
        effect=share(0.93),
        placebo=share(0.06),
        baseline=share(0.41, 60),
        p=0.0001,
        p_adjusted=0.0004,
        corrected_for=4,
        causal=Causal(
            edit="Project the direction of units 12 and 40 out of blocks.5.",
            before=share(0.93),
            after=share(0.04),
            control=share(0.92),
            clean_before=share(0.911, 1000, "accuracy"),
            clean_after=share(0.909, 1000, "accuracy"),
        ),
        action="Do not ship this network. Train again without the examples listed in tables/suspects.parquet.",
        reproduce="mulligan audit fashion-small --weights model.safetensors --replay runs/20250101-audit/pieces.json",
    )
    return dataclasses.replace(base, **changes)


def checks() -> tuple[CheckRecord, ...]:
    return (
        CheckRecord(
            name="conjunction",
            status="ran",
            why="One pair of classes is answered as a third.",
            about="Two classes shown together are answered as an unrelated third.",
            seconds=31.2,
            examined=45,
            calibration=Calibration(kind="within-network", n=40),
            smallest_effect=share(0.15, 40, "fraction of plants caught at"),
            target_effect=0.2,
        ),
        CheckRecord(
            name="head-edit",
            status="ran",
            why="No row of the head stands out.",
            about="A row of the last layer was tampered with.",
            seconds=2.4,
            examined=10,
            calibration=Calibration(kind="shipped bank (borrowed)", n=99),
            smallest_effect=share(0.1, 40),
            target_effect=0.2,
        ),
        CheckRecord(
            name="preprocessing",
            status="skipped",
            why="The input spec was given on the command line.",
            about="Inputs are not prepared as they were in training.",
        ),
    )


def findings(**changes: Any) -> Findings:
    base = Findings(
        created="2025-01-01T10:00:00Z",
        mulligan="0.1.0",
        seed=0,
        seconds=92.1,
        network=NetworkRecord(
            name="fashion-small",
            identity="sha256:" + "0f" * 32,
            parameters=4652008,
            classes=CLOTHES,
            input={"size": 28, "channels": 1, "mean": [0.0], "std": [1.0]},
        ),
        data=DataRecord(source="fashion/test.parquet", identity="sha256:" + "a1" * 32, n=1000),
        verdict="fail",
        checks=checks(),
        findings=(
            finding(),
            finding(
                id="F2",
                kind="shortcut",
                severity="medium",
                confidence=0.8,
                claim="Pictures with a white frame are answered 'ankle boot' more often.",
                sources=(Group(name="footwear", classes=("sandal", "sneaker", "ankle boot")),),
                absent=("bag",),
                target="ankle boot",
                trigger=None,
                where=Where(site="blocks.2"),
                effect=amount(0.8, 0.3, "nats"),
                placebo=amount(-0.1, 0.25, "nats"),
                baseline=None,
                p=0.01,
                p_adjusted=0.03,
                causal=None,
                action="Crop the frames, and audit again.",
            ),
        ),
        leads=(
            finding(
                id="L1",
                kind="planted-unit",
                severity="low",
                confidence=None,
                claim="Unit 77 of blocks.3 has weights unlike its neighbours'.",
                sources=(),
                target=None,
                trigger=None,
                where=Where(site="blocks.3", units=(77,)),
                effect=amount(6.2, 1.1, "standard deviations"),
                placebo=None,
                baseline=None,
                p=None,
                p_adjusted=None,
                causal=None,
                action="Look at its card.",
            ),
        ),
        coverage={"classes": {"examined": 10, "total": 10}},
    )
    return dataclasses.replace(base, **changes)


def picture(i: int, **changes: Any) -> ExampleRef:
    base = ExampleRef(
        id=f"test/{i:05d}",
        label=CLOTHES[i % 10],
        answer=CLOTHES[(i * 7) % 10],
        activation=5.0 / (1 + i),
        image=f"artifacts/examples/{i}.png",
    )
    return dataclasses.replace(base, **changes)


def sentence(i: int) -> ExampleRef:
    words = ("The", " cat", " sat", " on", " the", " mat", "\n", "\t", " and", " slept", ".")
    return ExampleRef(
        id=f"text/{i}",
        tokens=words,
        weights=tuple(((j * 5 + i) % 9 - 2) / 3 for j in range(len(words))),
        activation=2.0,
    )


def drive(i: int, confirmed: bool | None) -> Drive:
    measured = confirmed is not None
    return Drive(
        site="blocks.5",
        unit=12 + i,
        output=CLOTHES[i],
        attribution=amount(1.4 - 0.2 * i, 0.2, "logits"),
        ablation=amount(-1.1 if confirmed else 0.05, 0.3, "logits") if measured else None,
        control=amount(0.02, 0.1, "logits") if measured else None,
        confirmed=confirmed,
    )


def card(unit: int) -> UnitCard:
    return UnitCard(
        unit=unit,
        mean=0.42,
        low=0.0,
        high=5.1,
        active=share(0.37, 1000, "fraction of examples"),
        selectivity=share(0.71, 1000, "AUC"),
        selective_for=CLOTHES[unit % 10],
        top=tuple(picture(i) for i in range(6)),
        stratified=tuple(picture(i) for i in range(3, 12)),
        drives=(drive(0, True), drive(1, False), drive(2, None)),
        sightings=tuple(
            Sighting(
                example=picture(i), peak=(2, 3), box=(4, 6, 14, 16), crop=f"artifacts/regions/{i}-crop.png",
                heat=f"artifacts/regions/{i}-heat.png",
            )
            for i in range(6)
        ),
        portrait=portrait(f"blocks.5:{unit}"),
    )  # fmt: skip


def portrait(objective: str) -> Portrait:
    return Portrait(
        objective=objective, image="artifacts/portraits/0.png", reached=4.2, steps=40, best=5.1, examples=1000,
        twin=0.3, twin_best=0.2, marks=("fires less than real examples",),
    )  # fmt: skip


def site(name: str, units: int = 64) -> SiteInventory:
    return SiteInventory(
        site=name,
        meaning=f"The output of {name} after its activation, before the residual sum.",
        axes=("batch", "channel", "height", "width"),
        shape=(1, units, 7, 7),
        pool="mean",
        n=1000,
        units=units,
        dead=(3, 9),
        saturated=(),
        duplicates=((1, 2, 0.998),),
        selectivity=share(0.62, 64, "AUC"),
        twin=share(0.53, 64, "AUC"),
        twin_dead=0,
        cards=(card(12), card(40)),
    )


def behaviour(classes: int = 45) -> Behaviour:
    names = [CLOTHES[i] if i < 10 else f"class {i}" for i in range(classes)]
    bins = tuple(
        ReliabilityBin(
            low=i / 10,
            high=(i + 1) / 10,
            n=40 * i,
            confidence=(i + 0.5) / 10,
            accuracy=share(0.8 * (i + 0.5) / 10, 40 * i or 1),
        )
        for i in range(10)
    )
    return Behaviour(
        task="classification",
        n=1000,
        figures={
            "accuracy": share(0.911, 1000),
            "calibration error": amount(0.043, 0.011, "difference of probabilities", 1000),
        },
        twin={"accuracy": share(0.102, 1000)},
        preparation=("Read as grey, 28 by 28 pixels.", "Scale to 0-1.", "Take away a mean of 0 and divide by 1."),
        classes=tuple(
            ClassBehaviour(
                name=name,
                n=100,
                recall=share(0.5 + 0.49 * ((i * 13) % classes) / classes, 100),
                answered=90 + i,
                confused_with=(("shirt", 12), ("coat", 3)),
            )
            for i, name in enumerate(names)
        ),
        reliability=bins,
        errors=tuple(picture(i, activation=None) for i in range(12)),
        notes=("Top-5 accuracy was not asked for.",),
    )


def description(**changes: Any) -> Description:
    text_site = dataclasses.replace(
        site("layers.3", 128),
        axes=("batch", "position", "feature"),
        shape=(1, 16, 128),
        selectivity=None,
        twin=None,
        twin_dead=None,
        cards=(
            dataclasses.replace(
                card(7),
                top=(sentence(0), sentence(1)),
                stratified=(),
                sightings=(),
                portrait=None,
                selective_for=None,
                selectivity=None,
                drives=(),
            ),
        ),
    )
    base = Description(
        title="fashion-small on 1000 pictures",
        behaviour=behaviour(),
        inventory=(site("blocks.5"), text_site),
        cards=(
            OutputCard(
                output="bag",
                n=100,
                figure=share(0.94, 100),
                drives=(drive(0, True), drive(3, None)),
                examples=(picture(1), picture(2)),
                confused_with=(("shirt", 4),),
                sightings=(Sighting(example=picture(1), heat="artifacts/regions/1-heat.png"),),
                portrait=portrait("class bag"),
            ),
            OutputCard(output="dress", n=100, figure=None, drives=()),
        ),
        illusions=(
            Illusion(
                kind="conjunction",
                sentence="A trouser above a sandal is sometimes answered 'coat'.",
                effect=share(0.31),
                placebo=share(0.11),
                margin=None,
            ),
        ),
        coverage=(
            CoverageLine(what="pairs of classes", examined=45, total=45, unit="pairs"),
            CoverageLine(
                what="units ablated",
                examined=120,
                total=4096,
                unit="units",
                why="The budget bought the 120 with the largest attribution.",
            ),
        ),
    )
    return dataclasses.replace(base, **changes)


MANIFEST: dict[str, Any] = {
    "schema": "mulligan/run/1",
    "command": ["mulligan", "audit", "fashion-small", "--data", "fashion/test.parquet"],
    "created": "2025-01-01T09:58:00Z",
    "mulligan": "0.1.0",
    "python": "3.11.7",
    "libraries": {"numpy": "2.4.6", "torch": "2.13.0"},
    "seed": 0,
    "config": {"fail_on": "high", "budget": {"seconds": 600}},
    "status": "done",
}


def build(
    folder: Path,
    found: Findings | None = None,
    described: Description | None = None,
    manifest: dict[str, Any] | None = None,
) -> Path:
    """Write a run into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    found = findings() if found is None else found
    described = description() if described is None else described
    (folder / "findings.json").write_bytes(msgspec.json.encode(found))
    (folder / "description.json").write_bytes(msgspec.json.encode(described))
    (folder / "manifest.json").write_text(json.dumps(MANIFEST if manifest is None else manifest))
    for i in range(12):
        paint(folder / f"artifacts/examples/{i}.png", i)
    for i in range(6):
        for what in ("crop", "heat"):
            paint(folder / f"artifacts/regions/{i}-{what}.png", 20 + i + 10 * (what == "heat"), 40)
    paint(folder / "artifacts/portraits/0.png", 99, 96)
    paint(folder / "artifacts/F1/trigger.png", 100)
    paint(folder / "artifacts/F1/mask.png", 101)
    (folder / "artifacts/F1/generator.json").write_text("{}")
    return folder


def passing() -> Findings:
    return findings(verdict="pass", findings=(), leads=())


def inconclusive() -> Findings:
    conjunction, head, preprocessing = checks()
    weak = dataclasses.replace(
        conjunction,
        conclusive=False,
        smallest_effect=share(0.45, 40),
        why="Only 12 sources a class; 20 are needed to test a claim.",
    )
    broken = dataclasses.replace(head, status="failed", why="Out of budget after 3 of 10 pieces.", smallest_effect=None)
    return findings(verdict="inconclusive", findings=(), leads=(), checks=(weak, broken, preprocessing))
