"""`python -m mulligan.procedures.game.auditors NAME ENTRY OUT`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from ....records import MulliganError
from . import BUILT_IN, parts


def main(arguments: list[str]) -> int:
    """Run a built-in auditor; 2 for wrong use."""
    if len(arguments) != 3:
        print(f"usage: auditors {{{','.join(BUILT_IN)}}} ENTRY OUT", file=sys.stderr)
        return 2
    import torch

    torch.set_num_threads(1)
    name, entry, out = arguments
    try:
        module = importlib.import_module(f".{BUILT_IN[parts(name)[0]]}", __package__)
        module.audit(name, Path(entry), Path(out))
    except MulliganError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
