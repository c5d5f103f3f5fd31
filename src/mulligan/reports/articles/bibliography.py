r"""references.bib: the part of BibTeX that a list of references needs.

Entries with values in braces, in quotation marks, or as numbers, joined with `#`; `@string`; `@comment`; accents as
`\'e` or `{\"o}`. It is read here and not by a library: what is needed is little, the libraries bring a YAML reader or a
LaTeX parser with them, and here an error names the line and what to write.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from ...records import BadInput
from .places import on_line

FILE = "references.bib"

_MONTHS: dict[str, str] = dict(
    zip(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
         "December"), strict=True,
    )
)  # fmt: skip
_ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308", "=": "\u0304", ".": "\u0307",
    "u": "\u0306", "v": "\u030c", "H": "\u030b", "r": "\u030a", "c": "\u0327", "k": "\u0328", "d": "\u0323",
    "b": "\u0331",
}  # fmt: skip
_SIGNS = {
    "ss": "ß", "o": "ø", "O": "Ø", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å", "AA": "Å", "l": "ł", "L": "Ł",
    "i": "ı", "j": "ȷ", "&": "&", "%": "%", "$": "$", "#": "#", "_": "_", "{": "{", "}": "}", "-": "",
    "emph": "", "textit": "", "textbf": "", "textsc": "", "url": "",
}  # fmt: skip
_ACCENTED = re.compile(r"\\([`'^~\"=.]|[uvHrckdb](?![A-Za-z]))\s*(?:\{\s*\\?([A-Za-z])\s*\}|\\?([A-Za-z]))")
_COMMAND = re.compile(r"\\([A-Za-z]+|[^A-Za-z\s])(?:(?<=[A-Za-z])\s+)?")


@dataclass(frozen=True, slots=True)
class Reference:
    """One entry.

    Attributes:
        kind: "article", say. fields: by lower-case name, as plain text. line: in the file.
        authors: first names and last name of each; an institution has a last name alone, "and others" is "et al.".
    """

    key: str
    kind: str
    fields: dict[str, str]
    line: int
    authors: tuple[tuple[str, str], ...] = ()


def read_bibliography(text: str) -> dict[str, Reference]:
    """The entries of a BibTeX file by their keys, in its order.

    Raises:
        BadInput: if it is not BibTeX, or a key stands twice, with the line.
    """
    found: dict[str, Reference] = {}
    reading = _Reading(text)
    for reference in reading.entries():
        if reference.key in found:
            with on_line(reference.line, FILE):
                raise BadInput(f"the reference {reference.key!r} stands twice", fix="keep one of them")
        found[reference.key] = reference
    return found


class _Reading:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.strings = text, 0, dict(_MONTHS)

    def entries(self) -> Iterator[Reference]:
        while (at := self.text.find("@", self.at)) >= 0:
            line = self.text.count("\n", 0, at) + 1
            self.at = at + 1
            with on_line(line, FILE):
                kind = self.word("the kind of an entry").lower()
                if kind in ("comment", "preamble"):
                    self.expect("{")
                    self.braced()
                    continue
                self.expect("{")
                if kind == "string":
                    name, value = self.field()
                    self.strings[name] = value
                    self.expect("}")
                    continue
                key, raw = self.word("a key"), dict(self.fields())
                authors = tuple(_people(raw.get("author", raw.get("editor", ""))))
                yield Reference(key, kind, {name: plain(value) for name, value in raw.items()}, line, authors)

    def fields(self) -> Iterator[tuple[str, str]]:
        while True:
            if self.peek() != "}":
                self.expect(",")
            if self.peek() == "}":
                self.expect("}")
                return
            yield self.field()

    def field(self) -> tuple[str, str]:
        name = self.word("a field").lower()
        self.expect("=")
        value = self.value()
        while self.peek() == "#":
            self.expect("#")
            value += self.value()
        return name, value

    def value(self) -> str:
        sign = self.peek()
        if sign == "{":
            self.expect("{")
            return self.braced()
        if sign == '"':
            self.expect('"')
            return self.quoted()
        word = self.word("a value")
        if word.isdecimal():
            return word
        if word.lower() in self.strings:
            return self.strings[word.lower()]
        raise BadInput(f"the value {word!r} is neither a number nor a known @string", fix="write it in braces")

    def braced(self) -> str:
        start, depth = self.at, 1
        for match in re.finditer(r"\\.|[{}]", self.text[start:], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            if depth == 0:
                self.at = start + match.end()
                return self.text[start : self.at - 1]
        raise BadInput("a brace of this entry is not closed", fix="close it")

    def quoted(self) -> str:
        start, depth = self.at, 0
        for match in re.finditer(r"\\.|[{}\"]", self.text[start:], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            if match[0] == '"' and depth == 0:
                self.at = start + match.end()
                return self.text[start : self.at - 1]
        raise BadInput("a quotation mark of this entry is not closed", fix="close it")

    def word(self, what: str) -> str:
        match = re.compile(r"\s*([^\s{}(),=\"#@]+)").match(self.text, self.at)
        if match is None:
            raise BadInput(f"{what} is missing in this entry", fix="write @article{KEY, title = {...}}")
        self.at = match.end()
        return match[1]

    def peek(self) -> str:
        match = re.compile(r"\s*(\S)").match(self.text, self.at)
        return match[1] if match else ""

    def expect(self, sign: str) -> None:
        found = self.peek()
        if found != sign:
            raise BadInput(f"{found or 'the end of the file'!r} stands where {sign!r} should", fix="mend this entry")
        self.at = self.text.index(sign, self.at) + 1


def plain(tex: str) -> str:
    """A field as plain text: accents composed, braces gone.

    Raises:
        BadInput: at a command that is not known.
    """
    text = _ACCENTED.sub(lambda match: (match[2] or match[3]) + _ACCENTS[match[1]], tex)
    text = _COMMAND.sub(_sign, text).replace("~", "\u00a0").replace("---", "—").replace("--", "–")
    return unicodedata.normalize("NFC", re.sub(r"[ \t\n]+", " ", re.sub(r"[{}]", "", text))).strip(" ")


def _sign(match: re.Match[str]) -> str:
    if match[1] not in _SIGNS:
        raise BadInput(f"\\{match[1]} is not known in references", fix="write the letter itself, in UTF-8")
    return _SIGNS[match[1]]


def _people(text: str) -> Iterator[tuple[str, str]]:
    # An "and" within braces is part of a name.
    for name in re.findall(r"(?:\{(?:[^{}]|\{[^{}]*\})*\}|(?!\sand\s).)+", " ".join(text.split())):
        name = name.strip().removeprefix("and ").strip()
        if name:
            yield _person(name)


def _person(name: str) -> tuple[str, str]:
    if name == "others":
        return "", "et al."
    if name.startswith("{") and name.endswith("}"):
        return "", plain(name)
    last, comma, first = plain(name).partition(",")
    if comma:
        return " ".join(first.split()), " ".join(last.split())
    words = plain(name).split()
    # "Laurens van der Maaten": a last name begins at its first particle.
    start = next((at for at, word in enumerate(words[:-1]) if at and word.islower()), len(words) - 1)
    return " ".join(words[:start]), " ".join(words[start:])
