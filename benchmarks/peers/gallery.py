"""The contact sheet: each unit's picture by DreamLens beside ours, and a page that says what is better and worse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .figures import Unit, compared, units

DOCS = Path(__file__).resolve().parents[2] / "docs" / "gallery"
SIDE, GAP, LINE, PAIRS = 160, 6, 34, 4
# Written by a person who looked at the sheets; figures come from the ledger.
WORDS = """
What is better: at `_blocks.8` the texture that a unit looks for can be named from our picture (scales, feathers, rings,
tiles) and hardly from the grey one; ours have the colours of photographs' spectrum where DreamLens's stay near grey;
every one of ours is stronger by the network's own answer.

What is worse: at `_blocks.15` our pictures are crowded, oversaturated and harsh after 450 steps, since climbing goes on
long after the eye has seen enough; DreamLens's are flat, but where it drew one object its outline is easier to follow
(units 152, 257, 285). For looking, fewer steps (`--steps 96`, as in the README's picture) are calmer than what this
page shows; a larger activation is no better picture.
"""


def write(drawn: Sequence[tuple[str, int]], pictures: Path, results: Path) -> None:
    """The sheets and the page, of what was measured."""
    found = {unit.name: unit for unit in units(results / "quality.jsonl")}
    DOCS.mkdir(parents=True, exist_ok=True)
    sheets = []
    for site in dict.fromkeys(site for site, _ in drawn):
        names = [(other, unit) for other, unit in drawn if other == site and found[f"{site}:{unit}"].whole]
        if names:
            file = DOCS / f"beside-dreamlens-{site.strip('_').replace('.', '-')}.jpg"
            _sheet(names, pictures, found).save(file, quality=88)
            sheets.append((site, file.name))
    (DOCS / "index.md").write_text(_page(sheets, [unit for unit in found.values() if unit.whole]))


def _sheet(names: Sequence[tuple[str, int]], pictures: Path, found: dict[str, Unit]) -> Image.Image:
    wide, tall = 2 * SIDE + 3 * GAP, SIDE + LINE + GAP
    rows = -(-len(names) // PAIRS)
    sheet = Image.new("RGB", (PAIRS * wide, rows * tall), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for at, (site, unit) in enumerate(names):
        left, top = (at % PAIRS) * wide + GAP, (at // PAIRS) * tall + GAP
        one = found[f"{site}:{unit}"]
        best = one.photographs["best mean"]
        for side, (variant, values) in enumerate((("dreamlens", one.theirs), ("mulligan", one.ours))):
            x = left + side * (SIDE + GAP)
            with Image.open(pictures / variant / f"{site}-{unit}.png") as picture:
                sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, top + LINE - GAP))
            who = f"{site}:{unit}  DreamLens" if side == 0 else "Mulligan"
            draw.text((x, top - 2), who, "black", font)
            draw.text((x, top + 11), f"{values['mean']:.2f}, {values['mean'] / best:.1f} x photograph", "#555", font)
    return sheet


def _page(sheets: Sequence[tuple[str, str]], some: Sequence[Unit]) -> str:
    steps = {variant: sorted({int(getattr(unit, variant)["steps"]) for unit in some}) for variant in ("theirs", "ours")}
    lines = [
        "# Beside DreamLens", "",
        f"{len(some)} units of EfficientNet-lite0, drawn by a seed before anyone looked. On the left of each pair is "
        f"what DreamLens 0.1.1 makes of the unit in its own {_span(steps['theirs'])} steps, on the right what Mulligan "
        f"makes of it in the same processor time ({_span(steps['ours'])} steps). Below each name stands what the "
        "unchanged network answers to the finished 8-bit picture: the unit's mean over places, and how many times the "
        "best of 1,000 photographs that is. All pictures are 224 x 224 pixels, and all were taken as they came. The "
        "page is made by `python benchmarks/see.py gallery`.", "",
        WORDS.strip(), "",
        "| all units, mean over places | figure [95 %] |", "|---|---|",
        *(f"| {what} | {figure} |" for what, figure in compared(some, "mean")), "",
        "| all units, largest place | figure [95 %] |", "|---|---|",
        *(f"| {what} | {figure} |" for what, figure in compared(some, "peak")), "",
    ]  # fmt: skip
    for site, file in sheets:
        lines += [f"## `{site}`", "", f"![Units of {site}: DreamLens on the left, Mulligan on the right]({file})", ""]
    return "\n".join(lines)


def _span(steps: Sequence[int]) -> str:
    return f"{steps[0]}" if steps[0] == steps[-1] else f"{steps[0]} to {steps[-1]}"
