"""`mulligan article build`: an article and its runs to one page that opens from disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ...records import BadInput
from ...runs import mulligan_version
from ..page import Book, embedded, open_book, pack
from ..pages import environment
from ..phrases import command_of
from ..writing import write_atomically
from .article import Article
from .checking import Bound, Checked, Outcome
from .citing import article_bibtex, reference_html
from .expressions import Source
from .rendering import Rendering, contents

PAGE = "article.html"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a quoted number came from, and the address of the card of the feature that the path leads through."""

    source: Source
    card: str


def build(article: Article, checked: Checked, out: Path | None = None, *, draft: bool = False) -> Path:
    """Write the page, by default beside article.md. `draft`: also where prose and data disagree, which it then shows.

    Raises:
        BadInput: if the article has a problem, or prose and data disagree and it is no draft; nothing is written.
    """
    if checked.problems:
        raise BadInput(f"the article has {len(checked.problems)} problems", fix="see mulligan article check")
    if checked.of("disagrees") and not draft:
        raise BadInput("prose and data disagree", fix="mend what mulligan article check lists, or build a --draft")
    return write_atomically(out or article.folder / PAGE, render(article, checked))


def render(article: Article, checked: Checked) -> str:
    """The page of an article that was checked."""
    front = article.front
    folders = [bound.documents.folder for bound in checked.runs.values()]
    book = open_book(folders, title=front.title) if folders else Book(title=front.title)
    rendering = Rendering(article, checked, book)
    text = rendering.text()
    affiliations = list(dict.fromkeys(name for author in front.authors for name in author.affiliations))
    return environment().get_template("articles/article.html.j2").render(
        front=front, affiliations=affiliations, text=text, summary=rendering.summary(), checked=checked,
        contents=contents(article.text.tokens), reviews=article.reviews, book=book,
        references=[(number, reference_html(article.references[key])) for key, number in rendering.cited.items()],
        numbers=[(outcome, list(_origins(outcome, book))) for outcome in checked.outcomes],
        runs=[(name, bound, _command(bound)) for name, bound in checked.runs.items()],
        bibtex=article_bibtex(
            front.title, [author.name for author in front.authors], front.published, doi=front.doi, url=front.url,
            journal=front.journal,
        ),
        data=embedded(pack(book)) if folders else Markup(""), mulligan=mulligan_version(),
    )  # fmt: skip


def _origins(outcome: Outcome, book: Book) -> Iterator[Origin]:
    """Each file and card once, in the order in which they were read."""
    seen: set[tuple[str, str, str]] = set()
    for source in outcome.found.sources if outcome.found else ():
        quoted = source.path.split("'")[1::2]
        units = [f"#/unit/{step}" for step in quoted if step in book.features]
        names = [step.removeprefix("class ") for step in quoted]
        classes = [f"#/class/{name}" for name in names if name in book.classes]
        card = next(iter(units + classes), "")
        if (source.run, source.file, card) not in seen:
            seen.add((source.run, source.file, card))
            yield Origin(source, card)


def _command(bound: Bound) -> str:
    return command_of(bound.documents.get(("manifest",)))
