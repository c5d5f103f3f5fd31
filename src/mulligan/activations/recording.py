"""Record activations: stream a data set through a network once, and keep what was asked for in a run.

One piece of work is one shard, a safetensors file that appears in one step; the index, a Parquet table, says where each
example lies. Memory holds one shard. A killed recording is resumed by running the same call: finished shards are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..datasets import Dataset, batches, require_kind
from ..networks import Network, NetworkInput, TokenInput
from ..records import BadInput, Emit, Site, silent
from ..runs import (
    Context,
    Engine,
    LocalEngine,
    Piece,
    Result,
    Run,
    digest,
    has_piece,
    piece_file,
    replacing,
    require_room,
)
from .pools import Pool, pooled_size

INDEX = "tables/recording.parquet"

_INDEX_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("example", pa.int64()),
        ("shard", pa.dictionary(pa.int32(), pa.string())),
        ("row", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to record, and how to cut the work.

    Attributes:
        sites: aliases or globs. pools: ways of pooling (see `Pool`), each used at every site.
        answers: whether to keep what the network answers, too.
        batch: examples in one forward pass. shard: examples in one file, which is what memory holds.
        seed: what the places of "sample" hang on.

    Raises:
        BadInput: if a batch or a shard would be empty.
    """

    sites: tuple[str, ...]
    pools: tuple[str, ...] = ("mean", "max")
    answers: bool = True
    batch: int = 32
    shard: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "shard"):
            if getattr(self, name) < 1:
                raise BadInput(
                    f"a {name} of {getattr(self, name)} examples cannot be", where=name, fix="give 1 or more"
                )


def record(
    network: Network,
    dataset: Dataset,
    plan: Plan,
    run: Run,
    *,
    engine: Engine | None = None,
    emit: Emit = silent,
    indices: Sequence[int] | None = None,
    job: str = "record",
    index: str = INDEX,
) -> Recording:
    """Record `plan` over `dataset` (or `indices` of it) into `run`.

    Raises:
        BadInput: if a site or a pool does not exist, the network does not take these data, or there are none.
        DiskFull: before the work, if what is not there yet cannot fit.
    """
    if network.taps.edited:
        # A shard's address knows the network, not what is laid over it: shards of the unedited one would be taken.
        raise BadInput(
            "a network cannot be recorded while it is edited",
            where=network.name,
            fix="leave the editing block, or change a copy of the module and wrap that",
        )
    input = _required_input(network)
    require_kind(dataset, input)
    sites = network.sites(plan.sites) if plan.sites else []
    pools = [Pool(text) for text in dict.fromkeys(plan.pools)]
    order = np.arange(len(dataset)) if indices is None else np.asarray(indices, dtype=np.int64)
    if not len(order):
        raise BadInput("there are no examples to record", where=dataset.source, fix="choose one or more")
    size = _bytes_an_example(network, dataset, order, sites, pools, plan.answers)
    identity = digest(network.identity, *input.steps(), dataset.identity)
    context = Context(identity, {"network": network, "dataset": dataset})
    edges = [*range(0, len(order), plan.shard), len(order)]
    pieces = [
        Piece(
            "mulligan.activations.recording:record_shard",
            {
                "sites": [site.alias for site in sites],
                "pools": [pool.text for pool in pools],
                "answers": plan.answers,
                "batch": plan.batch,
                "seed": plan.seed,
                "start": begin,
                "stop": end,
                "indices": None if indices is None else order[begin:end].tolist(),
            },
            cost=end - begin,
            # The batches, the arrays that they are joined to, and what is handed to the disk.
            memory=3 * size * (end - begin),
        )
        for begin, end in pairwise(edges)
    ]
    addresses = [piece.address(context) for piece in pieces]
    missing = sum(piece.cost for piece, address in zip(pieces, addresses, strict=True) if not has_piece(run, address))
    require_room(run.path, int(1.1 * size * missing) + 10_000_000)
    with (
        replacing(run.at(index)) as part,
        pq.ParquetWriter(part, _INDEX_SCHEMA, compression="zstd") as writer,
    ):
        done = (engine or LocalEngine()).run(job, pieces, context, run, emit)
        for (begin, end), address, _ in zip(pairwise(edges), addresses, done, strict=True):
            columns = [
                pa.array([dataset.ids[row] for row in order[begin:end].tolist()]),
                pa.array(order[begin:end], pa.int64()),
                pa.array([piece_file(address)] * (end - begin)).dictionary_encode(),
                pa.array(range(end - begin), pa.int32()),
            ]
            writer.write_table(pa.table(dict(zip(_INDEX_SCHEMA.names, columns, strict=True)), schema=_INDEX_SCHEMA))
    return Recording(run, index)


