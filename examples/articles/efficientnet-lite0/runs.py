"""The runs that the article speaks of: `python runs.py make WORK` computes them, `python runs.py slim WORK` keeps of
them what the article needs.

WORK must hold two folders of pictures: `photographs`, which `python examples/photographs.py WORK/photographs` writes
(CC0 and public domain), and `imagenet-samples`, 1,000 photographs of ImageNet, one a class, which may be used for
research and not be shown. Of runs on the latter nothing is kept that shows a photograph: numbers, and pictures that
were optimized. `make` takes about 40 minutes of one processor; the atlas that is kept here was interrupted when 40 of
its 116 cells were drawn.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
UNITS = " ".join(f"_blocks.{block}:{unit}" for block in (1, 3, 8, 10, 15) for unit in range(4))
OTHER = "size=224,channels=3,mean=0.485/0.456/0.406,std=0.229/0.224/0.225,resize=256,interpolation=bicubic,order=rgb"
#: Run by run: what makes it, and what is kept of it.
COMMANDS = {
    "units": f"see units efficientnet-lite0 {UNITS} 'class tabby' --data imagenet-samples --steps 96 --n 0",
    "examples": f"see examples efficientnet-lite0 {UNITS} 'class tabby' --data photographs --n 3",
    "cat": "see factors efficientnet-lite0 '_swish!1' --data photographs --image chelsea.jpg --output tabby --n 5 "
    "--shown 4 --steps 64",
    "atlas": "see atlas efficientnet-lite0 _blocks.10 --data imagenet-samples --activations 8000 --zooms 5,10 "
    "--draw 125 --steps 64",
    "own": "audit efficientnet-lite0 --data imagenet-samples --checks preprocessing --budget 75s",
    "imagenet_scale": "audit efficientnet-lite0 --data imagenet-samples --checks preprocessing --budget 75s "
    f"--input {OTHER}",
}
#: Runs on photographs that may not be shown.
RESEARCH_ONLY = ("units", "atlas", "own", "imagenet_scale")
NOTE = "Kept for an article: what it does not need was taken out of this run, and photographs that may not be shown."


def make(work: Path) -> None:
    """Compute every run that is not there yet. An audit's status says what it found and is no failure."""
    shutil.copy(HERE / "chelsea.jpg", work)
    for name, command in COMMANDS.items():
        if not (work / name).exists():
            words = [sys.executable, "-m", "mulligan.apps.cli", *shlex.split(command), "--out", name]
            status = subprocess.run(words, cwd=work, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode
            if status not in (0, 1, 3):
                raise SystemExit(f"{name}: mulligan ended with {status}")


def slim(work: Path) -> None:
    """Copy of each run what the article needs to runs/NAME, beside this file."""
    for name in COMMANDS:
        target = HERE / "runs" / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        keep(work / name, target, research_only=name in RESEARCH_ONLY)


def keep(run: Path, target: Path, *, research_only: bool) -> None:
    """A run's documents without what is not needed, and the files that these still refer to."""
    manifest = json.loads((run / "manifest.json").read_bytes())
    write(target / "manifest.json", {**manifest, "slimmed": NOTE})
    for document in ("seen", "factors", "atlas", "findings", "description"):
        source = run / f"{document}.json"
        if source.is_file():
            data = json.loads(source.read_bytes())
            SLIMMED.get(document, lambda data: None)(data)
            if research_only and (shown := list(photographs(data))):
                raise SystemExit(f"{source} would show photographs that may not be shown: {shown[:3]}")
            write(target / source.name, data)
            for path in files(data):
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(run / path, target / path)


def slim_seen(data: dict[str, Any]) -> None:
    for card in data["cards"]:
        card["levels"], card["bottom"] = [], []
    data["notes"].append(NOTE)


def slim_description(data: dict[str, Any]) -> None:
    """Behaviour alone; the pictures of what was answered wrongly are photographs."""
    data["inventory"], data["cards"], data["illusions"] = [], [], []
    data["behaviour"]["errors"] = []
    data["behaviour"]["notes"].append(NOTE)


SLIMMED = {"seen": slim_seen, "description": slim_description}


def photographs(data: Any) -> Iterator[str]:
    """Every picture of an example, however deep: a record with an id, an answer and an image is one."""
    if isinstance(data, dict):
        if {"id", "answer", "image"} <= data.keys() and data["image"] is not None:
            yield str(data["image"])
        if data.get("crop") is not None:
            yield str(data["crop"])
        for value in data.values():
            yield from photographs(value)
    elif isinstance(data, list):
        for value in data:
            yield from photographs(value)


def files(data: Any) -> Iterator[str]:
    """Every file that a document refers to."""
    if isinstance(data, dict):
        for value in data.values():
            yield from files(value)
    elif isinstance(data, list):
        for value in data:
            yield from files(value)
    elif isinstance(data, str) and data.startswith(("artifacts/", "atlas/", "dictionaries/")):
        yield data


def write(path: Path, data: Any) -> None:
    """JSON, indented by one, as Mulligan writes it."""
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("make", "slim"):
        raise SystemExit("usage: python runs.py make|slim WORK")
    {"make": make, "slim": slim}[sys.argv[1]](Path(sys.argv[2]))
