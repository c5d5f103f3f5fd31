"""Two pictures shown as one: the inputs that the conjunction check asks about, and the placebos that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from ..datasets import Dataset
from ..networks import ImageInput, Network
from ..records import BadInput
from ..runs import Context, Result

#: Each keeps all of both pictures: "beside" and "stacked" squeeze them, "overlaid" averages them.
LAYOUTS = ("beside", "stacked", "overlaid")

#: Where the two pictures stand apart. Laid over each other, two pictures draw shapes that neither holds (a 6 over a 7
#: is
#: an 8), so only what shows in these can be called a conjunction.
APART = ("beside", "stacked")

#: A partner that holds nothing.
BLANK = -1

Pixels = UInt8[np.ndarray, "height width channel"]


def compose(first: Pixels, second: Pixels, layout: str) -> Pixels:
    """One picture that shows both, of the same size: side by side, one above the other, or averaged."""
    height, width = first.shape[:2]
    if layout == "beside":
        cut = width // 2
        return np.concatenate([_fit(first, height, cut), _fit(second, height, width - cut)], axis=1)
    if layout == "stacked":
        cut = height // 2
        return np.concatenate([_fit(first, cut, width), _fit(second, height - cut, width)], axis=0)
    if layout == "overlaid":
        return ((first.astype(np.uint16) + second + 1) // 2).astype(np.uint8)
    raise BadInput("there is no such layout", where=layout, fix=f"choose among {', '.join(LAYOUTS)}")


def _fit(pixels: Pixels, height: int, width: int) -> Pixels:
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized[:, :, None] if resized.ndim == 2 else resized


@dataclass(frozen=True, slots=True)
class Shown:
    """One composite: numbers of two examples (or BLANK), and the layout."""

    first: int
    second: int
    layout: str


def blank(dataset: Dataset, taken: ImageInput, sample: Sequence[int]) -> Pixels:
    """The picture of nothing: the median colour of the data's borders."""
    edges = []
    for index in sample:
        pixels = taken.crop(dataset.raw(int(index)))  # type: ignore[arg-type]
        edges.append(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]))
    colour = np.median(np.concatenate(edges), axis=0).astype(np.uint8)
    return np.broadcast_to(colour, (*taken.size, taken.channels)).copy()


class Composer:
    """Makes composites of a data set's pictures as the network would see them; keeps the latest pictures in memory."""

    def __init__(self, dataset: Dataset, taken: ImageInput, empty: Pixels, keep: int = 512) -> None:
        self.dataset, self.taken, self.empty, self.keep = dataset, taken, empty, keep
        self._pictures: dict[int, Pixels] = {}

    def picture(self, index: int) -> Pixels:
        """One example, cropped and resized."""
        if index == BLANK:
            return self.empty
        if index not in self._pictures:
            if len(self._pictures) >= self.keep:
                self._pictures.pop(next(iter(self._pictures)))
            self._pictures[index] = self.taken.crop(self.dataset.raw(index))  # type: ignore[arg-type]
        return self._pictures[index]

    def show(self, shown: Shown) -> Pixels:
        """The composite's pixels."""
        return compose(self.picture(shown.first), self.picture(shown.second), shown.layout)

    def batch(self, group: Sequence[Shown]) -> Float[torch.Tensor, "batch channel height width"]:
        """Composites as the network takes them."""
        return torch.as_tensor(self.taken.stack([self.show(shown) for shown in group]))


def composer_of(context: Context, border: Sequence[int]) -> Composer:
    """The composer for a context's data; `border` are the examples whose borders say what "nothing" looks like."""
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    if not isinstance(network.input, ImageInput):
        raise BadInput(
            "composites are made of pictures, and this network takes none",
            where=network.name,
            fix="leave this check out",
        )
    return Composer(dataset, network.input, blank(dataset, network.input, border))


def answer_composites(
    context: Context, *, first: list[int], second: list[int], layouts: list[str], border: list[int], batch: int
) -> Result:
    """A piece of work: the network's logits on composites, [n, classes]."""
    network: Network = context["network"]
    composer = composer_of(context, border)
    shown = [Shown(*item) for item in zip(first, second, layouts, strict=True)]
    # Pictures next to each other share components, so the few that are kept serve many composites.
    out = []
    with torch.no_grad():
        for begin in range(0, len(shown), batch):
            out.append(network.logits(composer.batch(shown[begin : begin + batch])).float().cpu().numpy())
    return Result({"logits": np.concatenate(out) if out else np.zeros((0, len(network.classes or ())), np.float32)})
