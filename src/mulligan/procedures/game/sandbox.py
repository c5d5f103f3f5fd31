"""Running an auditor's command on one entry, so that it can do no more than answer.

The command is given a copy of the entry and an empty folder. On Linux it runs in namespaces of its own (`launcher.py`):
it sees its entry, the interpreter, the system's libraries and its own code, all read-only, may write into its folder
and a scratch folder in memory, and has no network. Its CPU-seconds are counted over all its processes, those included
that it started and forgot; memory, disk, processes and wall time are bounded. Whatever it does is an outcome, and never
an error of the referee.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal

import psutil

from ...records import BadInput
from .auditor import Auditor, interpreter_paths

Ended = Literal["ok", "crashed", "hung", "over budget", "malformed", "read outside"]

MEGABYTE = 1 << 20
#: What the referee keeps of what an auditor prints, of each stream.
MOST_PRINTED = 64 * 1024
#: Polling: how often, in seconds. Each look costs about 2 ms.
_OFTEN, _SELDOM = 0.02, 0.1
_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an auditor may use. Wall time is `wall` times the CPU-seconds; `memory` and `disk` are bytes."""

    cpu_seconds: float = 60.0
    wall: float = 3.0
    memory: int = 4096 * MEGABYTE
    disk: int = 256 * MEGABYTE
    processes: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one run of an auditor ended.

    Attributes:
        why: a sentence, empty where all was well.
        cpu_seconds: of all its processes. wall_seconds: from start to end.
        printed, complained: the beginning of its standard output and error.
        isolated: False where it ran with --no-isolation.
    """

    ended: Ended
    why: str = ""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    printed: str = ""
    complained: str = ""
    isolated: bool = True


@dataclass
class _Watch:
    """CPU-seconds of a tree of processes, also of those that are gone.

    Two counts, of which the larger is right: what living processes used together with the children that they waited
    for, and the last figure seen of every process there ever was (a process that ignores SIGCHLD has children whose
    time is added to nobody's).
    """

    launcher: psutil.Process
    seen: dict[tuple[int, float], float] = field(default_factory=dict)
    cpu: float = 0.0
    memory: int = 0
    processes: int = 0

    def look(self) -> None:
        waited, self.memory, self.processes = 0.0, 0, 0
        with suppress(psutil.Error):
            for process in self.launcher.children(recursive=True):
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    key = (process.pid, process.create_time())
                    self.seen[key] = max(self.seen.get(key, 0.0), times.user + times.system)
                    waited += times.user + times.system + times.children_user + times.children_system
                    self.memory += process.memory_info().rss
                    self.processes += 1
        self.cpu = max(self.cpu, waited, sum(self.seen.values()))


def run_auditor(
    auditor: Auditor,
    entry: Path,
    out: Path,
    limits: Limits,
    *,
    isolate: bool = True,
    hidden: Sequence[Path] = (),
    baits: Sequence[Path] = (),
) -> Outcome:
    """Run `COMMAND ENTRY OUT` on a copy of `entry`; what it wrote is in `out`, which is made.

    Args:
        hidden: files and folders that must not be seen even where a folder that holds them is shown.
        baits: folders of other entries. Inside, they exist and are empty; opening one ends in "read outside".

    Raises:
        BadInput: if this system cannot isolate and `isolate` is set.
    """
    if isolate:
        require_isolation()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mulligan-game-", ignore_cleanup_errors=True) as name:
        work = Path(name).resolve()
        copy = work / "entries" / entry.name
        shutil.copytree(entry, copy)
        before = _contents(copy)
        (work / "root").mkdir()
        (work / "home").mkdir()
        answer = work / "out"
        answer.mkdir()
        outcome = _supervise(auditor, copy, answer, work, limits, isolate, hidden, baits)
        if outcome.ended == "ok" and _contents(copy) != before:
            outcome = replace(outcome, ended="crashed", why="The entry's files were changed.")
        _bring(answer, out, limits.disk)
    return outcome


def _supervise(
    auditor: Auditor,
    entry: Path,
    out: Path,
    work: Path,
    limits: Limits,
    isolate: bool,
    hidden: Sequence[Path],
    baits: Sequence[Path],
) -> Outcome:
    command = [*auditor.command, str(entry), str(out)]
    home = "/tmp/home" if isolate else str(work / "home")
    scratch = "/tmp" if isolate else str(work / "home")
    environment = {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": home, "TMPDIR": scratch, "XDG_CACHE_HOME": home,
        "MULLIGAN_CACHE": home, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        "MULLIGAN_CPU_SECONDS": f"{limits.cpu_seconds:g}", "TORCHINDUCTOR_CACHE_DIR": home,
    }  # fmt: skip
    seconds = int(limits.cpu_seconds) + 1
    bounds = {"CPU": seconds, "FSIZE": limits.disk, "CORE": 0, "DATA": limits.memory, "NOFILE": 1024}
    report = work / "report.json"
    config = {
        "command": command, "cwd": str(out), "environment": environment, "root": str(work / "root"),
        "read": [*interpreter_paths(), *auditor.reads()], "show": [str(entry)], "write": [str(out)],
        "hidden": [str(path) for path in hidden], "baits": [*(str(path) for path in baits), *_beside(entry, baits)],
        "limits": bounds, "scratch": limits.disk, "report": str(report),
    }  # fmt: skip
    (work / "config.json").write_text(json.dumps(config), encoding="utf-8")
    start = [sys.executable, "-I", "-S", str(_LAUNCHER), str(work / "config.json")]
    start = start if isolate else _bounded(bounds, command)
    began = time.monotonic()
    process = subprocess.Popen(
        start, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        cwd=None if isolate else out, env=None if isolate else environment,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    printed, complained = _Reader(process.stdout), _Reader(process.stderr)
    try:
        fault, watch = _wait(process, out, work / "home", limits, began, own=not isolate)
    finally:
        _kill(process)
    for reader in (printed, complained):
        reader.thread.join(2.0)
    told: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        told = json.loads(report.read_bytes())
    status = told.get("status") if isolate else process.returncode
    if isolate and fault is None and not told.get("isolated"):
        raise BadInput(
            f"this system could not isolate the auditor ({told.get('why') or complained.text()[:200] or 'no report'})",
            where=auditor.name, fix="allow user namespaces, or pass --no-isolation, which the ledger will say",
        )  # fmt: skip
    spent = max(watch.cpu, float(told.get("cpu_seconds") or 0.0))
    ended, why = _judge(status if isinstance(status, int) else None, fault, told.get("baits") or [], spent, limits)
    return Outcome(
        ended=ended, why=why, cpu_seconds=spent, wall_seconds=time.monotonic() - began, printed=printed.text(),
        complained=complained.text(), isolated=isolate,
    )  # fmt: skip


def _beside(entry: Path, baits: Sequence[Path]) -> list[str]:
    """Baits also lie where the copy lies, under the same names."""
    return [str(entry.parent / bait.name) for bait in baits if bait.name != entry.name]


def _bounded(bounds: dict[str, int], command: list[str]) -> list[str]:
    code = (
        "import json,os,resource,sys\n"
        "for name, value in json.loads(sys.argv[1]).items():\n"
        "    kind = getattr(resource, 'RLIMIT_' + name)\n"
        "    hard = resource.getrlimit(kind)[1]\n"
        "    top = value if hard == resource.RLIM_INFINITY else min(value, hard)\n"
        "    resource.setrlimit(kind, (top, top))\n"
        "os.execvp(sys.argv[2], sys.argv[2:])"
    )
    return [sys.executable, "-I", "-S", "-c", code, json.dumps(bounds), *command]


def _wait(
    process: subprocess.Popen[bytes], out: Path, home: Path, limits: Limits, began: float, *, own: bool
) -> tuple[tuple[Ended, str] | None, _Watch]:
    """Until the command ends or is to be ended: why it was, and what it used."""
    watch = _Watch(psutil.Process(process.pid))
    pause, looks = _OFTEN, 0
    while process.poll() is None:
        watch.look()
        if own:  # without a launcher, the command is the process itself
            with suppress(psutil.Error):
                times = watch.launcher.cpu_times()
                alone = times.user + times.system + times.children_user + times.children_system
                watch.cpu = max(watch.cpu, alone, times.user + times.system + sum(watch.seen.values()))
                watch.memory += watch.launcher.memory_info().rss
        wall = time.monotonic() - began
        if watch.cpu > limits.cpu_seconds:
            return ("over budget", f"It used more than {limits.cpu_seconds:g} CPU-seconds."), watch
        if watch.memory > limits.memory:
            return ("over budget", f"It used more than {limits.memory // MEGABYTE} MB of memory."), watch
        if watch.processes > limits.processes:
            return ("over budget", f"It started more than {limits.processes} processes."), watch
        if looks % 5 == 0 and _size(out) + _size(home) > limits.disk:
            return ("over budget", f"It wrote more than {limits.disk // MEGABYTE} MB."), watch
        if wall > limits.wall * limits.cpu_seconds:
            return ("hung", f"It was not done after {wall:.0f} seconds of wall time."), watch
        looks += 1
        with suppress(subprocess.TimeoutExpired):
            process.wait(pause)
        pause = min(pause * 1.2, _SELDOM)
    if _size(out) > 0.9 * limits.disk:  # a file that met its limit stopped short of it
        return ("over budget", f"It wrote more than {limits.disk // MEGABYTE} MB."), watch
    return None, watch


def _judge(
    status: int | None, fault: tuple[Ended, str] | None, baits: object, spent: float, limits: Limits
) -> tuple[Ended, str]:
    if isinstance(baits, list) and baits:
        return "read outside", f"It opened what is not its own: {baits[0]}."
    if fault is not None:
        return fault
    if spent > limits.cpu_seconds or status in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
        return "over budget", f"It used more than {limits.cpu_seconds:g} CPU-seconds."
    if status in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ):
        return "over budget", f"It wrote more than {limits.disk // MEGABYTE} MB."
    if status != 0:
        return "crashed", f"It ended with status {status}."
    return "ok", ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the launcher and all below it. In a namespace, its first process takes all others along."""
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(OSError):
        process.kill()
    process.wait()


class _Reader:
    """Takes what a pipe gives, keeps the beginning, throws the rest away."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe, self.kept = pipe, bytearray()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            while data := self.pipe.read1(65536):  # type: ignore[attr-defined]
                self.kept += data[: max(0, MOST_PRINTED - len(self.kept))]
        self.pipe.close()

    def text(self) -> str:
        return bytes(self.kept).decode("utf-8", "replace")


def _size(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
    return total


def _contents(folder: Path) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                known = os.lstat(os.path.join(where, name))
                found[os.path.relpath(os.path.join(where, name), folder)] = (known.st_size, known.st_mtime_ns)
    return found


def _bring(source: Path, target: Path, most: int) -> None:
    """Copy plain files of an answer, no links and no devices, up to `most` bytes."""
    room = most
    for where, folders, names in os.walk(source):
        folders[:] = [name for name in folders if not os.path.islink(os.path.join(where, name))][:1000]
        for name in sorted(names)[:1000]:
            path = Path(where) / name
            with suppress(OSError):
                if path.is_symlink() or not path.is_file():
                    continue
                room -= path.stat().st_size
                if room < 0:
                    return
                place = target / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)


@cache
def _isolation() -> str | None:
    """Why this system cannot isolate; None if it can (it is tried)."""
    if not sys.platform.startswith("linux"):
        return f"{sys.platform} has no namespaces"
    with tempfile.TemporaryDirectory(prefix="mulligan-game-") as name:
        work = Path(name).resolve()
        for folder in ("entries/none", "out", "home", "root"):
            (work / folder).mkdir(parents=True)
        trial = Auditor(name="trial", command=(sys.executable, "-I", "-S", "-c", "pass"), folders=())
        try:
            limits = Limits(cpu_seconds=10)
            outcome = _supervise(trial, work / "entries/none", work / "out", work, limits, True, (), ())
        except BadInput as error:
            return error.what
    return None if outcome.ended == "ok" else f"a trial ended with {outcome.ended}: {outcome.complained[:200]}"


def require_isolation() -> None:
    """Refuse where auditors cannot be isolated.

    Raises:
        BadInput: with the reason, and what to do.
    """
    reason = _isolation()
    if reason is not None:
        fix = "use Linux with user namespaces, or pass --no-isolation for auditors that you trust (the ledger says so)"
        raise BadInput(f"auditors cannot be isolated here: {reason}", fix=fix)
