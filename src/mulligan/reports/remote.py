"""Reports of a run that lies elsewhere: what they read is copied here, they are rendered, and put beside the run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runs import Run, inside

# What the renderers read: these, and what they refer to.
_DOCUMENTS = ("manifest.json", "findings.json", "description.json", "seen.json", "maps.json")
_REFERRED = "artifacts"


def is_remote(run: Path | str) -> bool:
    """Whether this names a location and not a folder."""
    return "://" in str(run)


@contextmanager
def copied(run: Run) -> Iterator[Path]:
    """A temporary folder that holds what the reports read of a run.

    Raises:
        BadInput: if the location cannot be read, or a name leads out of the run.
    """
    with tempfile.TemporaryDirectory(prefix="mulligan-") as folder:
        names = [name for name in _DOCUMENTS if run.has(name)]
        for name in (*names, *sorted(run.store.names(_REFERRED))):
            path = inside(Path(folder), name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(run.read_bytes(name))
        yield Path(folder)
