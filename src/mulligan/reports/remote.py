"""Reports of a run that lies elsewhere: what they read is copied here, they are rendered, and put beside the run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runs import Run, inside

# What the renderers read: these, and what they refer to.
_DOCUMENTS = (
    "manifest.json", "findings.json", "description.json", "seen.json", "maps.json", "atlas.json", "factors.json",
    "tables/units.parquet",
)  # fmt: skip
_REFERRED = ("artifacts", "atlas")


def is_remote(run: Path | str) -> bool:
    """Whether this names a location and not a folder."""
    return "://" in str(run)


@contextmanager
def copied(run: Run) -> Iterator[Path]:
    """A temporary folder that holds what the reports read of a run.

    Raises:
        BadInput: if the location cannot be read, or a name leads out of the run.
    """
    with tempfile.TemporaryDirectory(prefix="mulligan-") as temporary:
        # By its own name, which the page tells.
        folder = Path(temporary) / (Path(run.location.rstrip("/")).name or "run")
        folder.mkdir()
        names = [name for name in _DOCUMENTS if run.has(name)]
        referred = [name for part in _REFERRED for name in run.store.names(part)]
        for name in (*names, *sorted(referred)):
            path = inside(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(run.read_bytes(name))
        yield folder
