"""The nouns, as frozen dataclasses, and the errors. No torch."""

from .descriptions import (
    Behaviour,
    ClassBehaviour,
    CoverageLine,
    Description,
    Drive,
    ExampleRef,
    Illusion,
    OutputCard,
    ReliabilityBin,
    SiteInventory,
    Task,
    UnitCard,
)
from .errors import BadInput, DiskFull, Interrupted, MulliganError
from .events import Advanced, Emit, Event, Finished, Noted, Started, silent
from .findings import (
    Calibration,
    Causal,
    CheckRecord,
    Claim,
    DataRecord,
    Evidence,
    Finding,
    Findings,
    Group,
    Modified,
    NetworkRecord,
    Severity,
    Source,
    Trigger,
    Verdict,
    Where,
)
from .quantities import Quantity
from .sites import Feature, Site, parse_feature, parse_site, unit

__all__ = [
    "Advanced", "BadInput", "Behaviour", "Calibration", "Causal", "CheckRecord", "Claim", "ClassBehaviour", "CoverageLine",
    "DataRecord", "Description", "DiskFull", "Drive", "Emit", "Event", "Evidence", "ExampleRef", "Feature", "Finding",
    "Findings", "Finished", "Group", "Illusion", "Interrupted", "Modified", "MulliganError", "NetworkRecord", "Noted",
    "OutputCard", "Quantity", "ReliabilityBin", "Severity", "Site", "SiteInventory", "Source", "Started", "Task",
    "Trigger", "UnitCard", "Verdict", "Where", "Claim", "parse_feature", "parse_site", "silent", "unit",
]  # fmt: skip
