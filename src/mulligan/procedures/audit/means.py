"""With what means the steps of an audit work."""

from __future__ import annotations

from dataclasses import dataclass

from ...records import Emit
from ...runs import Budget, Engine, Run


@dataclass(frozen=True, slots=True)
class Means:
    """Where results go, who runs the pieces, what may be spent, and who is told.

    Attributes:
        seconds_an_example: what one forward pass of one example costs, measured.
    """

    run: Run
    engine: Engine
    budget: Budget
    seed: int
    emit: Emit
    seconds_an_example: float