def _required_input(network: Network) -> NetworkInput:
    if network.input is None:
        raise BadInput(
            "this network does not say what it takes", where=network.name, fix="pass --input, or input= to Network"
        )
    return network.input


def _bytes_an_example(
    network: Network, dataset: Dataset, order: np.ndarray, sites: Sequence[Site], pools: Sequence[Pool], answers: bool
) -> int:
    """About how many bytes an example takes on the disk; texts are judged by some of them."""
    length = None
    if isinstance(network.input, TokenInput):
        some = order[np.linspace(0, len(order) - 1, min(len(order), 16)).astype(np.int64)]
        length = network.input.encode(dataset.gather(some))[0].shape[1]
    numbers = sum(pooled_size(pool, site, length) for site in sites for pool in pools)
    if answers and network.task == "language":
        numbers += 4 * (length or 0)
    elif answers:
        numbers += len(network.classes or ())
    return 4 * numbers + 64


def record_shard(
    context: Context,
    *,
    sites: list[str],
    pools: list[str],
    answers: bool,
    batch: int,
    seed: int,
    start: int,
    stop: int,
    indices: list[int] | None,
) -> Result:
    """One shard: examples `start` to `stop` (or `indices`), as arrays "SITE|POOL" and the network's answers.

    Raises:
        BadInput: if a site did not run for every example.
    """
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    chosen = list(range(start, stop)) if indices is None else indices
    resolved = [network.site(alias) for alias in sites]
    wanted = [(Pool(text), {site.alias: pool_name(site, text) for site in resolved}) for text in pools]
    kept: dict[str, list[np.ndarray]] = {name: [] for _, names in wanted for name in names.values()}
    mask: Tensor | None = None
    ids: list[str] = []

    def reduce(tensor: Tensor, site: Site) -> Tensor:
        for pool, names in wanted:
            kept[names[site.alias]].append(_numpy(pool(tensor, site, mask, seed, ids)))
        return _NOTHING

    with torch.no_grad(), network.watching(resolved, reduce=reduce):
        for group in batches(dataset, _required_input(network), chosen, batch):
            mask, ids = group.mask, [dataset.ids[int(row)] for row in group.indices]
            if not answers:
                network(group.x, group.mask)
                continue
            logits = network.logits(group.x, group.mask)
            for name, value in _answers(network, logits, group.x, group.mask).items():
                kept.setdefault(name, []).append(value)
    for name, parts in kept.items():
        if sum(map(len, parts)) != len(chosen):
            raise BadInput(
                f"this site gave {sum(map(len, parts))} rows for {len(chosen)} examples",
                where=name,
                fix="choose a site that runs once for every input",
            )
    # Each is joined when the ones before it have let their batches go.
    return Result({name: _stack(kept.pop(name)) for name in list(kept)}, {"start": start, "count": len(chosen)})


_NOTHING = torch.empty(0)


