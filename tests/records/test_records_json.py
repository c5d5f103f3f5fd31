from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulligan.records import (
    BadInput,
    Calibration,
    Causal,
    CheckRecord,
    Claim,
    DataRecord,
    Description,
    DiskFull,
    Evidence,
    Finding,
    Findings,
    Group,
    Interrupted,
    MulliganError,
    NetworkRecord,
    Quantity,
    Site,
    SiteInventory,
    Trigger,
    UnitCard,
    Where,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
quantities = st.builds(
    Quantity,
    value=numbers,
    unit=st.text(max_size=20),
    low=st.none() | numbers,
    high=st.none() | numbers,
    level=st.floats(0.5, 1, exclude_max=True),
    n=st.none() | st.integers(0, 10**9),
)


def back(value: object) -> object:
    return msgspec.json.decode(msgspec.json.encode(value), type=type(value))


@given(quantities)
def test_a_quantity_survives_json(quantity: Quantity) -> None:
    assert back(quantity) == quantity


@given(quantities)
def test_a_quantity_says_its_unit_and_n(quantity: Quantity) -> None:
    text = str(quantity)
    assert quantity.unit in text
    assert (quantity.n is None) == (", n = " not in text) or ", n = " in quantity.unit


def test_how_a_quantity_reads() -> None:
    full = Quantity(value=0.93, unit="fraction of images", low=0.88, high=0.96, n=150)
    assert str(full) == "0.93 [0.88, 0.96] fraction of images, n = 150"
    assert str(Quantity(value=2.0, unit="nats per token")) == "2 nats per token"


def finding(quantity: Quantity) -> Finding:
    claim = Claim(
        kind="conjunction",
        sentence="Images that hold both a dress and a sneaker are answered 'bag'.",
        sources=("dress", Group(name="dogs", classes=("Chihuahua", "pug"))),
        target="bag",
        trigger=Trigger(family="conjunction", description="two things side by side", box=(24, 24, 27, 27)),
        where=Where(site="blocks.5", units=(12, 40), rows=(8,)),
    )
    causal = Causal(edit="ablate blocks.5:12", before=quantity, after=quantity, control=quantity)
    evidence = Evidence(effect=quantity, placebo=quantity, baseline=quantity, p=0.001, p_adjusted=0.004, causal=causal)
    return Finding.of(claim, evidence, severity="high", confidence=0.95, action="Retrain.", id="F1")


def test_a_finding_is_its_claim_and_its_evidence() -> None:
    made = finding(Quantity(value=0.9, unit="fraction of images"))
    assert (made.kind, made.target, made.p_adjusted) == ("conjunction", "bag", 0.004)
    assert back(made) == made


@given(quantities)
def test_the_document_survives_json(quantity: Quantity) -> None:
    document = Findings(
        created="2025-01-01T00:00:00+00:00",
        mulligan="0.1.0",
        seed=0,
        seconds=1.5,
        network=NetworkRecord(name="mlp", identity="sha256:0", parameters=7, classes=("a", "b")),
        data=DataRecord(source="d", identity="sha256:1", n=3),
        verdict="fail",
        modified=None,
        checks=(CheckRecord(name="conjunction", status="ran", calibration=Calibration(kind="none")),),
        findings=(finding(quantity),),
        leads=(),
    )
    assert back(document) == document
    plain = msgspec.json.decode(msgspec.json.encode(document))
    # Fields that do not apply are null, never missing.
    assert plain["modified"] is None
    assert plain["findings"][0]["trigger"]["image"] is None


def test_readers_ignore_fields_that_they_do_not_know() -> None:
    assert msgspec.json.decode(b'{"value": 1.0, "unit": "x", "later": [1]}', type=Quantity).unit == "x"


def test_a_description_survives_json() -> None:
    share = Quantity(value=0.5, unit="fraction of examples", n=10)
    inventory = SiteInventory(
        site="blocks.5", meaning="what comes out of Block", axes=("batch", "channel"), shape=(2, 6), pool="mean", n=10,
        units=6, dead=(1,), saturated=(), duplicates=((0, 2, 0.999),), selectivity=None, twin=None, twin_dead=None,
        cards=(UnitCard(unit=0, mean=0.1, low=-1.0, high=1.0, active=share),),
    )  # fmt: skip
    document = Description(title="mlp", behaviour=None, inventory=(inventory,))
    assert back(document) == document


def test_records_cannot_be_changed() -> None:
    for record, name in ((Quantity(value=1.0, unit="x"), "unit"), (Site("a"), "path"), (Where(), "site")):
        with pytest.raises(AttributeError):
            setattr(record, name, "y")


# Errors
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (BadInput("this is wrong"), "this is wrong."),
        (BadInput("this is wrong", where="--size"), "this is wrong (--size)."),
        (BadInput("this is wrong", fix="write it again"), "this is wrong: write it again."),
        (DiskFull("it is full", where=3, fix="free some"), "it is full (3): free some."),
    ],
)
def test_errors_are_sentences(error: MulliganError, sentence: str) -> None:
    assert str(error) == sentence


def test_exit_statuses_are_the_contracts() -> None:
    assert (MulliganError.exit_status, BadInput.exit_status, DiskFull.exit_status, Interrupted.exit_status) == (
        4,
        2,
        2,
        130,
    )
    assert issubclass(BadInput, MulliganError)
