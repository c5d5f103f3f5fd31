"""How a picture is written down as parameters that an optimizer can climb in.

All give logits of pixels: a mean colour plus decorrelated colours, so that a step of one size is as easy to see in each
frequency and colour as it is in the user's own pictures.
"""

from __future__ import annotations

from collections.abc import Callable

from ...records import BadInput
from .cppn import Cppn
from .fourier import Fourier, softness
from .maco import MaCo
from .parametrization import Parametrization
from .pixel import Pixel
from .shared import Shared

KINDS: dict[str, Callable[..., Parametrization]] = {
    "fourier": Fourier, "maco": MaCo, "pixel": Pixel, "shared": Shared, "cppn": Cppn,
}  # fmt: skip


def parametrization(name: str) -> Callable[..., Parametrization]:
    """The class of that name.

    Raises:
        BadInput: if there is none.
    """
    if name not in KINDS:
        raise BadInput(f"{name!r} is not known", where="parametrization", fix=f"give {', '.join(KINDS)}")
    return KINDS[name]


__all__ = ["KINDS", "Cppn", "Fourier", "MaCo", "Parametrization", "Pixel", "Shared", "parametrization", "softness"]
