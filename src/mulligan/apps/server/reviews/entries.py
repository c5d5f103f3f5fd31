"""What a reviewer writes, as one entry: it is never changed; an edit is a new entry that supersedes an older one."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ....records import BadInput

Kind = Literal["assign", "release", "label", "resolve", "verdict"]
#: What may be said of a finding.
VERDICTS = ("confirmed", "rejected", "unsure")
LONGEST_NAME, LONGEST_LABEL, LONGEST_NOTE = 80, 300, 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the history.

    Attributes:
        id: its place in the history; 0 until it is written. kind: what was done.
        network: the identity of the network spoken of; "" of a finding. subject: a feature's alias, or a finding's id.
        run: the run that a finding is of, by its address; "" of a feature.
        author, at: who wrote it and when (UTC, ISO 8601).
        text: the label, "" for "I cannot tell"; of a resolution, the wording that stands; of a verdict, its word.
        note: what the author adds; of a verdict, the reason. reader: who was assigned or released.
        about: of a verdict, the claim that it was given of.
        supersedes: the id of the entry that this one replaces; 0: none.
        blind: of a label, whether its author could not see anybody else's label of the feature through the queue.
        same: of a resolution, whether its author judges that the labels say the same.
    """

    kind: Kind
    subject: str
    author: str
    at: str
    id: int = 0
    network: str = ""
    run: str = ""
    text: str = ""
    note: str = ""
    reader: str = ""
    about: str = ""
    supersedes: int = 0
    blind: bool = False
    same: bool = False


@lru_cache(maxsize=2**16)
def sense(text: str) -> str:
    """What two labels are compared by: equal for texts that differ in case, white space or Unicode composition only."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def one_line(text: str, what: str, longest: int, *, empty: bool = False) -> str:
    """A name or a label as it is kept: composed characters, one space between words, nothing that cannot be seen.

    Raises:
        BadInput: if it is empty and may not be, too long, or holds control characters.
    """
    line = " ".join(unicodedata.normalize("NFC", text).split())
    if not line and not empty:
        raise BadInput(f"{what} is empty", fix="write one")
    _check(line, what, longest, "")
    return line


def lines(text: str, what: str, longest: int) -> str:
    """A note as it is kept: lines may be broken, nothing else that cannot be seen.

    Raises:
        BadInput: if it is too long, or holds control characters.
    """
    whole = unicodedata.normalize("NFC", text).replace("\r\n", "\n").strip()
    _check(whole, what, longest, "\n\t")
    return whole


def _check(text: str, what: str, longest: int, allowed: str) -> None:
    if len(text) > longest:
        raise BadInput(f"{what} has {len(text):,} characters", fix=f"write at most {longest:,}")
    # Controls, halves of surrogate pairs; directional overrides make one text look like another.
    strange = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in allowed), None)
    strange = strange or next((c for c in text if c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"), None)
    if strange is not None:
        raise BadInput(f"{what} holds the character U+{ord(strange):04X}", fix="leave it out")
