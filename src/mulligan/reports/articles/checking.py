"""`mulligan article check`: is every quoted number what its run says, and is all there that the text points at?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ...records import BadInput
from .article import Article
from .citations import FIGURE
from .diagrams import KINDS, Diagram
from .documents import RunDocuments
from .expressions import Derived, derive
from .illustrations import picture
from .markdown import Unbound
from .places import place
from .quotes import Quote

Verdict = Literal["agrees", "disagrees", "not from data", "cannot be derived"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one quoted number. `why`: what is wrong, where it cannot be derived."""

    quote: Quote
    verdict: Verdict
    found: Derived | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """A run that the article names. `identity` is what its files come to now; `pinned`, what the front matter says."""

    documents: RunDocuments
    identity: str
    pinned: str

    @property
    def changed(self) -> bool:
        """Whether it is another run than the one that the article was written from."""
        return bool(self.pinned) and self.pinned.removeprefix("sha256:") != self.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found.

    Attributes:
        problems: what makes the article no article, a sentence each: a run that cannot be read, a path that leads
            nowhere, a reference that is missing.
        warnings: what a reader should know, a sentence each. unbound: numbers in the prose that are bound to nothing.
    """

    when: datetime
    outcomes: tuple[Outcome, ...]
    runs: dict[str, Bound]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    unbound: tuple[Unbound, ...]

    def of(self, verdict: Verdict) -> list[Outcome]:
        """The quoted numbers of one verdict."""
        return [outcome for outcome in self.outcomes if outcome.verdict == verdict]

    def status(self, *, strict: bool = False) -> int:
        """0: prose and data agree; 1: they do not (strictly: or there is something to warn of); 2: bad input."""
        if self.problems:
            return 2
        return 1 if self.of("disagrees") or (strict and (self.warnings or self.unbound)) else 0


def check(article: Article) -> Checked:
    """Derive every quoted number again, and look for all that the text points at."""
    problems: list[str] = []
    runs = dict(_runs(article, problems))
    documents = {name: bound.documents for name, bound in runs.items()}
    unusable = [name for name in article.front.runs if name not in documents]
    outcomes = tuple(_outcome(quote, documents, unusable) for quote in article.text.quotes)
    problems += [outcome.why for outcome in outcomes if outcome.verdict == "cannot be derived"]
    problems += _citations(article)
    problems += _pictures(article)
    problems += [found for diagram in article.text.diagrams if (found := _unbound(diagram, article, documents))]
    warnings = [
        f"run {name} has changed since the article was written ({place(article.run_lines[name])}): its sha256 is now "
        f"{bound.identity}."
        for name, bound in runs.items()
        if bound.changed
    ]
    warnings += _features(article, documents)
    warnings += _unused(article)
    return Checked(
        when=datetime.now(UTC), outcomes=outcomes, runs=runs, problems=tuple(problems), warnings=tuple(warnings),
        unbound=article.text.unbound,
    )  # fmt: skip


def _runs(article: Article, problems: list[str]) -> Iterator[tuple[str, Bound]]:
    for name, run in article.front.runs.items():
        where = place(article.run_lines[name])
        try:
            documents = RunDocuments.open(name, article.folder / run.folder)
            for document in documents.documents:
                if document != "tables":
                    documents.get((document,))
            yield name, Bound(documents, documents.identity(), run.sha256)
        except BadInput as error:
            problems.append(f"run {name} cannot be used ({where}): {error}")


def _outcome(quote: Quote, runs: dict[str, RunDocuments], unusable: list[str]) -> Outcome:
    if not quote.bound:
        return Outcome(quote, "not from data")
    found = None
    for name in unusable:
        if re.search(rf"\b{name}\s*:", quote.bound):
            why = f"{quote.says.text!r} cannot be derived without run {name} ({place(quote.line)})."
            return Outcome(quote, "cannot be derived", None, why)
    try:
        found = derive(quote.bound, runs)
        return Outcome(quote, "agrees" if quote.says.agrees(found) else "disagrees", found)
    except BadInput as error:
        where = error.where if error.where is not None else place(quote.line)
        sentence = str(BadInput(f"{quote.says.text!r} cannot be derived: {error.what}", where=where, fix=error.fix))
        return Outcome(quote, "cannot be derived", found, sentence)


def _citations(article: Article) -> Iterator[str]:
    labels = [figure.label for figure in article.text.figures if figure.label]
    for citation in article.text.citations:
        for key in citation.keys:
            known = labels if key.startswith(FIGURE) else list(article.references)
            name = key.removeprefix(FIGURE)
            if name not in known:
                figure = key.startswith(FIGURE)
                what = f"no figure is called {name!r}" if figure else f"the reference {name!r} is missing"
                fix = _nearest(name, known, "there is none; add it")
                yield str(BadInput(what, where=place(citation.line), fix=fix))


def _pictures(article: Article) -> Iterator[str]:
    for address, line in article.text.pictures:
        try:
            picture(article.folder, address)
        except BadInput as error:
            yield str(BadInput(error.what, where=place(line), fix=error.fix))


def _unbound(diagram: Diagram, article: Article, runs: dict[str, RunDocuments]) -> str:
    """What is wrong with the run that a diagram is drawn from, or ""."""
    name, where = diagram.attributes.get("run", ""), place(diagram.line)
    if not name:
        if article.front.runs:
            return ""
        return str(BadInput(f"<mg-{diagram.name}> is bound to nothing", where=where, fix="name a run under [runs]"))
    if name not in article.front.runs:
        fix = _nearest(name, list(article.front.runs), "name it under [runs]")
        return str(BadInput(f"<mg-{diagram.name}> is bound to no run of the article, {name!r}", where=where, fix=fix))
    needed = KINDS[diagram.name].document
    if name in runs and needed and needed not in runs[name].documents:
        fix = f"bind <mg-{diagram.name}> to another"
        return str(BadInput(f"run {name} has no {needed}.json", where=where, fix=fix))
    return ""


def _features(article: Article, runs: dict[str, RunDocuments]) -> Iterator[str]:
    known = {name: documents.features() for name, documents in runs.items()}
    for diagram in article.text.diagrams:
        chosen = diagram.attributes.get("run", "")
        there = known[chosen] if chosen in known else set().union(*known.values())
        for key in diagram.keys:
            if key not in there:
                what = f"<mg-{diagram.name}> names the feature {key!r}, which no run of the article has"
                fix = _nearest(key, sorted(there), "the runs have none")
                yield str(BadInput(what, where=place(diagram.line), fix=fix))


def _unused(article: Article) -> Iterator[str]:
    cited = {key for citation in article.text.citations for key in citation.keys}
    for reference in article.references.values():
        if reference.key not in cited:
            yield f"the reference {reference.key!r} is not cited ({place(reference.line, 'references.bib')})."


def _nearest(name: str, known: list[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"the nearest is {near[0]!r}" if near else otherwise
