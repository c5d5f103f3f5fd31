"""Record activations: stream a data set through a network once, and keep what was asked for in a run.

One piece of work is one shard, a safetensors file that appears in one step; the index, a Parquet table, says where each
example lies. Memory holds one shard. A killed recording is resumed by running the same call: finished shards are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from torch import Tensor

from ..datasets import Dataset, batches
from ..networks import Network
from ..records import BadInput, Emit, Site, silent
from ..runs import Context, Engine, LocalEngine, Piece, Result, Run, digest, piece_file, replacing, require_room
from .pools import Pool

INDEX = "tables/recording.parquet"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to record: sites (aliases), pools a site, whether the answers too, and how to cut the work."""

    sites: tuple[str, ...]
    pools: tuple[str, ...] = ("mean", "max")
    answers: bool = True
    batch: int = 32
    shard: int = 256
    seed: int = 0


def record(
    network: Network, dataset: Dataset, plan: Plan, run: Run, *, engine: Engine | None = None, emit: Emit = silent, indices: Sequence[int] | None = None,
    job: str = "record", index: str = INDEX,
) -> Recording:  # fmt: skip
    """Record `plan` over `dataset` (or `indices` of it) into `run`.

    Raises:
        BadInput: if a site or a pool does not exist. DiskFull: before the work, if it cannot fit.
    """
    sites = network.sites(plan.sites) if plan.sites else []
    pools = [Pool(text) for text in plan.pools]
    order = np.arange(len(dataset)) if indices is None else np.asarray(indices, dtype=np.int64)
    need = _bytes_an_example(network, sites, pools, plan) * len(order)
    require_room(run.path, int(need * 1.1) + 10_000_000)
    context = Context(digest(network.identity, *(network.input.steps() if network.input else ()), dataset.identity), {"network": network, "dataset": dataset})
    arguments = {"sites": [site.alias for site in sites], "pools": [pool.text for pool in pools], "answers": plan.answers, "batch": plan.batch, "seed": plan.seed}
    spans = [(begin, min(begin + plan.shard, len(order))) for begin in range(0, len(order), plan.shard)]
    whole = indices is None
    pieces = [
        Piece(
            "mulligan.activations.recording:record_shard",
            {**arguments, "start": begin, "stop": end, "indices": None if whole else [int(i) for i in order[begin:end]]},
            cost=end - begin,
        )
        for begin, end in spans
    ]
    target = run.at(index)
    with replacing(target) as part, pq.ParquetWriter(part, _INDEX_SCHEMA, compression="zstd") as writer:
        for (begin, end), (piece, _) in zip(spans, (engine or LocalEngine()).run(job, pieces, context, run, emit), strict=True):
            file = piece_file(piece.address(context))
            chosen = order[begin:end]
            columns = [
                pa.array([dataset.ids[int(i)] for i in chosen]), pa.array(chosen, pa.int64()),
                pa.array([file] * len(chosen)).dictionary_encode(), pa.array(range(len(chosen)), pa.int32()),
            ]  # fmt: skip
            writer.write_table(pa.table(dict(zip(_INDEX_SCHEMA.names, columns, strict=True)), schema=_INDEX_SCHEMA))
    return Recording(run, index)


_INDEX_SCHEMA = pa.schema(
    [("id", pa.string()), ("example", pa.int64()), ("shard", pa.dictionary(pa.int32(), pa.string())), ("row", pa.int32())]
)


def _bytes_an_example(network: Network, sites: Sequence[Site], pools: Sequence[Pool], plan: Plan) -> int:
    total = 0
    for site in sites:
        batch = max(site.shape[0], 1) if site.shape else 1
        whole = int(np.prod(site.shape)) // batch if site.shape else 0
        for pool in pools:
            number = int(pool.text.partition(":")[2]) if pool.text.startswith("sample") else 1
            total += 4 * (whole if pool.text == "full" else site.units * number if site.shape else 0)
    if plan.answers and network.task == "classification":
        total += 4 * len(network.classes or ())
    return total + 64


def record_shard(
    context: Context, *, sites: list[str], pools: list[str], answers: bool, batch: int, seed: int, start: int, stop: int, indices: list[int] | None
) -> Result:
    """One shard: examples `start` to `stop` (or `indices`), as arrays "SITE|POOL" and the network's answers."""
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    chosen = list(range(start, stop)) if indices is None else indices
    resolved = [network.site(alias) for alias in sites]
    pooled = [Pool(text) for text in pools]
    kept: dict[str, list[np.ndarray]] = {}
    mask: Tensor | None = None
    position = start

    def reduce(tensor: Tensor, site: Site) -> Tensor:
        for pool in pooled:
            value = pool(tensor, site, mask, seed, position)
            kept.setdefault(f"{site.alias}|{pool.text}", []).append(_numpy(value))
        return tensor.new_empty(0)

    with torch.no_grad(), network.watching(resolved, reduce=reduce):
        for group in batches(dataset, network.input, chosen, batch):
            mask = group.mask
            logits = network.logits(group.x, group.mask)
            if answers:
                for name, value in _answers(network, logits, group.x, group.mask).items():
                    kept.setdefault(name, []).append(value)
            position += len(group.indices)
    arrays = {name: _stack(parts) for name, parts in kept.items()}
    return Result(arrays, {"start": start, "count": len(chosen)})


