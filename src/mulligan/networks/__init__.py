"""Load any model, name its sites, watch and edit what flows through it."""

from .edits import Ablate, Clamp, Edit, Patch, ProjectOut, Steer, Then
from .inputs import ArrayInput, ImageInput, NetworkInput, TokenInput, parse_input
from .loading import Adapter, adapters, load
from .network import Network, Watched
from .parts import Part
from .tail import Held, Tail
from .trunk import neurons, spread, trunk

__all__ = [
    "Ablate", "Adapter", "ArrayInput", "Clamp", "Edit", "Held", "ImageInput", "Network", "NetworkInput", "Part",
    "Patch", "ProjectOut", "Steer", "Tail", "Then", "TokenInput", "Watched", "adapters", "load", "neurons",
    "parse_input", "spread", "trunk",
]  # fmt: skip
