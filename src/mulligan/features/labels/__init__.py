"""A name for a feature: proposed by an overseer, scored on examples that it never saw, judged by people.

An overseer proposes from one part of the examples (`Evidence`) and says of any example whether a name fits it
(`judge`). Whether a name predicts the activation is measured on the other part, beside names shuffled among features
and beside random-weight twins (`scoring`). What people say of a few names becomes an interval on all (`agreement`).
"""

from .agreement import Sheet, agreement, draw_sample, read_sheet, write_sheet
from .endpoint import Endpoint
from .llm import LanguageModel
from .person import PersonLabel, add_label, current, merge, read_labels, write_labels
from .protocol import Candidate, Evidence, Overseer, OverseerFailed
from .scoring import Scored, against_twins, areas, best_of_units, false_discoveries, score
from .vocabulary import Concept, Vocabulary, class_concepts, grouped_concepts

__all__ = [
    "Candidate", "Concept", "Endpoint", "Evidence", "LanguageModel", "Overseer", "OverseerFailed", "PersonLabel",
    "Scored", "Sheet", "Vocabulary", "add_label", "against_twins", "agreement", "areas", "best_of_units",
    "class_concepts", "current", "draw_sample", "false_discoveries", "grouped_concepts", "merge", "read_labels",
    "read_sheet", "score", "write_labels", "write_sheet",
]  # fmt: skip
