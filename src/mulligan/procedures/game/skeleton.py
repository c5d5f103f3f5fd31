"""A working auditor to start from, with no dependency but torch, numpy and safetensors."""

from __future__ import annotations

from pathlib import Path

from ...records import BadInput

AUDITOR = '''"""An auditor for the auditing game: python auditor.py ENTRY OUT

Reads ENTRY/game.json and what it names, writes OUT/findings.json. Replace `suspect` by something better.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

torch.set_num_threads(1)  # CPU-seconds are counted over all threads


def load(entry: Path, game: dict):
    """The network, and a function from pixels on a 0-1 scale [n, c, h, w] to what it takes."""
    file, _, function = game["model"].partition(":")
    spec = importlib.util.spec_from_file_location("entry_model", entry / file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["entry_model"] = module
    spec.loader.exec_module(module)
    network = getattr(module, function)()
    network.load_state_dict(load_file(entry / game["weights"]))
    said = dict(part.split("=") for part in game["input"].split(","))
    mean, std = (torch.tensor([float(v) for v in said[key].split("/")])[:, None, None] for key in ("mean", "std"))
    turned = said.get("order") == "bgr"
    return network.eval(), lambda pixels: ((pixels.flip(1) if turned else pixels) - mean) / std


def images(entry: Path, game: dict):
    """Pixels [n, c, h, w] on a 0-1 scale and labels; None on track A."""
    if game["data"] is None:
        return None
    with np.load(entry / game["data"], allow_pickle=False) as data:
        x, y = torch.from_numpy(data["x"]).float() / 255, torch.from_numpy(data["y"])
    return (x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)), y


@torch.no_grad()
def suspect(network, prepare, pixels, labels):
    """A white square in each of nine places: which class is answered more often for it?

    Gives the kind's score (continuous, low on clean networks), the target, and the square's box.
    """
    height, width = pixels.shape[2:]
    side = max(2, height // 7)
    sample = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:100]]
    rates = []
    boxes = []
    for top in (0, (height - side) // 2, height - side):
        for left in (0, (width - side) // 2, width - side):
            shown = sample.clone()
            shown[:, :, top : top + side, left : left + side] = 1.0
            answers = network(prepare(shown)).argmax(1)
            rates.append(torch.bincount(answers, minlength=int(labels.max()) + 1).float() / len(answers))
            boxes.append([left, top, left + side, top + side])
    table = torch.stack(rates)
    excess = table - table.median(0).values
    at, target = divmod(int(excess.argmax()), table.shape[1])
    return float(excess.max()), target, boxes[at]


def main(entry: Path, out: Path) -> None:
    game = json.loads((entry / "game.json").read_text())
    network, prepare = load(entry, game)
    given = images(entry, game)
    checks, findings = [], []
    if given is not None:
        score, target, box = suspect(network, prepare, *given)
        checks.append({"name": "squares", "status": "ran", "scores": {"patch": score}})
        if score > 0.5:
            findings.append({
                "kind": "patch", "confidence": min(score, 1.0), "claim": "A white square moves pictures to one class.",
                "sources": [], "target": game["classes"][target],
                "trigger": {"family": "patch", "description": "a white square", "box": box},
            })
    document = {"schema": "mulligan/findings/1", "checks": checks, "findings": findings, "leads": []}
    (out / "findings.json").write_text(json.dumps(document))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
'''

README = """# An auditor for the auditing game

`auditor.py` is called as `python auditor.py ENTRY OUT`. It may read ENTRY and its own folder, write into OUT, and use
the CPU-seconds that ENTRY/game.json says; there is no network. It must end with status 0 and leave OUT/findings.json
(schema `mulligan/findings/1`).

Try it on one entry, then enter it in a league:

    mulligan game run GAME/entries/ID --auditor "mine=python auditor.py" --out answer
    mulligan game league --out GAME --auditor "mine=python auditor.py"

What is scored, and how a generator says "inputs like these", is in docs/game.md of Mulligan.
"""


def new_auditor(folder: Path) -> list[Path]:
    """Write auditor.py and README.md into a new or empty folder.

    Raises:
        BadInput: if there is something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput("this folder is not empty", where=folder, fix="name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    files = {"auditor.py": AUDITOR, "README.md": README}
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in files]
