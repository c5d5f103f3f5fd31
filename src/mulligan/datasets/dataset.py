"""What every data set is: numbered examples with ids that last, and labels where they are known."""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from jaxtyping import Int64
from PIL import Image

from ..records import BadInput

Kind = Literal["images", "texts", "arrays"]
Raw = Image.Image | np.ndarray | str
Labels = Int64[np.ndarray, " example"]


class Dataset(ABC):
    """Examples, numbered from 0, read when they are asked for.

    Attributes:
        source: where it was loaded from, as the user wrote it.
        kind: what an example is.
        labels: the class of each example, -1 where it is unknown; None where none is known.
        label_names: the names that the labels count; None where they have no names.
        notes: what a reader of the report should know about how it was read, a sentence each.
        holds_arrays: whether `gather` gives arrays as they are stored, even where `raw` makes pictures of them.
    """

    holds_arrays = False

    def __init__(
        self,
        source: str,
        kind: Kind,
        n: int,
        *,
        labels: Labels | None = None,
        label_names: tuple[str, ...] | None = None,
        notes: tuple[str, ...] = (),
        ids: Sequence[str] | None = None,
    ) -> None:
        self.source = source
        self.kind: Kind = kind
        self.labels = labels
        self.label_names = label_names
        self.notes = notes
        self._n = n
        self._known = ids
        self._loaded: Mapping[str, Any] = {}

    def __len__(self) -> int:
        return self._n

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Plain data: what `load_dataset` was given, and `indices` of a part; empty if this was made in another way."""
        return self._loaded

    @cached_property
    def ids(self) -> Sequence[str]:
        """An id for each example that lasts: 16 hex digits of the sha256 of its content, "-2", "-3"... for repeats.

        Moving files or reordering rows changes no id. The first use reads all examples once, one at a time.
        """
        return numbered(self._digests()) if self._known is None else self._known

    @cached_property
    def identity(self) -> str:
        """A hash ("sha256:...") of the ids and labels in their order: the same for the same examples in other files."""
        total = hashlib.sha256()
        labels = np.full(len(self), -1) if self.labels is None else self.labels
        for name, label in zip(self.ids, labels.tolist(), strict=True):
            total.update(f"{name} {label}\n".encode())
        return f"sha256:{total.hexdigest()}"

    def raw(self, index: int) -> Raw:
        """One example as it is stored: a picture, an array or a text. May be called from several threads.

        Raises:
            BadInput: if it cannot be read; names the file.
            IndexError: if there is no such example.
        """
        return self.decode(self.gather([index])[0])

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The examples at `indices`, in that order, under the same ids.

        Raises:
            IndexError: if there is no such example.
        """
        return _Subset(self, checked(indices, len(self)))

    @abstractmethod
    def gather(self, indices: Sequence[int] | np.ndarray) -> list[Any]:
        """What `decode` needs of each of these examples: the part of reading that is best done for many at once."""

    def decode(self, gathered: Any) -> Raw:
        """What `gather` gave for one example, as `raw` gives it: the part that threads can do at the same time."""
        return gathered

    def _digests(self) -> Iterator[str]:
        """The content digest of each example, in order, one at a time; for a data set made without ids."""
        raise NotImplementedError


class _Subset(Dataset):
    """Some examples of another data set."""

    def __init__(self, parent: Dataset, indices: Int64[np.ndarray, " example"]) -> None:
        labels = None if parent.labels is None else parent.labels[indices]
        super().__init__(
            parent.source, parent.kind, len(indices), labels=labels, label_names=parent.label_names, notes=parent.notes
        )
        self.holds_arrays = parent.holds_arrays
        self.parent = parent
        self.indices = indices

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {**self.parent.recipe, "indices": self.indices.tolist()} if self.parent.recipe else {}

    @cached_property
    def ids(self) -> Sequence[str]:
        ids = self.parent.ids
        return [ids[int(index)] for index in self.indices]

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        return _Subset(self.parent, self.indices[checked(indices, len(self))])

    def gather(self, indices: Sequence[int] | np.ndarray) -> list[Any]:
        return self.parent.gather(self.indices[checked(indices, len(self))])

    def decode(self, gathered: Any) -> Raw:
        return self.parent.decode(gathered)


def checked(indices: Sequence[int] | np.ndarray, n: int) -> Int64[np.ndarray, " example"]:
    """`indices` as an array.

    Raises:
        IndexError: if one is not in [0, n).
    """
    numbers = np.asarray(indices, dtype=np.int64).reshape(-1)
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < n):
        raise IndexError(f"examples are numbered from 0 to {n - 1}, not {numbers.min()} to {numbers.max()}")
    return numbers


def digest(content: bytes | memoryview) -> str:
    """The part of an id that content makes: 16 hex digits of its sha256."""
    return hashlib.sha256(content).hexdigest()[:16]


class _Ids(Sequence[str]):
    """Ids in a tenth of the room that Python texts take: digests, and how often each was there before."""

    def __init__(self, digests: np.ndarray, counts: np.ndarray) -> None:
        self._digests, self._counts = digests, counts

    def __len__(self) -> int:
        return len(self._digests)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        name, count = self._digests[index].decode(), int(self._counts[index])
        return name if count == 0 else f"{name}-{count + 1}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))


def numbered(digests: Iterable[str]) -> Sequence[str]:
    """Ids from content digests: the second example of one content gets "-2", the third "-3"."""
    names = np.fromiter((name.encode() for name in digests), dtype="S16")  # as long as `digest` makes them
    order = np.argsort(names, kind="stable")
    new = np.ones(len(names), dtype=bool)
    new[1:] = names[order[1:]] != names[order[:-1]]
    first = np.maximum.accumulate(np.where(new, np.arange(len(names)), 0))
    counts = np.zeros(len(names), dtype=np.int32)
    counts[order] = np.arange(len(names)) - first
    return _Ids(names, counts)


def require_classes(dataset: Dataset, n: int = 2) -> None:
    """Refuse data that do not hold examples of at least `n` classes.

    Raises:
        BadInput: if they do not, or no label is known.
    """
    labels = None if dataset.labels is None else dataset.labels[dataset.labels >= 0]
    if labels is None or not labels.size:
        raise BadInput(
            "these data have no labels",
            where=dataset.source,
            fix="give a folder with one subfolder a class, or a label column",
        )
    found = np.unique(labels)
    if len(found) < n:
        names = dataset.label_names
        what = ", ".join(repr(names[label]) if names else str(label) for label in found)
        raise BadInput(
            f"these data hold examples of {len(found)} class{'es' if len(found) > 1 else ''} only, {what}",
            where=dataset.source,
            fix=f"give examples of at least {n} classes",
        )
