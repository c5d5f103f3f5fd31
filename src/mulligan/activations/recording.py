"""Record activations: stream a data set through a network once, and keep what was asked for in a run.

One piece of work is one shard, a safetensors file that appears in one step; the index, a Parquet table, says where each
example lies. Memory holds one shard. A killed recording is resumed by running the same call: finished shards are found.
How it is run (eagerly or compiled, how many examples at a time) is planned from one measured batch: see `planning`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError
from torch import Tensor

from ..datasets import Batch, Dataset, batches, require_kind
from ..networks import Network, NetworkInput, TokenInput
from ..networks.compiled import NotCompiled
from ..records import BadInput, Emit, Noted, Site, silent
from ..runs import Context, Engine, LocalEngine, Piece, Result, Run, finished_pieces, piece_file
from .passes import EagerPass, Pass, Precision, Wanted, finished
from .planning import Fast, Planned, checked_pass, cut, plan_pass
from .pools import Pool, pooled_size
from .rebuilding import network_and_data, rebuild

_log = logging.getLogger(__name__)

INDEX = "tables/recording.parquet"
_USUAL_BATCH = 32

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
        answers: whether to keep what the network answers, too; without, a pass ends at the last site.
        batch: examples in one forward pass; None: as many as suit the network. What is stored does not depend on it.
        shard: examples in one file, which is what memory holds.
        seed: what the places of "sample" hang on.
        fast: whether the pass is compiled: "auto" (where it pays), "always", "never".
        precision: of the pass: "float32", or "bfloat16" where a rounding of 1 % is no matter.

    Raises:
        BadInput: if a batch or a shard would be empty, or a word is not known.
    """

    sites: tuple[str, ...]
    pools: tuple[str, ...] = ("mean", "max")
    answers: bool = True
    batch: int | None = None
    shard: int = 256
    seed: int = 0
    fast: Fast = "auto"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("batch", "shard"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise BadInput(f"a {name} of {number} examples cannot be", where=name, fix="give 1 or more")
        for name, words in (("fast", get_args(Fast)), ("precision", get_args(Precision))):
            if getattr(self, name) not in words:
                raise BadInput(f"{getattr(self, name)!r} is not known", where=name, fix=f"give {' or '.join(words)}")


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
    planned: Planned | None = None,
) -> Recording:
    """Record `plan` over `dataset` (or `indices` of it) into `run`.

    Args:
        planned: what `plan_pass` decided for the same network, data and plan; None: it is decided here.

    How it was run, and why so, is a note to `emit` and stands in the run's manifest under `passes`.

    Raises:
        BadInput: if a site or a pool does not exist, the network does not take these data, there are none, or
            `plan.fast` is "always" and the pass cannot be compiled.
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
    wanted = _wanted(network, plan)
    left_out = [site.alias for site in network.sites(plan.sites) if site not in wanted.sites] if plan.sites else []
    if left_out:
        some = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        emit(Noted(text=f"{len(left_out)} sites cannot be pooled like this and are left out: {some}"))
    order = np.arange(len(dataset)) if indices is None else np.asarray(indices, dtype=np.int64)
    if not len(order):
        raise BadInput("there are no examples to record", where=dataset.source, fix="choose one or more")
    size = _bytes_an_example(network, dataset, order, wanted.sites, wanted.pools, plan.answers)
    context = network_and_data(network, dataset)
    edges = [*range(0, len(order), plan.shard), len(order)]
    pieces = [
        Piece(
            "mulligan.activations.recording:record_shard",
            {
                "sites": [site.alias for site in wanted.sites],
                "pools": [pool.text for pool in wanted.pools],
                "answers": plan.answers,
                "precision": plan.precision,
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
    there = finished_pieces(run, addresses)
    missing = [span for span, address in zip(pairwise(edges), addresses, strict=True) if address not in there]
    if missing:
        run.require_room(int(1.1 * size * sum(end - begin for begin, end in missing)) + 10_000_000)
        rows = np.concatenate([order[begin:end] for begin, end in missing])
        planned = planned or plan_pass(network, dataset, input, wanted, rows, fast=plan.fast, batch=plan.batch)
        emit(Noted(text=planned.text()))
        run.update(passes={**run.manifest.get("passes", {}), job: _described(planned)})
        context = _with_pass(context, wanted, planned)
    with run.replacing(index) as part, pq.ParquetWriter(part, _INDEX_SCHEMA, compression="zstd") as writer:
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


def _wanted(network: Network, plan: Plan) -> Wanted:
    """What the plan asks for. Of a glob, sites that cannot be pooled so are left out; one that is named is not.

    Raises:
        BadInput: if nothing is left, as the first site has it.
    """
    pools = tuple(Pool(text) for text in dict.fromkeys(plan.pools))
    found = network.sites(plan.sites) if plan.sites else []
    sites = [site for site in found if site.alias in plan.sites or _can_be_pooled(site, pools)]
    return Wanted(
        sites=tuple(sites or found),
        pools=pools,
        answers=plan.answers,
        seed=plan.seed,
        precision=plan.precision,
    )


def _can_be_pooled(site: Site, pools: Sequence[Pool]) -> bool:
    try:
        for pool in pools:
            pooled_size(pool, site, None)
    except BadInput:
        return False
    return True


def _described(planned: Planned) -> dict[str, Any]:
    return {"engine": planned.run.engine, "batch": planned.batch, "why": planned.why}


def _with_pass(context: Context, wanted: Wanted, planned: Planned) -> Context:
    """The context with what runs its batches; and for another machine, with what it has to compile."""
    recipe: Mapping[str, Any] = context.recipe
    if recipe:
        sites, pools = [site.alias for site in wanted.sites], [pool.text for pool in wanted.pools]
        plan = {"sites": sites, "pools": pools, "answers": wanted.answers, "seed": wanted.seed}
        recipe = {
            **recipe,
            "build": f"{__name__}:rebuild_with_pass",
            "plan": {**plan, "precision": wanted.precision, "batch": planned.batch},
            "engine": planned.run.engine,
            "tokens": planned.tokens,
        }
    there = {"pass": planned.run, "batch": planned.batch, "tokens": planned.tokens}
    return Context(context.identity, {**context.objects, **there}, recipe)


def rebuild_with_pass(recipe: Mapping[str, Any]) -> Context:
    """The context of a recording's pieces on another machine: network, data, and the same engine.

    Raises:
        BadInput: as `rebuild` does.
    """
    context = rebuild(recipe)
    network: Network = context["network"]
    said = recipe["plan"]
    plan = Plan(
        tuple(said["sites"]), tuple(said["pools"]), said["answers"], said["batch"], seed=said["seed"],
        precision=said["precision"],
    )  # fmt: skip
    wanted = _wanted(network, plan)
    engine = recipe["engine"]
    run: Pass = EagerPass(network, wanted)
    if engine != "eager":
        first = next(batches(context["dataset"], _required_input(network), [0], 1))
        try:
            run = checked_pass(network, wanted, first, engine)
        except NotCompiled as error:
            _log.warning("this worker runs eagerly: %s", error)
    there = {"pass": run, "batch": plan.batch, "tokens": recipe["tokens"]}
    return Context(context.identity, {**context.objects, **there}, context.recipe)


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
    precision: Precision,
    seed: int,
    start: int,
    stop: int,
    indices: list[int] | None,
) -> Result:
    """One shard: examples `start` to `stop` (or `indices`), as arrays "SITE|POOL" and the network's answers.

    The context's "pass" runs the batches; without one they are run eagerly.

    Raises:
        BadInput: if a site did not run for every example.
    """
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    input = _required_input(network)
    plan = Plan(tuple(sites), tuple(pools), answers, seed=seed, precision=precision)
    wanted = _wanted(network, plan)
    run: Pass = context.objects.get("pass") or EagerPass(network, wanted)
    chosen = list(range(start, stop)) if indices is None else indices
    turned, parts = _cut(dataset, input, chosen, context.objects)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in wanted.names}
    for group in parts:
        found = run(group.x, group.mask, [dataset.ids[int(row)] for row in group.indices])
        for name, value in finished(network, found, group.x, group.mask, answers).items():
            kept.setdefault(name, []).append(_numpy(value))
    for name, parts in kept.items():
        if sum(map(len, parts)) != len(chosen):
            raise BadInput(
                f"this site gave {sum(map(len, parts))} rows for {len(chosen)} examples",
                where=name,
                fix="choose a site that runs once for every input",
            )
    back = np.argsort(turned)
    # Each is joined when the ones before it have let their batches go.
    arrays = {name: _ordered(_stack(kept.pop(name)), back) for name in list(kept)}
    return Result(arrays, {"start": start, "count": len(chosen), "engine": run.engine})


def _cut(
    dataset: Dataset, input: NetworkInput, chosen: Sequence[int], planned: Mapping[str, Any]
) -> tuple[np.ndarray, Iterator[Batch]]:
    """In which order to run these examples, and their batches: texts by length, so that little of one is padding."""
    size = planned.get("batch") or _USUAL_BATCH
    if not isinstance(input, TokenInput):
        return np.arange(len(chosen)), batches(dataset, input, chosen, size)
    lengths = input.encode(dataset.gather(np.asarray(chosen)))[1].sum(1).numpy()
    turned = np.argsort(lengths, kind="stable")
    rows = np.asarray(chosen)[turned]
    parts = (rows[part] for part in cut(lengths[turned].tolist(), size, planned.get("tokens")))
    return turned, (batch for part in parts for batch in batches(dataset, input, part, len(part)))


def _ordered(array: np.ndarray, back: np.ndarray) -> np.ndarray:
    return array if np.array_equal(back, np.arange(len(back))) else array[back]


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


class Recording:
    """What was recorded, opened for reading; arrays are read shard by shard.

    Attributes:
        examples: their numbers in the data set, in the order recorded.

    Raises:
        BadInput: if the index, or later a shard, is missing or damaged.
    """

    def __init__(self, run: Run, index: str = INDEX) -> None:
        self.run = run
        table = run.read_table(index)
        # Columns stay as Arrow holds them: a Python text an example would take ten times the room.
        self._ids = table["id"].combine_chunks()
        self.examples = table["example"].to_numpy()
        shards = table["shard"].unify_dictionaries().combine_chunks()
        self._shards: list[str] = shards.dictionary.to_pylist()
        self._shard = shards.indices.to_numpy()
        self._row = table["row"].to_numpy()

    def __len__(self) -> int:
        return len(self._ids)

    @cached_property
    def ids(self) -> list[str]:
        """The examples' ids, in the order recorded."""
        return self._ids.to_pylist()

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

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        """One array's rows `start` to `stop`, in the order recorded; only the shards that hold them are opened.

        Raises:
            BadInput: if there is no array of this name. IndexError: if there are no such rows.
        """
        if not 0 <= start < stop <= len(self):
            raise IndexError(f"rows {start} to {stop} are none of the {len(self)} recorded")
        parts: list[np.ndarray] = []
        while start < stop:
            # Rows of one shard stand together, as `record` writes them.
            shard, first = self._shard[start], int(self._row[start])
            last = start + int((self._shard[start:stop] == shard).sum())
            with self._opened(self._shards[shard], name) as file:
                parts.append(file.get_slice(name)[first : first + last - start])
            start = last
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

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
        number = pc.index(self._ids, id).as_py()
        if number < 0:
            raise BadInput(
                "there is no example of this id in the recording", where=id, fix="list the ids with Recording.ids"
            )
        with self._opened(self._shards[self._shard[number]], name) as file:
            return file.get_slice(name)[int(self._row[number])]

    @contextmanager
    def _opened(self, shard: str, name: str | None = None) -> Iterator[Any]:
        """A shard's file, which must hold `name`."""
        try:
            with self.run.open_arrays(shard) as file:
                if name is not None and name not in file.keys():  # noqa: SIM118
                    held = ", ".join(sorted(file.keys())[:8])
                    raise BadInput("this was not recorded", where=name, fix=f"there are {held}")
                yield file
        except (SafetensorError, OSError, IndexError) as error:
            raise BadInput(
                "a shard of the recording is missing or damaged",
                where=self.run.store.where(shard),
                fix="run the command again with --resume",
            ) from error
