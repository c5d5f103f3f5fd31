"""The auditing game: plants and clean networks as entries, auditors in a sandbox, answers scored, rounds in a ledger.

The design is docs/design/game.md; how to enter an auditor or a kind is docs/game.md.
"""

from .answers import Answer, Guess, read_answer
from .auditor import Auditor, built_in
from .entries import TRACKS, Entry, Track, load_entry, read_entry, verify_commitment
from .judging import Judge, Score
from .ledger import Ledger
from .plan import Item, Round, plan
from .rounds import read_round, run_round
from .sandbox import Limits, Outcome, require_isolation, run_auditor

__all__ = [
    "TRACKS", "Answer", "Auditor", "Entry", "Guess", "Item", "Judge", "Ledger", "Limits", "Outcome", "Round", "Score",
    "Track", "built_in", "load_entry", "plan", "read_answer", "read_entry", "read_round", "require_isolation",
    "run_auditor", "run_round", "verify_commitment",
]  # fmt: skip
