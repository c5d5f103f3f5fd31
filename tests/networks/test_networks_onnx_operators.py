"""Each ONNX operator against onnxruntime, and against onnx's own reference where that knows it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from networks_onnx_cases import ALL
from networks_onnx_graphs import Case, assert_equal, converted, of_case, ours, reference, runtime

from mulligan.networks.adapters.onnx_graph.layers import LAYERS
from mulligan.networks.adapters.onnx_graph.table import OPERATORS


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_an_operator_answers_as_onnxruntime_does(case: Case, tmp_path: Path) -> None:
    made, given = of_case(case)
    module = converted(made, tmp_path)
    answers = ours(module, given)
    assert_equal(answers, runtime(made, given))
    if case.reference:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of the slow evaluator
            assert_equal(answers, reference(made, given))
    if case.kind:
        assert type(module.node).__name__ == case.kind


def test_every_operator_is_held_against_onnxruntime() -> None:
    assert {*OPERATORS, *LAYERS} - {"Constant"} == {case.op for case in ALL}
