"""`mulligan article init`: a folder to begin with, which passes `mulligan article check` as it is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from ...records import BadInput
from ..writing import write_atomically
from .article import REVIEWS
from .bibliography import FILE as REFERENCES
from .documents import RunDocuments
from .places import TEXT

_DOCUMENTS = ("seen", "findings", "factors", "atlas", "maps")

_REFERENCES = """\
@article{olah2017,
  author = {Olah, Chris and Mordvintsev, Alexander and Schubert, Ludwig},
  title = {Feature Visualization},
  journal = {Distill},
  year = {2017},
  doi = {10.23915/distill.00007},
}
"""

_REVIEWS = """\
# One [[review]] a comment; a comment without a resolution is open.
#
# [[review]]
# reviewer = "Name"
# date = 2026-01-31
# comment = "What was asked."
# resolution = "What was done."
"""


def start(folder: Path, runs: Mapping[str, Path], *, title: str = "An article", today: date | None = None) -> Path:
    """Write article.md, references.bib and reviews.toml into `folder`; returns the path of article.md.

    Args:
        runs: what the article calls each run, and its folder.

    Raises:
        BadInput: if there is an article already, or a run cannot be read, or its name is none. Nothing is written then.
    """
    for name in (TEXT, REFERENCES, REVIEWS):
        if (folder / name).exists():
            raise BadInput("there is an article already", where=folder / name, fix="choose another folder")
    lines, paragraphs = [], []
    for name, run in runs.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise BadInput(f"a run is called {name!r}", fix="use letters, digits and _")
        documents = RunDocuments.open(name, run)
        relative = Path(os.path.relpath(run.resolve(), folder.resolve())).as_posix()
        lines.append(f'{name} = {{ folder = {json.dumps(relative)}, sha256 = "{documents.identity()}" }}')
        paragraphs.append(_paragraph(documents))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"this folder cannot be made: {error.strerror}", where=folder, fix="choose another") from error
    write_atomically(folder / REFERENCES, _REFERENCES)
    write_atomically(folder / REVIEWS, _REVIEWS)
    front = [
        "+++", f"title = {json.dumps(title)}", f"published = {today or date.today()}", 'doi = ""', "",
        "[[authors]]", 'name = "Your Name"', 'affiliations = ["Your Institution"]', "", "[runs]", *lines, "+++",
    ]  # fmt: skip
    return write_atomically(folder / TEXT, "\n".join([*front, "", "\n\n".join(paragraphs or [_ALONE.strip()]), ""]))


_ALONE = """\
Write here. Name runs under `[runs]`, quote their numbers as
`[15.9]{RUN: seen.cards['SITE:UNIT'].portraits[0].reached}`, and show them with `<mg-card key="SITE:UNIT"></mg-card>`.
Who said it first is cited so [@olah2017].
"""


def _paragraph(run: RunDocuments) -> str:
    """A first sentence about a run, with a number that is bound to it."""
    document = next((name for name in _DOCUMENTS if name in run.documents), None)
    if document is None:
        return f"Run `{run.name}` holds no document that can be quoted."
    parameters = run.get((document, "network", "parameters"))
    name = str(run.get((document, "network", "name"))).replace("`", "'")
    bound = f"{run.name}: {document}.network.parameters"
    text = f"Run `{run.name}` looked at `{name}`, which has [{parameters:,}]{{{bound}}} parameters."
    if document == "seen" and run.get(("seen", "cards")):
        feature = str(run.get(("seen", "cards", 0, "feature")))
        if '"' not in feature and ";" not in feature:
            text += f'\n\n<mg-unit key="{feature}">What this feature looks like [@olah2017].</mg-unit>'
    return text
