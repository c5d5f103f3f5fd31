"""OpenVINO's CPU plug-in runs the graph: an optional package (`pip install openvino`), by far the fastest on a CPU.

It folds batch norms, fuses what follows a convolution or a matrix product, and chooses memory layouts and kernels for
the processor at hand (AVX2, AVX-512, NEON). Files: an IR, which is data (XML, and raw weights).
"""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .tracing import NotCompiled, Traced

NAME = "openvino"
SUFFIXES = (".xml", ".bin")


def missing(device: torch.device) -> str | None:
    """Why this engine cannot be used on `device`; None if it can."""
    if device.type != "cpu":
        return f"OpenVINO is used on the CPU only, and the network is on {device.type}"
    if importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed (`pip install openvino`)"
    return None


def build(traced: Traced, stem: Path) -> None:
    """Write the graph as `stem`.xml and `stem`.bin.

    Raises:
        NotCompiled: if OpenVINO has no word for an operation.
    """
    try:
        import openvino
        from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
        from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose
        from torch.export.decomp_utils import CustomDecompTable

        table = CustomDecompTable()
        for operator in ops_to_not_decompose():
            table.pop(operator, None)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph: Any = traced.program.run_decompositions(table).module(check_guards=False)
            decoder = TorchFXPythonDecoder(graph)
            decoder._nodes = _Nodes(list(graph.graph.nodes))
            # Not `convert_model`: it reports home, and prepares for other frameworks for seconds.
            frontend = _frontends().load_by_framework("pytorch")
            model = frontend.convert(frontend.load(decoder))
            openvino.save_model(model, stem.with_suffix(".xml"), compress_to_fp16=False)
    except Exception as error:
        raise NotCompiled(f"OpenVINO cannot take this network's graph ({_reason(error)})") from error


class Runner:
    """A graph read from its files, ready to run.

    Args:
        stem: as `build` wrote it. threads: how many cores to use. wide: whether numbers are kept in 32 bits.
    """

    def __init__(self, stem: Path, threads: int, wide: bool) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": "f32" if wide else "bf16",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = _core().compile_model(_core().read_model(stem.with_suffix(".xml")), "CPU", settings)
        self._outputs = len(self._compiled.outputs)
        self._request = self._compiled.create_infer_request()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        arrays = [tensor.contiguous().numpy() for tensor in inputs]
        # Outputs are copied: the next call writes over the request's own.
        found = self._request.infer(arrays, share_inputs=True, share_outputs=False)
        return tuple(torch.from_numpy(found[number]) for number in range(self._outputs))


# Both are made once and kept: a library that is unloaded with the last of its objects leaves a signal handler behind
# that is no more, and the next Ctrl-C would take the process down.
@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


@cache
def _frontends() -> Any:
    from openvino.frontend import FrontEndManager

    return FrontEndManager()


class _Nodes(list):
    """A graph's nodes, each found at once: the decoder looks every operand up, which makes a list quadratic."""

    def __init__(self, nodes: list[Any]) -> None:
        super().__init__(nodes)
        self._at = {node: number for number, node in enumerate(nodes)}

    def index(self, node: Any, *limits: Any) -> int:
        return self._at[node]


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "No conversion rule" in line or "not supported" in line or "aten." in line]
    return ((telling or lines or [type(error).__name__])[0].rstrip("."))[:200]
