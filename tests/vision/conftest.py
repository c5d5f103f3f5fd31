"""The second environment: timm and torchvision, laid over the first by `make test-vision`.

PyPI's torchvision for Linux on x86-64 is built against torch for CUDA, and its compiled file cannot be loaded beside
torch's build for the CPU alone; then `import torchvision` fails, since two operators have no schema. No classifier
calls them (they are for object detectors), so here, and only in these tests, the schemas are written down without code.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "networks"))  # for networks_small

_FOUND = importlib.util.find_spec("torchvision")
if _FOUND is None or importlib.util.find_spec("timm") is None:
    collect_ignore_glob = ["test_*.py"]
elif _FOUND.origin is not None:
    try:
        torch.ops.load_library(next(Path(_FOUND.origin).parent.glob("_C*.so")))
    except OSError:
        _OPERATORS = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
