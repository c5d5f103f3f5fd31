"""How references are written, and how the article itself is to be cited."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date

from markupsafe import Markup

from ..text import visible
from .bibliography import Reference

_SHOWN = 8  # authors of one reference
_VENUES = ("journal", "booktitle", "publisher", "institution", "school", "howpublished")
_DOI = re.compile(r"10\.\d{4,9}/\S+")


def reference_html(reference: Reference) -> Markup:
    """One reference as a line of HTML: authors, title, where, when, and a link to its DOI or address."""
    fields = reference.fields
    people = [_initials(first, last) for first, last in reference.authors]
    if len(people) > _SHOWN:
        people = [*people[:_SHOWN], "et al."]
    parts = [Markup.escape(visible(", ".join(people)))] if people else []
    if "title" in fields:
        parts.append(Markup("<cite><bdi>{}</bdi></cite>").format(visible(fields["title"])))
    venue = next((fields[name] for name in _VENUES if fields.get(name)), "")
    issue = " ".join(fields[name] for name in ("volume", "number") if fields.get(name))
    placed = ", ".join(part for part in (venue, issue, fields.get("pages", ""), fields.get("year", "")) if part)
    if placed:
        parts.append(Markup.escape(visible(placed)))
    # "et al." brings its own full stop.
    text = Markup("").join(part + Markup(" " if part.endswith(".") else ". ") for part in parts).rstrip()
    address = link(fields)
    if address is None:
        return text
    return text + Markup(' <a href="{}">{}</a>').format(address, visible(address.removeprefix("https://")))


def link(fields: dict[str, str]) -> str | None:
    """Where a reference can be read: its DOI's address, its `eprint` on arXiv, or its `url`."""
    doi = _DOI.search(fields.get("doi", ""))
    if doi:
        return f"https://doi.org/{doi[0]}"
    if re.fullmatch(r"\d{4}\.\d{4,5}(v\d+)?", fields.get("eprint", "")):
        return f"https://arxiv.org/abs/{fields['eprint']}"
    url = fields.get("url", "")
    return url if re.match(r"https?://\S+\Z", url) else None


def _initials(first: str, last: str) -> str:
    return " ".join([*(f"{part[0]}." for part in re.split(r"[\s.]+", first) if part), last])


def article_bibtex(
    title: str, authors: Sequence[str], published: date, *, doi: str = "", url: str = "", journal: str = ""
) -> str:
    """The entry by which the article itself is cited."""
    fields = {
        "author": " and ".join(map(_bibtex, authors)), "title": _bibtex(title), "journal": _bibtex(journal),
        "year": str(published.year), "month": f"{published:%b}".lower(), "doi": doi, "url": url,
    }  # fmt: skip
    key = f"{_plain(authors[0].split()[-1]) if authors else 'anon'}{published.year}{_first_word(title)}"
    lines = [
        f"  {name} = {value if name == 'month' else '{' + value + '}'}," for name, value in fields.items() if value
    ]
    return "\n".join([f"@article{{{key},", *lines, "}"])


def _bibtex(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", re.sub(r"[{}\\]", "", text))


def _first_word(title: str) -> str:
    words = [word for word in re.findall(r"\w+", title.lower()) if word not in ("a", "an", "the", "on", "of", "in")]
    return _plain(words[0]) if words else ""


def _plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKD", word.lower()))
