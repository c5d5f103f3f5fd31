"""An audit beside clean siblings and a reference."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from mulligan.checks import Outcome
from mulligan.datasets import load_dataset
from mulligan.procedures.audit import Request, audit, prepare, siblings
from mulligan.records import BadInput, CheckRecord
from mulligan.runs import Run


def test_a_rank_is_uniform_when_nothing_is_wrong():
    random = np.random.default_rng(0)
    ps = []
    for _ in range(400):
        every = [dict(zip("ab", random.exponential(size=2), strict=True)) for _ in range(20)]
        ps.append(siblings.rank_p(every[0], every[1:]))
    assert np.mean(np.asarray(ps) <= 0.05) == pytest.approx(0.05, abs=0.025)
    assert np.mean(np.asarray(ps) <= 0.5) == pytest.approx(0.5, abs=0.08)


@pytest.fixture
def folder(digit_nets, tmp_path) -> Path:
    """Nineteen copies of a clean network's weights, which count as siblings here."""
    place = tmp_path / "siblings"
    place.mkdir()
    for number in range(19):
        save_file(digit_nets.clean(0).state_dict(), place / f"s{number:02}.safetensors")
    return place


def _request(digit_nets, tmp_path, **fields) -> Request:
    network = digit_nets.network(digit_nets.clean(0))
    dataset = load_dataset(digit_nets.write_data(tmp_path, 60), classes=network.classes)
    return Request(network=network, dataset=dataset, seconds=1e6, batch=128, names=("head-edit",), **fields)


@pytest.mark.parametrize(("score", "least", "most"), [(9.0, 0.7, 0.72), (-9.0, 0.5, 0.5)])
def test_one_that_stands_out_among_siblings_is_said_to(digit_nets, folder, tmp_path, monkeypatch, score, least, most):
    def scored(subject, names):
        own = float(subject.network.name[1:]) / 10 if subject.network.name.startswith("s") else score
        record = CheckRecord(name="head-edit", status="ran", scores={"head-edit": own})
        return [Outcome(record=record)]

    monkeypatch.setattr(siblings, "run_checks", scored)
    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["mulligan.procedures.audit.audit"], "run_checks", scored)
    request = _request(digit_nets, tmp_path, siblings=folder)
    run = Run.create("audit", [], {}, out=tmp_path / "run")
    document = audit(request, run, prepare(request))
    assert document.modified is not None
    assert least <= document.modified.probability <= most
    assert document.modified.population == "19 clean siblings given"
    assert any(line.what == "clean siblings compared" for line in document.coverage["lines"])


def test_too_few_siblings_are_refused(digit_nets, tmp_path):
    (tmp_path / "few").mkdir()
    with pytest.raises(BadInput, match="too few"):
        prepare(_request(digit_nets, tmp_path, siblings=tmp_path / "few"))
    with pytest.raises(BadInput, match="no such folder"):
        prepare(_request(digit_nets, tmp_path, siblings=tmp_path / "none"))


def test_siblings_of_another_shape_are_refused(digit_nets, folder, tmp_path):
    save_file({"odd": digit_nets.images[0]}, folder / "a.safetensors")
    with pytest.raises(BadInput, match="do not fit"):
        prepare(_request(digit_nets, tmp_path, siblings=folder))


def test_a_reference_of_other_classes_is_refused(digit_nets, tmp_path):
    other = digit_nets.network(digit_nets.clean(0), "other")
    other.classes = tuple("abcdefghij")
    with pytest.raises(BadInput, match="other classes"):
        prepare(_request(digit_nets, tmp_path, reference=other))