def _numpy(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.is_floating_point():
        tensor = tensor.float()
    # A view of what passes would hold the whole activation alive, and may be overwritten in place.
    return tensor.cpu().numpy().copy()


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenate batches; texts of other lengths are padded with NaN (-1 for whole numbers)."""
    if parts[0].ndim > 1:
        widths = {part.shape[1] for part in parts}
        if len(widths) > 1:
            top = max(widths)
            fill = np.nan if parts[0].dtype.kind == "f" else -1
            parts = [np.pad(part, [(0, 0), (0, top - part.shape[1])] + [(0, 0)] * (part.ndim - 2), constant_values=fill) for part in parts]
    return np.concatenate(parts)


def _answers(network: Network, logits: Tensor, x: Tensor, mask: Tensor | None) -> dict[str, np.ndarray]:
    """What is kept of the answers: all logits of a classifier, an embedding; of a language model, what each next token got.

    A language model's arrays are [batch, position]: `token` (the id to be predicted), `loss` (nats), `confidence` (of the
    likeliest token), `answer` (its id); the first position, which nothing predicts, and padding hold -1 or NaN.
    """
    if network.task != "language":
        return {"answers": _numpy(logits)}
    real = mask.bool() if mask is not None else torch.ones_like(x, dtype=torch.bool)
    token = x[:, 1:].to(logits.device)
    logs = torch.log_softmax(logits[:, :-1].float(), -1)
    loss = -logs.gather(-1, token[..., None])[..., 0]
    best, answer = logs.max(-1)
    valid = (real[:, 1:] & real[:, :-1]).to(logits.device)

    def first(values: Tensor, fill: float) -> np.ndarray:
        values = torch.where(valid, values, torch.full((), fill, dtype=values.dtype, device=values.device))
        return _numpy(torch.cat([torch.full_like(values[:, :1], fill), values], 1))

    return {
        "token": first(token.to(torch.int32), -1), "answer": first(answer.to(torch.int32), -1),
        "loss": first(loss, torch.nan), "confidence": first(best.exp(), torch.nan),
    }  # fmt: skip


class Recording:
    """What was recorded, opened for reading; arrays are read shard by shard.

    Raises:
        BadInput: if the index is missing or damaged.
    """

    def __init__(self, run: Run, index: str = INDEX) -> None:
        self.run = run
        table = run.read_table(index)
        self.ids: list[str] = table["id"].to_pylist()
        self.examples = table["example"].to_numpy()
        shards = table["shard"].combine_chunks()
        column = shards.to_pylist()
        self._shards: list[str] = list(dict.fromkeys(column))
        self._of = {name: number for number, name in enumerate(self._shards)}
        self._shard = np.asarray([self._of[name] for name in column], dtype=np.int32)
        self._row = table["row"].to_numpy()
        self._at: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> list[str]:
        """The arrays that are there: "SITE|POOL", "answers", "loss"..."""
        if not self._shards:
            return []
        with safe_open(self.run.at(self._shards[0]), framework="np") as file:
            return sorted(file.keys())

    def shards(self, name: str) -> Iterator[np.ndarray]:
        """One array after another, in the order recorded.

        Raises:
            BadInput: if there is no array of this name.
        """
        for shard in self._shards:
            with safe_open(self.run.at(shard), framework="np") as file:
                if name not in file.keys():  # noqa: SIM118
                    raise BadInput("this was not recorded", where=name, fix=f"there are {', '.join(self.names[:8])}")
                yield file.get_tensor(name)

    def array(self, name: str) -> np.ndarray:
        """All of one array, [examples, ...]; texts of other lengths are padded (see `record_shard`)."""
        return _stack(list(self.shards(name)))

    def example(self, id: str, name: str) -> np.ndarray:
        """One example's row of one array, read alone.

        Raises:
            BadInput: if the example or the array is not there.
        """
        if self._at is None:
            self._at = {example: number for number, example in enumerate(self.ids)}
        if id not in self._at:
            raise BadInput("there is no example of this id in the recording", where=id, fix="list the ids with Recording.ids")
        number = self._at[id]
        with safe_open(self.run.at(self._shards[self._shard[number]]), framework="np") as file:
            if name not in file.keys():  # noqa: SIM118
                raise BadInput("this was not recorded", where=name, fix=f"there are {', '.join(self.names[:8])}")
            return file.get_slice(name)[int(self._row[number])]


def pool_name(site: Site | str, pool: str) -> str:
    """The name of an array in a recording."""
    return f"{site if isinstance(site, str) else site.alias}|{pool}"


