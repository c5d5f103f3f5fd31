"""Errors that a person can act on: each says what is wrong, where, and what to do."""

from __future__ import annotations


class MulliganError(Exception):
    """Base of all our errors. `exit_status` is what the command line returns (contract: 4 is our fault)."""

    exit_status = 4


class BadInput(MulliganError):
    """Wrong use or input that cannot be read: one sentence, and the command line exits with 2.

    Args:
        what: what is wrong, as a clause without a full stop.
        where: the file, option, key or site concerned.
        fix: what to do about it, as an imperative clause.
    """

    exit_status = 2

    def __init__(self, what: str, *, where: object = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        place = f" ({where})" if where is not None else ""
        remedy = f": {fix}" if fix else ""
        super().__init__(f"{what}{place}{remedy}.")


class DiskFull(BadInput):
    """The disk has no room; what was finished is kept, and the run can be resumed."""


class Interrupted(MulliganError):
    """Stopped by the user; finished pieces are kept, and the message says how to resume."""

    exit_status = 130
