"""Real activations at random places of every picture, as rows that are read from the disk a block at a time.

What is sampled is recorded by `mulligan.activations` ("sample:K"), which streams, resumes, and draws each picture's
places by the picture's own id. It draws with replacement; a place that was drawn twice is one row here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int64

from ...activations import Plan, Recording, record, sampled_places
from ...activations.pools import WALKED
from ...datasets import Dataset
from ...networks import ImageInput, Network
from ...records import BadInput, Emit, Site, silent
from ...runs import Engine, Run

BLOCK = 1024  # pictures that are looked at together
FEWEST = 64  # activations that a layout is made of

Rows = Float32[np.ndarray, "row unit"]


def atlas_site(network: Network, alias: str) -> Site:
    """The site, if an atlas can be made of it: units at places of a picture, and no other axes.

    Raises:
        BadInput: if it does not exist, has no units, has other axes (heads), or the network takes no pictures.
    """
    site = network.site(alias)
    if not isinstance(network.input, ImageInput):
        fix = "look at `mulligan see maps`"
        raise BadInput("an atlas needs a network that takes pictures", where=network.name, fix=fix)
    unit = site.unit_axis
    others = [
        axis for number, axis in enumerate(site.axes) if number != unit and axis != "batch" and axis not in WALKED
    ]
    if others or "batch" not in site.axes:
        what = f"has the axes {', '.join(site.axes)}"
        raise BadInput(
            f"this site {what}, and an atlas lays out units at places",
            where=site.alias,
            fix="choose a site whose axes are batch, channel (or feature) and places",
        )
    return site


def places_of(site: Site) -> tuple[int, ...]:
    """How many places there are along each axis that is walked; () where a picture has one activation."""
    return tuple(size for axis, size in zip(site.axes, site.shape, strict=True) if axis in WALKED)


@dataclass(frozen=True)
class Sample:
    """Activations of one site at random places.

    Attributes:
        site: with axes and shape. number: how many places were drawn of each picture.
        seed: what the places hang on. recording: the activations, [picture, number, unit] in the run.
    """

    site: Site
    number: int
    seed: int
    recording: Recording

    @property
    def name(self) -> str:
        """What the array is called in the recording."""
        return f"{self.site.alias}|sample:{self.number}"

    @property
    def pictures(self) -> int:
        """How many were sampled."""
        return len(self.recording)

    @cached_property
    def places(self) -> Int64[np.ndarray, "picture draw"]:
        """Which places were drawn of each picture, counted in the order of the site's axes."""
        count = math.prod(places_of(self.site))
        return sampled_places(count, self.number, self.seed, self.site, self.recording.ids).numpy()

    @cached_property
    def distinct(self) -> Bool[np.ndarray, "picture draw"]:
        """Which draws are the first of their place: the others say the same again."""
        order = np.argsort(self.places, axis=1, kind="stable")
        ranked = np.take_along_axis(self.places, order, 1)
        first = np.ones_like(ranked, dtype=bool)
        first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
        found = np.empty_like(first)
        np.put_along_axis(found, order, first, 1)
        return found

    def block(self, start: int, stop: int) -> Float32[np.ndarray, "picture draw unit"]:
        """What was recorded of pictures `start` to `stop`."""
        return self.recording.block(self.name, start, stop)

    def spans(self) -> list[tuple[int, int]]:
        """Pictures cut into blocks, [start, stop) each."""
        return [(start, min(start + BLOCK, self.pictures)) for start in range(0, self.pictures, BLOCK)]

    def rows(
        self, kept: Bool[np.ndarray, "picture draw"], start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, Rows]]:
        """The kept rows in their order, a block at a time, each with the number of its first one (from `start` on)."""
        seen = 0
        for begin in range(start, self.pictures if stop is None else stop, BLOCK):
            end = min(begin + BLOCK, self.pictures if stop is None else stop)
            found = self.block(begin, end)[kept[begin:end]]
            yield seen, found
            seen += len(found)

    def gather(self, kept: Bool[np.ndarray, "picture draw"], numbers: Int64[np.ndarray, " row"]) -> Rows:
        """Some kept rows by their numbers (ascending), however far apart."""
        found = np.empty((len(numbers), self.site.units), np.float32)
        at = 0
        for first, block in self.rows(kept):
            inside = numbers[at : np.searchsorted(numbers, first + len(block))]
            found[at : at + len(inside)] = block[inside - first]
            at += len(inside)
        return found


def sample_activations(
    network: Network,
    dataset: Dataset,
    site: Site,
    run: Run,
    *,
    wanted: int,
    seed: int = 0,
    engine: Engine | None = None,
    emit: Emit = silent,
    job: str = "activations",
) -> Sample:
    """Record about `wanted` activations of `site`: as many random places of each picture as that needs.

    Raises:
        BadInput: if the activations would be fewer than `FEWEST`; and as `record` does.
    """
    number = draws_needed(math.prod(places_of(site)), len(dataset), wanted)
    most = len(dataset) * math.prod(places_of(site))
    if min(wanted, most) < FEWEST:
        raise BadInput(
            f"an atlas over {min(wanted, most)} activations would show nothing: {FEWEST} are the fewest",
            where=site.alias,
            fix="give more pictures, ask for more activations, or choose a site with more places",
        )
    plan = Plan((site.alias,), (f"sample:{number}",), answers=False, seed=seed, shard=BLOCK)
    index = f"tables/{job.replace(' ', '-')}.parquet"
    recording = record(network, dataset, plan, run, engine=engine, emit=emit, job=job, index=index)
    return Sample(site, number, seed, recording)


def draws_needed(places: int, pictures: int, wanted: int) -> int:
    """How many draws with replacement give about `wanted` distinct places over all pictures, as far as there are."""
    share = min(wanted / (places * pictures), 1.0)
    if places == 1 or pictures == 0:
        return 1
    if share > 0.95:  # the last few places would need as many draws again
        return 3 * places
    return max(1, math.ceil(math.log1p(-share) / math.log1p(-1 / places)))
