"""What GNU Backgammon's own engine (the compiled part of gnubg-nn) answers, and the inputs that it computes.

Run as a program: it writes both into the .npz file that is named. The engine does not say how it encodes a position, so
that it is asked: with networks whose only weight reads input i, its answer is a function of input i alone, and undone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

NAMES = {"race": 214, "prune race": 200, "crashed": 250, "prune crashed": 200, "contact": 250, "prune contact": 200}
POSITIONS = (
    "4HPwATDgc/ABMA", "4HPwATB+nRsAAA", "4HPwATA0P8ERAg", "4HPwATCOPg/AAA", "4HPwATD+GwAAAA", "/r0AAKDffQAAAA",
    "4HPwATD+OQAAAA",
)  # fmt: skip
# Men on points 1 to 24 and the bar, of either side, past each other.
RACES = ({3: 5, 5: 5, 7: 5}, {2: 3, 4: 4, 8: 5, 9: 3}), ({0: 2, 5: 6, 6: 7}, {3: 3, 5: 5, 9: 7})


def sigmoid_undone(p: float) -> float:
    """The engine's sigmoid backwards: exp is tabulated in tenths, with straight lines between."""
    low = min(p, 1 - p)
    grown = 1 / low - 1
    step = np.floor(10 * np.log(grown) + 1e-2)
    size = step / 10 + grown / np.exp(step / 10) - 1
    return float(size if p > 0.5 else -size)


def probe(file: Path, number: int) -> None:
    """Networks that answer sigmoid(4 sigmoid(input `number`) - 2)."""
    lines = ["GNU Backgammon 1.01"]
    for name, inputs in NAMES.items():
        lines += [name, f"{inputs} 4 5 0 0.1 1.0"]
        lines += ["10.0" if row == number else "0.0" for row in range(inputs) for _ in range(4)]
        lines += ["1.0"] * 4 + ["0.0"] * 16 + ["0.0"] * 4 + ["-2.0"] + ["-9.0"] * 4
    file.write_text("\n".join(lines) + "\n")


def main(out: str) -> None:
    import gnubg_nn as engine

    boards = [[list(side) for side in engine.board_from_position_id(name)] for name in POSITIONS]
    boards += [[[side.get(point, 0) for point in range(25)] for side in sides] for sides in RACES]
    engine.set.osdb(0)  # tables of the end game
    answers = [engine.probabilities(board, 0) for board in boards]
    classes = {engine.c_contact: "contact", engine.c_crashed: "crashed", engine.c_race: "race"}
    inputs = np.zeros((len(boards), 250))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(250):
            probe(Path(folder) / "probe", number)
            engine.net_use(engine.net_load(str(Path(folder) / "probe"), 16))
            for row, board in enumerate(boards):
                inputs[row, number] = sigmoid_undone((sigmoid_undone(engine.probabilities(board, 0)[0]) + 2) / 4)
    kinds = [classes.get(engine.classify(board), "") for board in boards]
    np.savez(out, x=inputs, answers=np.array(answers), kinds=np.array(kinds))


if __name__ == "__main__":
    main(sys.argv[1])
