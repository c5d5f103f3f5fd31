"""The same pieces on the machines of a Ray cluster that is there already.

A worker builds the heavy objects once, from the context's recipe, and sees that they are the very same (weights, data,
code, library versions). It does a piece and writes the result straight into the run, which all machines share; only the
news that it is there travels back. A piece whose worker dies is done again elsewhere; since a result is one file that
is named by its content, nothing is lost or doubled. This module only connects to a cluster: it starts none.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..records import Advanced, BadInput, DiskFull, Emit, Finished, Noted, Started, silent
from .addresses import canonical, code_digest, digest, library_versions
from .pieces import Context, Piece, Result, do_piece, finished_pieces, load_piece, resolve, result_of
from .run import Run
from .stores import LocalStore
from .work import LocalEngine, deferred_interrupt, interrupted, lost

RETRIES = 4  # how often a piece whose worker died is done again
_LATE = 60.0  # seconds after which a shared folder must show what another machine wrote
_OFTEN = 5.0  # seconds between two looks at how large the cluster is


class RayEngine:
    """Runs pieces on an existing Ray cluster; yields them in the order given, however they finish.

    SIGINT is noticed while waiting: nothing more is handed out, what is being done is finished and kept, and
    `Interrupted` is raised. A piece that fails ends the job in the same way.

    Args:
        address: of the cluster ("HOST:PORT", or "ray://HOST:PORT" for Ray's client); None: RAY_ADDRESS, or the cluster
            that this machine is part of.
        cpus: processors that a piece is given; torch uses as many threads.
        else_local: whether pieces whose context has no recipe are done in this process; else they are refused.

    Raises:
        BadInput: if Ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str | None = None, *, cpus: float = 1.0, else_local: bool = False) -> None:
        self._ray, self.cpus, self.else_local = _connected(address), cpus, else_local

    def run(
        self, job: str, pieces: Sequence[Piece], context: Context, run: Run, emit: Emit = silent
    ) -> Iterator[tuple[Piece, Result]]:
        """See `Engine.run`.

        Raises:
            Interrupted: after SIGINT. DiskFull: if a result cannot be stored.
            BadInput: if the context has no recipe, a worker cannot build the same objects or does not see the run, or
                a piece needs more memory than any machine has.
        """
        if self.else_local and not context.recipe:
            yield from LocalEngine().run(job, pieces, context, run, emit)
            return
        shared = _shared(job, context, run)
        addresses = [piece.address(context) for piece in pieces]
        there = finished_pieces(run, addresses)
        todo = {
            address: piece
            for piece, address in zip(pieces, addresses, strict=True)
            if address not in there or result_of(run, address) is None
        }
        self._require_memory(job, todo.values())
        emit(Started(job=job, total=len(pieces), done=len(pieces) - len(todo)))
        began = time.monotonic()
        flight = _Flight(self._ray, job, todo, shared, self.cpus, context.recipe.get("gpus", 0), emit)
        for piece, address in zip(pieces, addresses, strict=True):
            while address in flight:
                if flight.advance(len(pieces)):
                    raise interrupted(job, len(pieces) - flight.open, len(pieces), run)
            result = _seen(run, address)
            if result is None:
                raise lost(job, run)
            yield piece, result
        emit(Finished(job=job, seconds=time.monotonic() - began))

    def _require_memory(self, job: str, pieces: Iterable[Piece]) -> None:
        most = max((piece.memory for piece in pieces), default=0)
        workers = [node["Resources"] for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        largest = max((resources.get("memory", 0.0) for resources in workers), default=None)
        if largest is not None and most > largest:
            raise BadInput(
                f"a piece of work needs about {most / 1e9:.1f} GB of memory and the cluster's largest machine has "
                f"{largest / 1e9:.1f} GB", where=job,
                fix="add a larger machine or lower the batch size, then run the same command with --resume",
            )  # fmt: skip


class _Flight:
    """The pieces of one job that are not finished: handed out or still here."""

    def __init__(
        self, ray: Any, job: str, todo: Mapping[str, Piece], shared: Mapping[str, Any], cpus: float, gpus: float,
        emit: Emit,
    ) -> None:  # fmt: skip
        self._ray, self._job, self._cpus, self._gpus, self._emit = ray, job, cpus, gpus, emit
        self._left, self._flying, self._waited_for = dict(todo), {}, set(todo)
        self._costs = {address: piece.cost for address, piece in todo.items()}
        self._todo, self._done, self._began = sum(self._costs.values()), 0.0, time.monotonic()
        self._width, self._asked, self._noted = 1, -_OFTEN, False
        self._failure: Exception | None = None
        self._shared = ray.put(dict(shared)) if todo else None
        self._work = ray.remote(_work)

    def __contains__(self, address: str) -> bool:
        return address in self._waited_for

    @property
    def open(self) -> int:
        """How many are not finished."""
        return len(self._waited_for)

    def advance(self, total: int) -> bool:
        """Hand out what the cluster can take, wait for a little, and tell of what is finished.

        Returns:
            Whether the user has interrupted, and what was handed out is finished.

        Raises:
            Exception: what a piece raised, once the others that were handed out are finished.
        """
        with deferred_interrupt() as interrupt:
            self._hand_out()
            self._collect(total)
            while self._flying and (interrupt.is_set() or self._failure is not None):
                self._collect(total)
        if self._failure is not None:
            raise self._failure
        return interrupt.is_set()

    def _hand_out(self) -> None:
        if time.monotonic() - self._asked >= _OFTEN:
            self._asked = time.monotonic()
            slots = int(self._ray.cluster_resources().get("CPU", 0) // self._cpus)
            if not slots and not self._noted:
                self._noted = True
                self._emit(Noted(text="The cluster has no worker yet: waiting for one."))
            # A few more than run at once, so that no worker waits for this process.
            self._width = slots + max(1, slots // 8)
        while self._left and len(self._flying) < self._width:
            address = next(iter(self._left))
            piece = self._left.pop(address)
            options: dict[str, Any] = {
                "num_cpus": self._cpus, "max_retries": RETRIES, "retry_exceptions": False, "name": self._job,
            }  # fmt: skip
            if piece.memory:
                options["memory"] = piece.memory
            if self._gpus:
                options["num_gpus"] = self._gpus
            reference = self._work.options(**options).remote(
                self._shared, piece.function, dict(piece.arguments), address
            )
            self._flying[reference] = address

    def _collect(self, total: int) -> None:
        flying = list(self._flying)
        ready, _ = self._ray.wait(flying, num_returns=len(flying), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(flying, num_returns=1, timeout=1.0)
        for reference in ready:
            address = self._flying.pop(reference)
            try:
                refused = self._ray.get(reference)
            except Exception as error:  # what a piece raised, or a worker that died too often
                self._failure = self._failure or self._died(error)
                continue
            if refused is not None:
                self._failure = self._failure or _refusal(refused)
                continue
            self._waited_for.remove(address)
            self._done += self._costs[address]
            spent = time.monotonic() - self._began
            left = (self._todo - self._done) * spent / self._done if self._done > 0 else None
            self._emit(Advanced(job=self._job, done=total - self.open, total=total, seconds_left=left))

    def _died(self, error: Exception) -> Exception:
        exceptions = self._ray.exceptions
        if isinstance(error, exceptions.RayTaskError) or not isinstance(error, exceptions.RayError):
            return error
        return BadInput(
            f"a piece of work lost its worker {RETRIES + 1} times ({type(error).__name__})", where=self._job,
            fix="see whether the machines have enough memory, then run the same command with --resume",
        )  # fmt: skip


# On the driver
def _connected(address: str | None) -> Any:
    """The ray module, connected."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise BadInput(
            "the cluster engine needs a package that is not installed", where="ray",
            fix="install it with pip install 'mulligan[ray]'",
        ) from error  # fmt: skip
    if ray.is_initialized():
        return ray
    target = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        _require_listener(ray, target)
        ray.init(address=target, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        why = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        raise BadInput(
            f"there is no Ray cluster to connect to, {why}" if why else "there is no Ray cluster to connect to",
            where=target,
            fix="start one (`ray start --head`, and `ray start --address=HOST:PORT` on the others), or name it with "
            "RAY_ADDRESS or --engine ray:HOST:PORT",
        ) from error  # fmt: skip
    return ray


def _require_listener(ray: Any, target: str) -> None:
    """Whether anything listens there: Ray itself would try for many minutes. Raises OSError."""
    parts = urlsplit(target if "://" in target else f"ray://{target}")
    if target == "auto" or not parts.hostname or not parts.port:
        return
    # Ray takes this machine by the name that others know it by.
    host = ray.util.get_node_ip_address() if parts.hostname in ("localhost", "127.0.0.1", "::1") else parts.hostname
    socket.create_connection((host, parts.port), timeout=5.0).close()


def _shared(job: str, context: Context, run: Run) -> dict[str, Any]:
    """What every worker needs to know of a job."""
    if not context.recipe.get("build"):
        raise BadInput(
            "another machine cannot build what this job works on", where=job,
            fix="load network and data by their names, or use --engine local",
        )  # fmt: skip
    if run.location.startswith("memory://"):
        raise BadInput(
            "memory:// is seen by this process alone", where=run.location, fix="use a shared folder, or s3://..."
        )
    location = os.path.abspath(run.path) if isinstance(run.store, LocalStore) else run.location
    shared = {
        "recipe": dict(context.recipe), "identity": context.identity, "location": location, "folder": os.getcwd(),
        "code": code_digest(), "libraries": dict(library_versions()),
    }  # fmt: skip
    return {**shared, "key": digest(canonical(shared))}


def _seen(run: Run, address: str) -> Result | None:
    """The result of a finished piece; a shared folder may show another machine's file a little late."""
    patience = time.monotonic() + _LATE
    while (result := result_of(run, address)) is None and time.monotonic() < patience:
        time.sleep(0.2)
    return result


def _refusal(refused: Mapping[str, Any]) -> BadInput:
    kind = DiskFull if refused["disk full"] else BadInput
    return kind(refused["what"], where=refused["where"], fix=refused["fix"])


# On a worker
_held: dict[str, tuple[Context, Run]] = {}


def _work(shared: Mapping[str, Any], function: str, arguments: dict[str, Any], address: str) -> dict[str, Any] | None:
    """Do one piece, unless its result is there; a BadInput is given back in its parts, as an exception loses them."""
    try:
        context, run = _prepared(shared)
        piece = Piece(function, arguments)
        if piece.address(context) != address:
            raise BadInput(
                f"a worker has other code of {function.partition(':')[0]}", where=_here(),
                fix="install the same on every machine",
            )  # fmt: skip
        if load_piece(run, address) is None:
            do_piece(piece, address, context, run)
    except BadInput as error:
        where = None if error.where is None else str(error.where)
        return {"disk full": isinstance(error, DiskFull), "what": error.what, "where": where, "fix": error.fix}
    return None


def _prepared(shared: Mapping[str, Any]) -> tuple[Context, Run]:
    """The context and the run of a job, made once in each worker process; the latest is held."""
    key = shared["key"]
    if key not in _held:
        _held.clear()
        _require_same(shared)
        if os.path.isdir(shared["folder"]):
            os.chdir(shared["folder"])  # what the user wrote may be relative to it
        try:
            run = Run.open(shared["location"])
        except BadInput as error:
            if "://" in shared["location"] or "no run here" not in error.what:
                raise
            raise BadInput(
                "a worker does not see the run's folder", where=f"{shared['location']}, {_here()}",
                fix="use a folder that all machines share, or a location such as s3://BUCKET/RUN",
            ) from error  # fmt: skip
        context = resolve(shared["recipe"]["build"])(shared["recipe"])
        if context.identity != shared["identity"]:
            raise BadInput(
                "a worker built another network or other data than this process has", where=_here(),
                fix="see that all machines read the same files",
            )  # fmt: skip
        _held[key] = context, run
    return _held[key]


def _require_same(shared: Mapping[str, Any]) -> None:
    """Refuse a worker whose code or libraries could give other numbers."""
    fix = "install the same versions on every machine"
    if code_digest() != shared["code"]:
        raise BadInput("a worker runs other code of Mulligan than this process", where=_here(), fix=fix)
    ours, theirs = dict(library_versions()), shared["libraries"]
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            raise BadInput(
                f"a worker has {name} {ours.get(name, '(none)')} and this process has {theirs.get(name, '(none)')}",
                where=_here(), fix=fix,
            )  # fmt: skip


def _here() -> str:
    return f"the worker at {socket.gethostname()}"
