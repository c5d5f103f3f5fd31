"""Examples as a reader sees them: small pictures in the run's folder, or tokens with the activation at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from ...datasets import Dataset, batches
from ...networks import ImageInput, Network, TokenInput
from ...records import ExampleRef, Site
from ...runs import Context, Result, Run

SIDE = 96  # pixels of a small picture
AROUND = 14  # tokens shown on either side of the strongest


class Gallery:
    """Makes `ExampleRef`s; each picture is stored once."""

    def __init__(
        self, network: Network, dataset: Dataset, run: Run, labels: np.ndarray, answers: np.ndarray | None
    ) -> None:
        self.network, self.dataset, self.run, self.labels, self.answers = network, dataset, run, labels, answers
        self._stored: dict[int, str | None] = {}

    def picture(self, row: int) -> str | None:
        """Path of an example's small picture inside the run; None if it is no picture."""
        taken = self.network.input
        if not isinstance(taken, ImageInput):
            return None
        if row not in self._stored:
            name = f"artifacts/examples/{self.dataset.ids[row]}.png"
            pixels = taken.crop(self.dataset.raw(row))  # type: ignore[arg-type]
            image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
            small = max(image.size) <= SIDE // 2
            scale = max(1, SIDE // max(image.size)) if small else SIDE / max(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            with self.run.replacing(name) as path:
                image.resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS).save(path, "PNG")
            self._stored[row] = name
        return self._stored[row]

    def show(
        self, row: int, activation: float | None = None, tokens: tuple[tuple[str, ...], tuple[float, ...]] | None = None
    ) -> ExampleRef:
        """One example, with its label, its answer, and what made it be shown."""
        names = self.network.classes
        label = names[int(self.labels[row])] if names and self.labels[row] >= 0 else None
        answer = names[int(self.answers[row])] if names and self.answers is not None else None
        text = tokens
        if text is None and self.dataset.kind == "texts":
            text = self._plain(row)
        return ExampleRef(
            id=self.dataset.ids[row],
            label=label,
            answer=answer,
            activation=activation,
            image=self.picture(row),
            tokens=text[0] if text else None,
            weights=text[1] if text else None,
        )

    def _plain(self, row: int) -> tuple[tuple[str, ...], tuple[float, ...]] | None:
        if not isinstance(self.network.input, TokenInput):
            return None
        ids, mask = self.network.input.encode([str(self.dataset.raw(row))])
        words = tuple(self.network.input.tokens(ids[0][mask[0].bool()][: 2 * AROUND]))
        return words, (0.0,) * len(words)


def unit_traces(context: Context, *, row: int, sites: list[str], units: list[list[int]]) -> Result:
    """A piece of work: one text's tokens, and the activation of some units at each: [positions, units] a site."""
    network: Network = context["network"]
    (group,) = batches(context["dataset"], network.input, [row], 1)  # type: ignore[arg-type]
    resolved = [network.site(alias) for alias in sites]

    def reduce(tensor: torch.Tensor, site: Site) -> torch.Tensor:
        return tensor[0][:, units[sites.index(site.alias)]].float()

    with torch.no_grad(), network.watching(resolved, reduce=reduce) as watched:
        network(group.x, group.mask)
        arrays = {alias: watched[alias].cpu().numpy() for alias in sites}
    words = network.input.tokens(group.x[0])  # type: ignore[union-attr]
    return Result(arrays, {"tokens": words})


def window(tokens: Sequence[str], trace: np.ndarray) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The tokens around the strongest, with the activations."""
    peak = int(trace.argmax())
    begin, end = max(0, peak - AROUND), min(len(tokens), peak + AROUND // 2 + 1)
    return tuple(tokens[begin:end]), tuple(float(v) for v in trace[begin:end])


def traces_of(
    results: Mapping[int, Result], row: int, site: str, column: int
) -> tuple[tuple[str, ...], tuple[float, ...]] | None:
    """The window of one unit in one text, if it was traced."""
    if row not in results:
        return None
    return window(results[row].values["tokens"], results[row].arrays[site][:, column])
