"""Where a tensor passes in a network, and what is read or written there."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from .errors import BadInput

Port = Literal["out", "in"]

_ALIAS = re.compile(
    r"^(?P<path>[^#:@\[\]!]*?)(?:!(?P<call>\d+))?(?:\.(?P<port>in|out))?(?:\[(?P<leaf>[^\]]*)\])?(?:#(?P<part>[\w-]+))?\Z"
)


@dataclass(frozen=True, slots=True)
class Site:
    """A named place where a tensor passes.

    Attributes:
        path: the module's path ("" is the network itself).
        port: "out", what the module returns, or "in", what it is given.
        call: which call of the module within one forward pass, from 0 (a module may run more than once).
        leaf: which tensor of a nested input or output, by its keys joined with "/" ("" is the only or first tensor).
        part: what is not a whole port: "heads", "head3", "pattern", "mid" (the residual stream between attention
            and feed-forward). The adapter of a family says precisely what each means.
        axes: what each axis of the tensor is, once a dry run has told: "batch", "position", "channel", "height"...
        shape: the tensor's shape in the dry run, the batch axis first.
    """

    path: str
    port: Port = "out"
    call: int = 0
    leaf: str = ""
    part: str = ""
    axes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()

    @property
    def alias(self) -> str:
        """How people write the site: `blocks.5`, `blocks.5.in`, `act!1` (second call), `lstm[1/0]`,
        `layers.3.attn#head2`.
        """
        call = f"!{self.call}" if self.call else ""
        # A module that is itself called "in" or "out" would read as a port: it is written with its own.
        named = self.path.rpartition(".")[2] in ("in", "out")
        port = ".in" if self.port == "in" else ".out" if named else ""
        leaf = f"[{self.leaf}]" if self.leaf else ""
        part = f"#{self.part}" if self.part else ""
        return f"{self.path}{call}{port}{leaf}{part}"

    @property
    def place(self) -> Site:
        """The same site without what a dry run adds: equal for equal places, fit as a dictionary key."""
        return replace(self, axes=(), shape=())

    @property
    def units(self) -> int:
        """How many units the site's feature axis has (the axis that neither batch, position nor space walks along)."""
        return self.shape[self.unit_axis] if self.shape else 0

    @property
    def unit_axis(self) -> int:
        """The axis along which units are counted.

        Raises:
            BadInput: if the site has no such axis, as an attention pattern has none.
        """
        for name in ("channel", "feature"):
            if name in self.axes:
                return self.axes.index(name)
        raise BadInput(
            "this site has no axis of units", where=self.alias, fix="choose a site with a channel or feature axis"
        )

    def __str__(self) -> str:
        return self.alias


def parse_site(alias: str) -> Site:
    """Read a site as people write it; the inverse of `Site.alias`.

    A module whose own name is "in" or "out" is written with its port, "block.in.out".

    Raises:
        BadInput: if the text is not a site.
    """
    match = _ALIAS.match(alias)
    if match is None:
        raise BadInput(
            "this is not the name of a site",
            where=alias,
            fix="write PATH, PATH.in, PATH!CALL or PATH#PART, as `mulligan sites` lists them",
        )
    port: Port = "in" if match["port"] == "in" else "out"
    path = match["path"]
    if path in ("in", "out") and match["port"] is None and alias == path:
        path, port = "", "in" if alias == "in" else "out"
    return Site(path, port, int(match["call"] or 0), match["leaf"] or "", match["part"] or "")


@dataclass(frozen=True, slots=True)
class Feature:
    """A direction read at one or more sites, that may write at others.

    A unit reads and writes one site with no dictionary. A transcoder latent reads one site and writes another; a
    cross-coder latent reads and writes several.

    Attributes:
        reads: where its activation is computed from.
        writes: where it acts ((): it is only read).
        index: its number.
        dictionary: the dictionary's name and digest ("NAME/sha256:..."); "" for the network's own units.
    """

    reads: tuple[Site, ...]
    writes: tuple[Site, ...]
    index: int
    dictionary: str = ""

    @property
    def alias(self) -> str:
        """`blocks.5:12` is unit 12; `blocks.5@NAME:12` is latent 12 of the dictionary NAME."""
        at = f"@{self.dictionary.split('/')[0]}" if self.dictionary else ""
        return f"{self.reads[0].alias}{at}:{self.index}"


def unit(site: Site | str, index: int) -> Feature:
    """The network's own unit `index` at `site`."""
    place = parse_site(site) if isinstance(site, str) else site
    return Feature((place,), (place,), index)


def parse_feature(alias: str) -> Feature:
    """Read `SITE:INDEX` or `SITE@NAME:INDEX`.

    Raises:
        BadInput: if the text is not a feature.
    """
    head, colon, index = alias.rpartition(":")
    if not colon or not index.isdecimal():
        raise BadInput("this is not a feature", where=alias, fix="write SITE:INDEX, for example blocks.5:12")
    site_text, _, name = head.partition("@")
    site = parse_site(site_text)
    return Feature((site,), (site,), int(index), name)