def _numpy(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.is_floating_point():
        tensor = tensor.float()
    # A view of what passes would hold the whole activation alive, and may be overwritten in place.
    return tensor.cpu().numpy().copy()


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    """Join batches of [batch, ...]; where texts have other lengths, each is padded at the end (see `_padding`)."""
    shape = _joined([part.shape for part in parts])
    if all(part.shape[1:] == shape[1:] for part in parts):
        return np.concatenate(parts)
    joined = np.full(shape, _padding(parts[0].dtype), parts[0].dtype)
    _fill(joined, iter(parts))
    return joined


def _joined(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return sum(shape[0] for shape in shapes), *(max(sizes) for sizes in zip(*(s[1:] for s in shapes), strict=True))


def _padding(dtype: np.dtype) -> float:
    return np.nan if dtype.kind == "f" else -1


def _fill(joined: np.ndarray, parts: Iterator[np.ndarray]) -> None:
    row = 0
    for part in parts:
        joined[(slice(row, row + len(part)), *(slice(0, size) for size in part.shape[1:]))] = part
        row += len(part)


def _answers(network: Network, logits: Tensor, x: Tensor, mask: Tensor | None) -> dict[str, np.ndarray]:
    """What is kept of the answers: all logits of a classifier, an embedding; of a language model, a few of each token.

    A language model's arrays are [batch, position]: `token` (the id to be predicted), `loss` (nats), `confidence` (of
    the likeliest token), `answer` (its id); the first position, which nothing predicts, and padding hold -1 or NaN.
    """
    if network.task != "language":
        return {"answers": _numpy(logits)}
    real = mask.bool() if mask is not None else torch.ones_like(x, dtype=torch.bool)
    valid = (real[:, 1:] & real[:, :-1]).cpu()
    # Text by text: the logits of a batch are large, and each step would copy them.
    rows = [_predicted(logits[i, :-1], x[i, 1:].to(logits.device)) for i in range(len(x))]
    found: dict[str, np.ndarray] = {}
    for name, column in zip(("token", "answer", "loss", "confidence"), zip(*rows, strict=True), strict=True):
        values = torch.stack(column)
        fill = torch.nan if values.is_floating_point() else -1
        values = values.cpu().masked_fill(~valid, fill)
        found[name] = _numpy(torch.cat([torch.full_like(x[:, :1], fill, dtype=values.dtype, device="cpu"), values], 1))
    return found


def _predicted(logits: Tensor, token: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of one text's logits [position, vocabulary]: the token, the answer, the loss and the confidence, [position]."""
    logits = logits.float()
    total = logits.logsumexp(-1)
    best, answer = logits.max(-1)
    loss = total - logits.gather(-1, token[:, None])[:, 0]
    return token.to(torch.int32), answer.to(torch.int32), loss, (best - total).exp()


class Recording:
    """What was recorded, opened for reading; arrays are read shard by shard.

    Attributes:
        ids: of the examples, in the order recorded. examples: their numbers in the data set.

    Raises:
        BadInput: if the index, or later a shard, is missing or damaged.
    """

    def __init__(self, run: Run, index: str = INDEX) -> None:
        self.run = run
        table = run.read_table(index)
        self.ids: list[str] = table["id"].to_pylist()
        self.examples = table["example"].to_numpy()
        shards = table["shard"].to_pylist()
        self._shards: list[str] = list(dict.fromkeys(shards))
        number = {name: number for number, name in enumerate(self._shards)}
        self._shard = np.asarray([number[name] for name in shards], dtype=np.int32)
        self._row = table["row"].to_numpy()
        self._at: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> list[str]:
        """The arrays that are there: "SITE|POOL", "answers", "loss"..."""
        with self._opened(self._shards[0]) as file:
            return sorted(file.keys())

    def shards(self, name: str) -> Iterator[np.ndarray]:
        """One array after another, in the order recorded.

        Raises:
            BadInput: if there is no array of this name.
        """
        for shard in self._shards:
            with self._opened(shard, name) as file:
                array = file.get_tensor(name)
            yield array

    def array(self, name: str) -> np.ndarray:
        """All of one array, [examples, ...]; shorter texts are padded at the end with NaN (-1 for whole numbers)."""
        shapes: list[list[int]] = []
        for shard in self._shards:
            with self._opened(shard, name) as file:
                shapes.append(file.get_slice(name).get_shape())
        first = next(self.shards(name))
        joined = np.full(_joined(shapes), _padding(first.dtype), first.dtype)
        _fill(joined, self.shards(name))
        return joined

    def example(self, id: str, name: str) -> np.ndarray:
        """One example's row of one array, read alone; a text's is as long as the longest of its shard.

        Raises:
            BadInput: if the example or the array is not there.
        """
        if self._at is None:
            self._at = {example: number for number, example in enumerate(self.ids)}
        if id not in self._at:
            raise BadInput(
                "there is no example of this id in the recording", where=id, fix="list the ids with Recording.ids"
            )
        number = self._at[id]
        with self._opened(self._shards[self._shard[number]], name) as file:
            return file.get_slice(name)[int(self._row[number])]

    @contextmanager
    def _opened(self, shard: str, name: str | None = None) -> Iterator[Any]:
        """A shard's file, which must hold `name`."""
        path = self.run.at(shard)
        try:
            with safe_open(path, framework="np") as file:
                if name is not None and name not in file.keys():  # noqa: SIM118
                    held = ", ".join(sorted(file.keys())[:8])
                    raise BadInput("this was not recorded", where=name, fix=f"there are {held}")
                yield file
        except (SafetensorError, OSError, IndexError) as error:
            raise BadInput(
                "a shard of the recording is missing or damaged", where=path, fix="run the command again with --resume"
            ) from error


def pool_name(site: Site | str, pool: str) -> str:
    """The name of an array in a recording."""
    return f"{site if isinstance(site, str) else site.alias}|{pool}"
