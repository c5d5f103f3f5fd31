"""The conjunction check on clean siblings and on planted networks: false alarms, and how many are found exactly.

python benchmarks/conjunction.py [--clean 20] [--planted 6] [--again]

Networks for digits are trained and planted here (and kept under MULLIGAN_CACHE). A plant that fails its own proof is
not
released, and is counted as such. "Exactly" is both sources and the target right, and nothing else found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from measuring import Case, Ledger

from digit_networks import DigitNetworks
from loaded_examples import load_example
from mulligan.checks.conjunction import CHECK
from mulligan.plants import PlantFailed
from mulligan.plants.conjunction import PLANT, ConjunctionSpec

#: The first three are those of the tests, on which the check was tried while it was written; the other three were
#: first planted here. Clean siblings 0 to 4 of an earlier architecture were looked at when the layouts were chosen.
SPECS = [("1", "6", "3"), ("4", "7", "0"), ("2", "9", "5"), ("3", "5", "6"), ("0", "8", "2"), ("1", "9", "8")]


def main() -> None:
    """Measure what the ledger lacks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clean", type=int, default=20)
    parser.add_argument("--planted", type=int, default=len(SPECS))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks = DigitNetworks(load_example("digits"))
    ledger = Ledger("conjunction", "python benchmarks/conjunction.py", options.again)
    case = Case("conjunction check, digits, 16 x 16 px, 449 search and 449 test images", "clean siblings", 1, {})
    if not ledger.has(case, "clean siblings", 0):
        ledger.add(case, "clean siblings", 0, clean(networks, options.clean))
    if not ledger.has(case, "planted networks", 0):
        ledger.add(case, "planted networks", 0, planted(networks, options.planted))


def clean(networks: DigitNetworks, number: int) -> dict[str, tuple[float | None, str]]:
    """False alarms over clean siblings."""
    findings = leads = inconclusive = 0
    for seed in range(number):
        outcome = look(networks, networks.clean(seed))
        findings += bool(outcome.findings)
        leads += bool(outcome.leads)
        inconclusive += not outcome.record.conclusive
        print(f"clean {seed}: {outcome.record.why} {[f.claim for f in outcome.findings]}", flush=True)
    of = f"of {number} networks"
    return {
        "networks with a false finding": (findings, of),
        "networks with a false lead": (leads, of),
        "inconclusive": (inconclusive, of),
    }


def planted(networks: DigitNetworks, number: int) -> dict[str, tuple[float | None, str]]:
    """How many planted conjunctions are found exactly."""
    exact = released = caused = 0
    for seed, (a, b, target) in enumerate(SPECS[:number]):
        try:
            plant = networks.planted(PLANT, ConjunctionSpec(a=a, b=b, target=target), seed)
        except PlantFailed as error:
            print(f"{a} and {b} are {target}: {error}", flush=True)
            continue
        released += 1
        outcome = look(networks, plant.module)
        right = [f for f in outcome.findings if {*f.sources} == {a, b} and f.target == target]
        exact += len(right) == len(outcome.findings) == 1
        caused += bool(right and right[0].causal and right[0].causal.control is not None)
        print(f"{a} and {b} are {target}: {[f.claim for f in outcome.findings]}", flush=True)
    of = f"of {released} networks ({number - released} plants failed their own proof)"
    return {"found exactly": (exact, of), "undone by an edit of the network": (caused, of)}


def look(networks: DigitNetworks, module: torch.nn.Module):
    """Run the check as the audit does."""
    with tempfile.TemporaryDirectory() as folder:
        return CHECK.run(networks.subject(networks.network(module), Path(folder)))


if __name__ == "__main__":
    main()
