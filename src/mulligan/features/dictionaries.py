"""Dictionaries: many directions at one site under a name, so that `SITE@NAME:INDEX` names one of them.

A dictionary is known by its digest: a retrained one is another. It is one safetensors file, wherever it came from:
"encoder" [latents, units], and where there are any "bias" [latents] and "centre" [units]; its notes hold name and site.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open

from ..records import BadInput, Feature, parse_feature, parse_site
from ..runs import digest, replacing
from ..runs.array_files import write_arrays

SCHEMA = "mulligan/dictionary/1"
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Directions that are read at one site.

    Attributes:
        name: what aliases call it. site: where it is read.
        encoder: one row a latent. bias: added to what is read. centre: taken from the activation first.

    Raises:
        BadInput: if the arrays do not fit each other, are not finite, or the name cannot stand in an alias.
    """

    name: str
    site: str
    encoder: Float[np.ndarray, "latents units"]
    bias: Float[np.ndarray, " latents"] | None = None
    centre: Float[np.ndarray, " units"] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadInput(
                "this cannot be a dictionary's name", where=repr(self.name), fix="use letters, digits, - . and _"
            )
        parse_site(self.site)
        if self.encoder.ndim != 2 or not self.encoder.size:
            raise BadInput(
                f"an encoder of shape {self.encoder.shape} has no latents", where=self.name, fix="give [latents, units]"
            )
        for array, length, what in ((self.bias, len(self), "bias"), (self.centre, self.units, "centre")):
            if array is not None and array.shape != (length,):
                raise BadInput(
                    f"the {what} has shape {array.shape}, and the encoder {self.encoder.shape}",
                    where=self.name,
                    fix=f"give {length} numbers",
                )
        if not all(np.isfinite(array).all() for array in self._arrays().values()):
            raise BadInput("this dictionary holds NaN or infinity", where=self.name, fix="make it again")

    def __len__(self) -> int:
        return len(self.encoder)

    @property
    def units(self) -> int:
        """How many units its site has."""
        return self.encoder.shape[1]

    @cached_property
    def digest(self) -> str:
        """A hash ("sha256:...") of site and numbers; the name is no part of it."""
        arrays = sorted(self._arrays().items())
        return digest(self.site, *(name + repr(a.shape) + a.astype("<f4").tobytes().hex() for name, a in arrays))

    def _arrays(self) -> dict[str, np.ndarray]:
        held = {"encoder": self.encoder, "bias": self.bias, "centre": self.centre}
        return {name: np.asarray(array, np.float32) for name, array in held.items() if array is not None}

    def read(self, values: Float[np.ndarray, "... units"]) -> Float[np.ndarray, "... latents"]:
        """What each latent reads of activations, before any nonlinearity.

        Raises:
            BadInput: if they have another number of units.
        """
        if values.shape[-1] != self.units:
            raise BadInput(
                f"activations of {values.shape[-1]} units are given to a dictionary of {self.units}",
                where=self.name,
                fix=f"record {self.site}",
            )
        centred = values if self.centre is None else values - self.centre
        found = centred @ self.encoder.T
        return found if self.bias is None else found + self.bias

    def direction(self, index: int) -> Float[np.ndarray, " units"]:
        """The row of one latent.

        Raises:
            BadInput: if there is no such latent; says how many there are.
        """
        if not 0 <= index < len(self):
            raise BadInput(
                f"latent {index} does not exist: there are {len(self)}",
                where=f"{self.site}@{self.name}",
                fix=f"choose 0 to {len(self) - 1}",
            )
        return self.encoder[index]

    def feature(self, index: int) -> Feature:
        """One latent as a feature, the dictionary known by name and digest."""
        self.direction(index)
        site = parse_site(self.site)
        return Feature((site,), (), index, f"{self.name}/{self.digest}")

    def save(self, path: Path | str) -> Path:
        """Write it as one safetensors file, in one step; equal dictionaries give equal bytes.

        Raises:
            BadInput, DiskFull: if it cannot be written.
        """
        notes = {"schema": SCHEMA, "name": self.name, "site": self.site, "digest": self.digest}
        with replacing(Path(path)) as part:
            write_arrays(part, self._arrays(), notes)
        return Path(path)


def load_dictionary(path: Path | str) -> Dictionary:
    """Read what `Dictionary.save` wrote.

    Raises:
        BadInput: if the file is missing, broken, no dictionary, or its numbers are not those that its digest names.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            notes = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadInput("there is no such dictionary", where=path, fix="check the path") from None
    except (SafetensorError, OSError) as error:
        raise BadInput(f"this dictionary cannot be read: {error}", where=path, fix="give a safetensors file") from error
    if notes.get("schema") != SCHEMA or "encoder" not in arrays or not {"name", "site"} <= set(notes):
        raise BadInput(
            "this file is no dictionary (encoder, name or site is missing)",
            where=path,
            fix="write it with Dictionary.save",
        )
    found = Dictionary(notes["name"], notes["site"], arrays["encoder"], arrays.get("bias"), arrays.get("centre"))
    if notes.get("digest") != found.digest:
        raise BadInput("the numbers of this dictionary were changed", where=path, fix="restore the file")
    return found


def find_latent(text: str, dictionaries: Sequence[Dictionary]) -> tuple[Dictionary, int]:
    """The dictionary and index that `SITE@NAME:INDEX` names.

    Raises:
        BadInput: if it names no latent, no dictionary of this name is given at that site, or it has no such latent.
    """
    feature = parse_feature(text)
    if not feature.dictionary:
        raise BadInput("this names a unit and no latent", where=text, fix="write SITE@NAME:INDEX")
    site = feature.reads[0].alias
    for one in dictionaries:
        if one.name == feature.dictionary and parse_site(one.site).alias == site:
            one.direction(feature.index)
            return one, feature.index
    known = ", ".join(f"{one.site}@{one.name}" for one in dictionaries[:5]) or "none"
    raise BadInput("there is no such dictionary", where=text, fix=f"give its file; there are {known}")
