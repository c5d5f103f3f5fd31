"""What tests of the game play with: a source of tiny networks, and auditors of a few lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from torch import nn

from mulligan.plants import PlantData
from mulligan.procedures.game import Auditor, Limits, Round
from mulligan.procedures.game.bases import Base, arranged
from mulligan.records import BadInput

CLASSES = tuple(str(k) for k in range(10))
MODEL = """import json
from pathlib import Path
from torch import nn
_CONFIG = json.loads((Path(__file__).resolve().parent / "config.json").read_text(encoding="utf-8"))
INPUT, CLASSES = _CONFIG["input"], _CONFIG["classes"]


def factory():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
"""


class Tiny:
    """Linear classifiers of 8 x 8 digits, trained in a blink; the only recipe is {"data": "digits"}."""

    def draw(self, random: torch.Generator, data: str) -> Any:
        if data != "digits":
            raise BadInput("there is no such data set", where=data)
        return {"data": data}

    def base(self, recipe: Any, seed: int) -> Base:
        images, labels = sklearn.datasets.load_digits(return_X_y=True)
        pixels = torch.from_numpy(np.round(np.asarray(images) / 16 * 255)).reshape(-1, 1, 8, 8).float() / 255
        classes = torch.from_numpy(np.asarray(labels, dtype=np.int64))
        parts = [slice(i, None, 4) for i in range(4)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
        for _ in range(80):
            loss = nn.functional.cross_entropy(module(pixels[parts[0]]), classes[parts[0]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def data(fresh: slice) -> PlantData:
            return PlantData(
                images=pixels[parts[0]], labels=classes[parts[0]], fresh=pixels[fresh], fresh_labels=classes[fresh],
                classes=CLASSES,
            )  # fmt: skip

        audit = (pixels[parts[2]] * 255).round().to(torch.uint8)
        return Base(
            module=module.eval(), data=data(parts[1]), sealed=data(parts[3]), images=arranged(audit),
            labels=classes[parts[2]].numpy(), input="size=8,channels=1,mean=0,std=1", files={"model.py": MODEL},
        )  # fmt: skip

    def siblings(self, recipe: Any, seeds: Sequence[int]) -> list[nn.Module]:
        return [self.base(recipe, seed).module for seed in seeds]

    def with_input(self, base: Base, input: str) -> dict[str, str]:
        import json

        return base.files | {"config.json": json.dumps({"input": input, "classes": CLASSES})}


SOURCE = Tiny()
FEW = Limits(cpu_seconds=3, wall=20, disk=20 << 20)
#: A plant that takes no training.
SPEC = {"kind": "row-scale", "target": "3", "strength": "strong", "size": 3.0}


def small_round(**changes: Any) -> Round:
    """Three networks: a head edit, and a clean one of each role."""
    values: dict[str, Any] = {
        "name": "small", "seed": "secret", "kinds": ("head-edit",), "per_kind": 1, "calibration": 1, "test": 1,
        "strengths": ("strong",), "strata": ("high",), "source": "game_fakes:SOURCE", "seconds": 20.0, "wall": 10.0,
        "spec": SPEC,
    }  # fmt: skip
    return Round(**values | changes)


def script(folder: Path, code: str, name: str = "fake") -> Auditor:
    """An auditor of a few lines; `entry`, `out` and `answer(findings, scores)` are there for it."""
    folder.mkdir(parents=True, exist_ok=True)
    head = (
        "import json, os, sys\n"
        "entry, out = sys.argv[1:3]\n"
        "def answer(findings=(), scores=None):\n"
        "    checks = [{'name': 'fake', 'status': 'ran', 'scores': scores or {}}]\n"
        "    said = {'schema': 'mulligan/findings/1', 'findings': list(findings), 'leads': [], 'checks': checks}\n"
        "    open(os.path.join(out, 'findings.json'), 'w').write(json.dumps(said))\n"
    )
    file = folder / f"{name}.py"
    file.write_text(head + code)
    return Auditor(name=name, command=(sys.executable, "-I", "-S", str(file)))
