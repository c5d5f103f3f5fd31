"""Two pictures shown as one: the inputs that checks of composites ask about, and the placebos that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..datasets import Dataset
from ..evidence.generators import Generator, Slot
from ..networks import ImageInput, Network
from ..records import BadInput
from ..runs import Context, Result
from .quick import quick_logits

#: How two pictures are shown as one; each keeps all of both. They are the arrangements of the generators' family
#: "compose", so what is measured here is what a finding's generator file renders.
LAYOUTS = ("beside", "stacked", "diagonal", "quadrants", "inset", "overlaid", "brighter")

#: Where the two pictures stand apart. Laid over each other, two pictures draw shapes that neither holds (a 6 over a 7
#: is an 8), so only what shows in these can be called a conjunction.
APART = ("beside", "stacked", "diagonal", "quadrants", "inset")

#: A partner that holds nothing.
BLANK = -1

#: How many bytes of pictures a composer keeps in memory, and how many values a batch of small pictures may hold.
_KEPT, _BATCH_VALUES = 256 << 20, 1 << 20

Pixels = UInt8[np.ndarray, "height width channel"]
Stack = Float[Tensor, "n c h w"]


def arrangement(layout: str, *, turned: bool = False) -> dict[str, object]:
    """The parameters of the generators' family "compose" for a layout, the first picture left or above (or not).

    Raises:
        BadInput: if there is no such layout.
    """
    if layout not in LAYOUTS:
        raise BadInput("there is no such layout", where=layout, fix=f"choose among {', '.join(LAYOUTS)}")
    return {"arrangement": layout, "order": "any" if turned else "first-left"}


def compose(first: Stack, second: Stack, layout: str, background: Sequence[float], random: torch.Generator) -> Stack:
    """Both as one picture of the same size, from 0 to 1; `background` is what lies where neither does.

    Args:
        random: draws the corner of an inset.

    Raises:
        BadInput: if there is no such layout.
    """
    parameters = {**arrangement(layout), "background": [float(value) for value in background]}
    made = Generator(family="compose", slots=(Slot(name="first"), Slot(name="second")), parameters=parameters)
    return made.render([first, second], random)


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

    def __init__(self, dataset: Dataset, taken: ImageInput, empty: Pixels) -> None:
        self.dataset, self.taken, self.empty = dataset, taken, empty
        self.keep = max(64, _KEPT // empty.size)
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

    def stack(self, indices: Sequence[int]) -> Stack:
        """Examples as pixels from 0 to 1."""
        pixels = torch.from_numpy(np.stack([self.picture(index) for index in indices]))
        return pixels.permute(0, 3, 1, 2).float() / 255

    def show(self, group: Sequence[Shown], random: torch.Generator) -> Stack:
        """The composites' pixels, from 0 to 1."""
        first, second = self.stack([shown.first for shown in group]), self.stack([shown.second for shown in group])
        background = (self.empty[0, 0].astype(np.float32) / 255).tolist()
        out = torch.empty_like(first)
        for layout in dict.fromkeys(shown.layout for shown in group):
            rows = torch.tensor([shown.layout == layout for shown in group])
            out[rows] = compose(first[rows], second[rows], layout, background, random)
        return out

    def batch(self, group: Sequence[Shown], random: torch.Generator) -> Stack:
        """Composites as the network takes them."""
        return self.taken.normalise(self.show(group, random)).contiguous()

    def batches(self, shown: Sequence[Shown], size: int, seed: int):
        """All composites in order, a batch at a time; the same seed draws the same corners."""
        random = torch.Generator().manual_seed(seed)
        values = self.empty.size
        size = max(size, min(256, _BATCH_VALUES // values))
        for begin in range(0, len(shown), size):
            yield self.batch(shown[begin : begin + size], random)


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
    context: Context, *, first: list[int], second: list[int], layouts: list[str], border: list[int], batch: int,
    seed: int = 0,
) -> Result:  # fmt: skip
    """A piece of work: the network's logits on composites, [n, classes]."""
    network: Network = context["network"]
    composer = composer_of(context, border)
    shown = [Shown(*item) for item in zip(first, second, layouts, strict=True)]
    out = [quick_logits(network, x).cpu().numpy() for x in composer.batches(shown, batch, seed)]
    return Result({"logits": np.concatenate(out) if out else np.zeros((0, len(network.classes or ())), np.float32)})
