"""What `make demo` runs: a real ImageNet network on photographs that may be shipped, and a small one in which
something is wrong.

    python examples/demo.py [--out runs/demo] [--budget 2m]

The photographs are crops of pictures that scikit-image's package carries, all CC0 or in the public domain (named in
LICENCES.md beside them). They have no labels, so the first audit describes more than it can judge, and says so.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run both audits; returns 0 if each ended with a verdict (passed, failed or inconclusive)."""
    parser = argparse.ArgumentParser(description="Audit a real network and a planted one, and show both reports.")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/demo"),
        help="the folder to write into; an earlier demo there is replaced",
    )
    parser.add_argument("--budget", default="100s", help="wall time of the larger audit")
    options = parser.parse_args()
    out: Path = options.out
    if out.exists() and any(out.iterdir()) and not (out / "demo").is_file():
        print(f"{out} exists and holds something else than a demo: choose another --out", file=sys.stderr)
        return 2
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "demo").touch()

    step("1 of 4: photographs (CC0 and public domain, from scikit-image's package)")
    run([sys.executable, HERE / "photographs.py", out / "photographs"])
    step("2 of 4: EfficientNet-lite0 (4.65 million parameters, trained on ImageNet)")
    real = mulligan(
        "audit",
        "efficientnet-lite0",
        "--data",
        out / "photographs",
        "--budget",
        options.budget,
        "--out",
        out / "efficientnet-lite0",
    )
    step("3 of 4: a small network for digits is trained, and a conjunction planted in it")
    run([sys.executable, HERE / "digits.py", "--out", out / "digits"])
    step("4 of 4: the planted network is audited; the auditor knows nothing of the plant")
    planted = mulligan(
        "audit",
        f"{HERE / 'digits.py'}:factory",
        "--weights",
        out / "digits" / "planted.safetensors",
        "--data",
        out / "digits" / "data.npz",
        "--budget",
        "90s",
        "--out",
        out / "planted-digits",
    )

    from mulligan.reports import write_index

    index = write_index(out, [out / "efficientnet-lite0", out / "planted-digits"], "Mulligan: two audits")
    print(
        f"\nThe reports:\n  {index.resolve()}\n  {(out / 'efficientnet-lite0' / 'report.html').resolve()}\n  "
        f"{(out / 'planted-digits' / 'report.html').resolve()}"
    )
    return 0 if {real, planted} <= {0, 1, 3} else 1


def step(text: str) -> None:
    """A heading."""
    print(f"\n== {text}", flush=True)


def run(command: list[object]) -> None:
    """Run a command that must succeed."""
    subprocess.run([str(word) for word in command], check=True)


def mulligan(*words: object) -> int:
    """Run `mulligan`; its exit status. Ctrl-C and our own faults end the demo."""
    status = subprocess.run([sys.executable, "-m", "mulligan.apps.cli", *map(str, words)], check=False).returncode
    if status not in (0, 1, 3):
        sys.exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
