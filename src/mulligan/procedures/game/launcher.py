"""Shuts a command into namespaces of its own: run as a script, with nothing but the standard library.

    python -I launcher.py CONFIG.json

The process makes new user, mount, network, process and IPC namespaces, builds a root folder that holds only what CONFIG
names, and starts the command there without capabilities. What is not named does not exist for the command: it can
neither read nor write it, there is no network device, and no process but its own. When its first process ends, the
kernel kills all others of the process namespace, whatever sessions they made (pid_namespaces(7)).

Other entries of the game are there as empty baits, watched with inotify: whoever opens one has looked where it must
not.

CONFIG: {"command", "cwd", "environment", "root", "read", "write", "hidden", "baits", "limits", "scratch", "report"}.
The file "report" gets one JSON object: {"isolated", "why", "status", "signal", "cpu_seconds", "baits"}.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import struct
import sys
from typing import Any

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _BIND, _REC, _PRIVATE, _RDONLY, _REMOUNT = 2, 4, 0x1000, 0x4000, 0x40000, 1, 32
_PDEATHSIG, _CAPBSET_DROP, _NO_NEW_PRIVS = 1, 24, 38
_PIVOT_ROOT, _MOUNT_SETATTR, _CAPSET = {
    "x86_64": (155, 442, 126), "aarch64": (41, 442, 91),
}.get(os.uname().machine, (0, 442, 0))  # fmt: skip
_OPENED = 0x20  # IN_OPEN
_DEVICES = ("null", "zero", "full", "random", "urandom")
_MOST_BAITS = 2000

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    text = [part.encode() if part else None for part in (source, target, kind, data)]
    result = _libc.mount(text[0], text[1], text[2], ctypes.c_ulong(flags), text[3])
    _call(f"mount {target}", result)


def _read_only(path: str, *, everything: bool = True) -> None:
    """Make a mount (and those below it) read-only, keeping its other flags (mount_setattr, Linux 5.12)."""
    wanted = struct.pack("QQQQ", _RDONLY | _NOSUID, 0, 0, 0)
    recursive = 0x8000 if everything else 0
    _call(
        f"read-only {path}",
        _libc.syscall(_MOUNT_SETATTR, -100, path.encode(), ctypes.c_uint(recursive), wanted, ctypes.c_size_t(32)),
    )


def _unshare() -> None:
    """New namespaces, with a user namespace where that is allowed; root can do without."""
    user, group = os.getuid(), os.getgid()
    rest = _NEWNS | _NEWNET | _NEWPID | _NEWIPC | _NEWUTS
    try:
        _call("unshare", _libc.unshare(_NEWUSER | rest))
    except OSError:
        if user != 0:
            raise
        _call("unshare", _libc.unshare(rest))
        return
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _place(root: str, path: str) -> str:
    return root + path


def _bind(root: str, path: str, *, write: bool) -> None:
    """Show `path` at the same place under `root`; a symbolic link is made anew."""
    target = _place(root, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        if not os.path.lexists(target):
            os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(path, target, "", _BIND | _REC)
    if not write:
        _read_only(target)


def _build(config: dict[str, Any]) -> None:
    root = config["root"]
    _mount("", "/", "", _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=64m,mode=755")
    os.mkdir(root + "/tmp")
    _mount("tmpfs", root + "/tmp", "tmpfs", _NOSUID | _NODEV, f"size={int(config['scratch'])},mode=1777")
    os.makedirs(root + "/tmp/home")
    os.makedirs(root + "/dev/shm")
    _mount("tmpfs", root + "/dev/shm", "tmpfs", _NOSUID | _NODEV, f"size={int(config['scratch'])},mode=1777")
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):
            _bind(root, f"/dev/{name}", write=True)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{root}/dev/{name}")
    os.symlink("/proc/self/fd", root + "/dev/fd")
    # Short paths first: a folder within another is laid over it.
    for path in sorted(config["read"], key=len):
        if os.path.lexists(path):
            _bind(root, path, write=False)
    for path in config["hidden"]:
        target = _place(root, path)
        if os.path.isdir(target) and not os.path.islink(target):
            _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
        elif os.path.isfile(target):
            _mount("/dev/null", target, "", _BIND)
    for path in config["show"]:
        _bind(root, path, write=False)
    for path in config["write"]:
        _bind(root, path, write=True)


def _lay_baits(config: dict[str, Any]) -> dict[int, str]:
    """Empty files where other entries would lie, and a watch on each folder: descriptor to path. The key -1 is the
    inotify instance itself."""
    root, watched = config["root"], {}
    instance = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if instance < 0:
        return {}
    watched[-1] = str(instance)
    for folder in config["baits"][:_MOST_BAITS]:
        target = _place(root, folder)
        try:
            os.makedirs(target, exist_ok=True)
            for name in ("game.json", "weights.safetensors", "data.npz", "truth.json"):
                os.close(os.open(f"{target}/{name}", os.O_CREAT | os.O_WRONLY, 0o644))
        except OSError:  # a path that is shown read-only
            continue
        watch = _libc.inotify_add_watch(instance, target.encode(), ctypes.c_uint(_OPENED))
        if watch >= 0:
            watched[watch] = folder
    return watched


def _taken(watched: dict[int, str]) -> list[str]:
    """The baits that were opened."""
    if -1 not in watched:
        return []
    seen: set[str] = set()
    while True:
        try:
            data = os.read(int(watched[-1]), 65536)
        except OSError:
            return sorted(seen)
        at = 0
        while at + 16 <= len(data):
            watch, _, _, length = struct.unpack_from("iIII", data, at)
            name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode(errors="replace")
            seen.add(f"{watched.get(watch, '?')}/{name}".rstrip("/"))
            at += 16 + length


def _give_up_power() -> None:
    for capability in range(64):
        if _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    _call("no new privileges", _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    if _CAPSET:
        header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
        _call("capset", _libc.syscall(_CAPSET, header, none))


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        top = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (top, top))


def _first(config: dict[str, Any], ready: int) -> int:
    """The first process of the namespace: finish the root, start the command, reap orphans."""
    _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    root = config["root"]
    os.mkdir(root + "/proc")
    _mount("proc", root + "/proc", "proc", _NOSUID | _NODEV)
    os.mkdir(root + "/.old")
    _call("pivot_root", _libc.syscall(_PIVOT_ROOT, root.encode(), (root + "/.old").encode()))
    os.chdir("/")
    _call("umount", _libc.umount2(b"/.old", 2))
    _read_only("/", everything=False)
    _give_up_power()
    os.write(ready, b"1")
    os.close(ready)
    command = os.fork()
    if command == 0:
        try:
            os.setsid()
            os.chdir(config["cwd"])
            _limit(config["limits"])
            os.execvpe(config["command"][0], config["command"], config["environment"])
        except OSError as error:
            os.write(2, f"{config['command'][0]} cannot be started: {error.strerror}\n".encode())
        os._exit(127)
    while True:
        process, status = os.wait()
        if process == command:
            return os.waitstatus_to_exitcode(status)


def _serve(config: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"isolated": False, "why": "", "status": None, "cpu_seconds": 0.0, "baits": []}
    try:
        _unshare()
        _build(config)
        watched = _lay_baits(config)
    except OSError as error:
        return told | {"why": error.strerror or str(error)}
    readable, ready = os.pipe()
    first = os.fork()
    if first == 0:
        status = 126
        try:
            os.close(readable)
            status = _first(config, ready)
        except OSError as error:
            if error.errno != errno.EBADF:
                os.write(2, f"isolation failed: {error}\n".encode())
        finally:
            os._exit(status if status >= 0 else 128 - status)
    os.close(ready)
    begun = os.read(readable, 1) == b"1"
    _, status, used = os.wait4(first, 0)
    if not begun:
        return told | {"why": "the root folder could not be built"}
    code = os.waitstatus_to_exitcode(status)
    spent = used.ru_utime + used.ru_stime
    return told | {"isolated": True, "status": code, "cpu_seconds": spent, "baits": _taken(watched)}


def main() -> None:
    """Run the command of the configuration that is named on the command line, and write the report."""
    _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    report = os.open(config["report"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(report, json.dumps(_serve(config)).encode())


if __name__ == "__main__":
    main()
