"""An auditor: a command, and what it may read beside its entry."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mulligan

from ...records import BadInput
from .auditors import BUILT_IN, parts

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/etc/ld.so.cache", "/etc/ld.so.conf",
    "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/ssl", "/etc/passwd", "/etc/group",
    "/sys/devices/system/cpu", "/nix/store",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Auditor:
    """A command that is called as `COMMAND ENTRY OUT`.

    Attributes:
        folders: what it may read beside its entry (its own code); None: the folders of the files that the command
            names.
    """

    name: str
    command: tuple[str, ...]
    folders: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.command or not self.name.strip():
            raise BadInput("an auditor needs a name and a command", where=self.name, fix="write NAME=COMMAND")

    @classmethod
    def parse(cls, text: str) -> Auditor:
        """From `NAME=COMMAND`, or the name of one that is built in.

        Raises:
            BadInput: if it is neither.
        """
        name, equals, command = text.partition("=")
        if text.partition(":")[0] in BUILT_IN:
            return built_in(text)
        if not equals:
            fix = f"write NAME=COMMAND, or one of {', '.join(BUILT_IN)}"
            raise BadInput("there is no auditor of this name", where=text, fix=fix)
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise BadInput(f"the auditor's command cannot be read ({error})", where=command) from error
        return cls(name=name.strip(), command=tuple(words))

    def reads(self) -> list[str]:
        """The folders and files that it may read beside its entry.

        A file that lies in a folder which is much more than the auditor's own (a home folder, a root) is shown alone.
        """
        if self.folders is not None:
            return [str(Path(folder).resolve()) for folder in self.folders]
        found: list[str] = []
        broad = {Path("/"), Path.home(), Path.cwd(), Path(tempfile.gettempdir()).resolve()}
        for word in self.command:
            path = Path(word)
            if os.sep not in word and not path.is_file():
                continue
            if path.is_file():
                folder = path.resolve().parent
                wide = any(folder == one or folder in one.parents for one in broad)
                found += [str(path.resolve())] if wide else [str(folder)]
                if path.is_absolute() and path.is_symlink():
                    found.append(str(path))
            elif path.is_dir():
                found.append(str(path.resolve()))
        return found


def built_in(name: str) -> Auditor:
    """An auditor that comes with Mulligan."""
    parts(name)
    command = (sys.executable, "-m", "mulligan.procedures.game.auditors", name)
    return Auditor(name=name, command=command, folders=())


@cache
def interpreter_paths() -> tuple[str, ...]:
    """What a Python program of this interpreter needs to read, Mulligan's own code included."""
    python = Path(sys.executable)
    folders = {sys.prefix, sys.base_prefix, str(python.parent), str(python.resolve().parent)}
    folders |= {path for path in sysconfig.get_paths().values() if os.path.isdir(path)}
    folders.add(str(Path(mulligan.__file__).resolve().parent))
    folders.discard("/")
    return tuple(sorted({*_SYSTEM, *folders}))
