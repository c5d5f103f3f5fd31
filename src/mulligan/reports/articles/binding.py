"""From a diagram as an author writes it to the page's element that draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...records import BadInput
from ..page.book import keyed
from .diagrams import Diagram
from .places import place

if TYPE_CHECKING:
    from ..page import Book

#: Which of a book's lists holds what a diagram is drawn from, where it is drawn from one run's.
_LISTS = {"factors": "factors", "atlas": "atlases", "map": "maps"}
_CLASS = "class "


def element(diagram: Diagram, book: Book, folders: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The element's name and attributes. `folders`: what the article calls each run, and the last name of its folder.

    Raises:
        BadInput: if the page holds nothing that it could draw.
    """
    given = {name: value for name, value in diagram.attributes.items() if name not in ("label", "run", "key")}
    chosen = diagram.attributes.get("run")
    runs = _runs(book, folders, chosen) if chosen else range(len(book.runs))
    if diagram.name in _LISTS:
        entries = getattr(book, _LISTS[diagram.name])
        found = next((entry["id"] for entry in entries if entry["run"] in runs), None)
        if found is None:
            raise _nothing(diagram)
        return f"mg-{diagram.name}", given | {"id": found}
    keys = [_key(diagram, key, book, runs) for key in diagram.keys]
    if diagram.name == "card":
        return _card(keys[0], book)
    if keys:
        return f"mg-{diagram.name}", given | {"key": "; ".join(keys)}
    cards = [*book.features.values(), *book.classes.values()]
    there = {"features": book.features, "links": any(card["drives"] for card in cards), "compare": book.networks[1:]}
    if not there[diagram.name]:
        raise _nothing(diagram)
    if diagram.name == "features":
        given = _asked(diagram, given, book, runs)
    return f"mg-{diagram.name}", given


def _asked(diagram: Diagram, given: dict[str, str], book: Book, runs: Sequence[int]) -> dict[str, str]:
    """What a list of features asks for at first, in the page's words.

    Raises:
        BadInput: if the page has no such site or order, naming those that it has.
    """
    if site := given.get("site"):
        networks = dict.fromkeys(book.runs[run]["network"] for run in runs)
        keys = [keyed(network, site) for network in networks if (network, site) in book.sites]
        there = [name for network, name in book.sites if network in networks]
        if not keys:
            raise _unknown(diagram, "site", there)
        given = given | {"site": keys[0]}
    sort = given.get("sort", "")
    if sort not in ("", "name") and sort.removeprefix("-") not in book.scores:
        raise _unknown(diagram, "sort", ["name", *book.scores])
    only = [one.strip() for one in given.get("only", "").split(",") if one.strip()]
    if not set(only) <= {"picture", "label"}:
        raise _unknown(diagram, "only", ["picture", "label"])
    if given.get("as", "list") != "list":
        raise _unknown(diagram, "as", ["list"])
    return given | ({"only": ",".join(only)} if only else {})


def _unknown(diagram: Diagram, attribute: str, there: Sequence[str]) -> BadInput:
    what = f"<mg-{diagram.name}> asks for {attribute} {diagram.attributes[attribute]!r}, which this page does not have"
    return BadInput(what, where=place(diagram.line), fix=f"it has {', '.join(there)}" if there else "leave it out")


def _card(key: str, book: Book) -> tuple[str, dict[str, str]]:
    """A card is known to the page by its number among features, or among classes."""
    if key.startswith(_CLASS):
        return "mg-class-card", {"at": str(list(book.classes).index(key.removeprefix(_CLASS)))}
    return "mg-card", {"at": str(list(book.features).index(key))}


def _runs(book: Book, folders: Mapping[str, str], chosen: str) -> Sequence[int]:
    """The numbers of the book's runs that are this one of the article: a folder that holds two documents is two."""
    if len(book.runs) == len(folders):
        return [list(folders).index(chosen)]
    return [number for number, run in enumerate(book.runs) if run["folder"] == folders[chosen]]


def _key(diagram: Diagram, key: str, book: Book, runs: Sequence[int]) -> str:
    """The key under which the page knows a feature; a class keeps its "class " before it."""
    kind, name = (_CLASS, key.removeprefix(_CLASS)) if key.startswith(_CLASS) else ("", key)
    known = book.classes if kind else book.features
    for network in dict.fromkeys(book.runs[run]["network"] for run in runs):
        candidate = f"{network}~{name}" if network else name
        if candidate in known:
            return kind + candidate
    raise _nothing(diagram, key)


def _nothing(diagram: Diagram, key: str = "") -> BadInput:
    what = f"<mg-{diagram.name}> is bound to nothing that this page holds" + (f", {key!r}" if key else "")
    return BadInput(what, where=place(diagram.line), fix="name a run that has it, or take the diagram out")
