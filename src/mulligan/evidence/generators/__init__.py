"""Generators: inputs that elicit a behaviour, as data and never as code; rendered here, in the same way for everybody.

A diagnosis says "inputs like these" by a family, slots for its sources, parameters and tensors. What it says can then
be tried on pictures that nobody has seen.
"""

from .atoms import atom_names, atoms, looked
from .files import SCHEMA, load_generator, save_generator
from .generator import FAMILIES, Generator, Slot

__all__ = [
    "FAMILIES", "SCHEMA", "Generator", "Slot", "atom_names", "atoms", "load_generator", "looked", "save_generator",
]  # fmt: skip
