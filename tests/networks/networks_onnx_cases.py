"""Operators to hold against onnxruntime: one `Case` for each thing that an operator can be told."""

from __future__ import annotations

import numpy as np
from networks_onnx_graphs import Case, draw
from onnx import TensorProto, numpy_helper

X, Y = draw(2, 3, 4), draw(2, 3, 4, seed=1)
IMAGE = draw(2, 4, 7, 6)
ROW = draw(4, seed=2)
POSITIVE = draw(2, 5, low=0.1, high=0.9)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


WHOLE = np.array([[7, -7, 5], [-5, 3, -3]], np.int64)
BY = np.array([[2, 2, -3], [-3, 2, 2]], np.int64)

ALONE = [
    *(
        Case(op, (X,))
        for op in (
            "Abs",
            "Atan",
            "Ceil",
            "Cos",
            "Erf",
            "Exp",
            "Floor",
            "Neg",
            "Round",
            "Sign",
            "Sin",
            "Tan",
            "Asinh",
            "Cosh",
            "Sinh",
            "Softsign",
            "IsNaN",
            "Identity",
            "Softplus",
        )
    ),
    *(Case(op, (POSITIVE,)) for op in ("Sqrt", "Log", "Reciprocal", "Acos", "Asin", "Atanh")),
    Case("Acosh", (POSITIVE + 1,)),
    Case("Round", (np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32),)),
    *(
        Case(op, (X,), kind=kind)
        for op, kind in (
            ("Relu", "ReLU"),
            ("Sigmoid", "Sigmoid"),
            ("Tanh", "Tanh"),
            ("HardSwish", "Hardswish"),
            ("Mish", "Mish"),
        )
    ),
    Case("Gelu", (X,), kind="GELU"),
    Case("Gelu", (X,), attributes={"approximate": "tanh"}, kind="GELU"),
    Case("LeakyRelu", (X,), attributes={"alpha": 0.3}, kind="LeakyReLU"),
    Case("Elu", (X,), attributes={"alpha": 0.7}, kind="ELU"),
    Case("Celu", (X,), attributes={"alpha": 0.7}),
    Case("Selu", (X,)),
    Case("ThresholdedRelu", (X,), attributes={"alpha": 0.5}),
    Case("HardSigmoid", (X,), kind="HardSigmoid"),
    Case("HardSigmoid", (X,), attributes={"alpha": 1 / 6, "beta": 0.5}, kind="Hardsigmoid"),
    Case("PRelu", (X, draw(3, 1)), fixed=(1,)),
    Case("Not", (X > 0,)),
    Case("IsInf", (np.array([np.inf, -np.inf, 1, np.nan], np.float32),), attributes={"detect_negative": 0}),
    Case("Clip", (X, np.float32(0), np.float32(6)), fixed=(1, 2), kind="ReLU6"),
    Case("Clip", (X, np.float32(-1), np.float32(1)), fixed=(1, 2), kind="Hardtanh"),
    Case("Clip", (X, np.float32(-1))),
    Case("Clip", (X, None, np.float32(1)), fixed=(2,)),
    Case("Clip", (X,), attributes={"min": 0.0, "max": 6.0}, opset=9, kind="ReLU6"),
    Case("Cast", (X,), attributes={"to": TensorProto.INT32}),
    Case("Cast", (WHOLE,), attributes={"to": TensorProto.FLOAT}),
    Case("CastLike", (WHOLE, X), fixed=(1,)),
    Case("Dropout", (X,)),
    Case("Swish", (X,), attributes={"alpha": 1.5}, opset=24),
]
PAIRS = [
    *(Case(op, (X, Y)) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Greater", "LessOrEqual")),
    *(Case(op, (X, ROW), fixed=(1,)) for op in ("Add", "Sub", "Mul", "Div", "Less", "GreaterOrEqual")),
    *(Case(op, (X > 0, Y > 0)) for op in ("And", "Or", "Xor")),
    Case("Equal", (WHOLE, BY)),
    Case("Div", (WHOLE, BY)),
    Case("Mod", (WHOLE, BY)),
    Case("Mod", (WHOLE, BY), attributes={"fmod": 1}),
    Case("Mod", (X, Y), attributes={"fmod": 1}),
    Case("Pow", (POSITIVE, np.float32(2.5)), fixed=(1,)),
    Case("Pow", (WHOLE, np.float32(2)), fixed=(1,)),
    Case("Where", (X > 0, X, Y)),
    Case("MatMul", (X, draw(2, 4, 5))),
    Case("MatMul", (X, draw(4, 5)), fixed=(1,), kind="Linear"),
    Case("MatMul", (draw(3, 4), draw(4)), fixed=(1,)),
    Case("Gemm", (draw(3, 4), draw(4, 5), draw(5)), fixed=(1, 2), kind="Linear"),
    Case("Gemm", (draw(3, 4), draw(5, 4), draw(1, 5)), fixed=(1, 2),
         attributes={"transB": 1, "alpha": 0.5, "beta": 2.0}, kind="Linear"),
    Case("Gemm", (draw(3, 4), draw(5, 4), np.float32(0.5)), fixed=(1, 2), attributes={"transB": 1}, kind="Linear"),
    Case("Gemm", (draw(4, 3), draw(4, 5), draw(3, 5)), attributes={"transA": 1, "alpha": 0.5, "beta": 2.0}),
    Case("Gemm", (draw(3, 4), draw(4, 5)), fixed=(1,), kind="Linear"),
    Case("Einsum", (X, Y), attributes={"equation": "bij,bkj->bik"}),
    Case("Softmax", (X,), attributes={"axis": 1}, kind="Softmax"),
    Case("Softmax", (X,), attributes={"axis": 1}, opset=9, reference=False),
    Case("LogSoftmax", (X,), attributes={"axis": -1}),
    Case("LogSoftmax", (X,), opset=11, reference=False),
    Case("CumSum", (X, np.array(1, np.int64)), fixed=(1,), attributes={"reverse": 1, "exclusive": 1}),
    Case("TopK", (X, ints(2)), fixed=(1,), outputs=2),
    Case("TopK", (X, ints(2)), fixed=(1,), attributes={"axis": 1, "largest": 0}, outputs=2),
    Case("ArgMax", (X,), attributes={"axis": 1}),
    Case("ArgMin", (WHOLE * 0,), attributes={"axis": 1, "keepdims": 0, "select_last_index": 1}),
    Case("LpNormalization", (X,), attributes={"axis": 1, "p": 1}, reference=False),
]  # fmt: skip
REDUCTIONS = [
    *(Case(op, (POSITIVE.reshape(2, 1, 5), ints(2)), fixed=(1,), attributes={"keepdims": 0}) for op in (
        "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
        "ReduceLogSum", "ReduceLogSumExp",
    )),
    Case("ReduceSum", (X,)),
    Case("ReduceSum", (X,), attributes={"noop_with_empty_axes": 1}),
    Case("ReduceMean", (X,), attributes={"axes": [1, -1]}, opset=11),
    Case("ReduceProd", (X, ints(0, 2)), fixed=(1,)),
    Case("ReduceMax", (WHOLE, ints(-1)), fixed=(1,)),
]  # fmt: skip
SHAPES = [
    Case("Shape", (X,)),
    Case("Shape", (X,), attributes={"start": 1, "end": -1}),
    Case("Size", (X,)),
    Case("Reshape", (X, ints(0, -1)), fixed=(1,)),
    Case("Reshape", (X, ints(4, 6))),
    Case("Flatten", (X,), kind="Flatten"),
    Case("Flatten", (X,), attributes={"axis": 2}),
    Case("Flatten", (X,), attributes={"axis": 0}),
    Case("Flatten", (X,), attributes={"axis": -1}),
    Case("Transpose", (X,)),
    Case("Transpose", (X,), attributes={"perm": [1, 0, 2]}),
    Case("Squeeze", (X[:, :1], ints(1)), fixed=(1,)),
    Case("Squeeze", (X[:1],)),
    Case("Squeeze", (X[:1],), attributes={"axes": [0]}, opset=11),
    Case("Unsqueeze", (X, ints(-1, 0)), fixed=(1,)),
    Case("Concat", (X, Y), attributes={"axis": 1}),
    Case("Concat", (X, Y), attributes={"axis": -1}, fixed=(0,)),
    Case("Split", (X, ints(1, 3)), fixed=(1,), attributes={"axis": 2}, outputs=2),
    Case("Split", (X,), attributes={"axis": 2, "num_outputs": 3}, outputs=3),
    Case("Split", (X,), attributes={"axis": 2, "split": [1, 3]}, outputs=2, opset=11),
    Case("Split", (X,), attributes={"axis": 2}, outputs=2, opset=13),
    Case("Slice", (X, ints(1), ints(9), ints(2), ints(2)), fixed=(1, 2, 3, 4)),
    Case("Slice", (X, ints(-1), ints(-(1 << 62)), ints(2), ints(-1)), fixed=(1, 2, 3, 4)),
    Case("Slice", (X, ints(-1, 0), ints(0, 2), ints(2, 1), ints(-2, 1))),
    Case("Slice", (X, ints(3), ints(1), ints(2)), fixed=(1, 2, 3)),
    Case("Slice", (X,), attributes={"starts": [1], "ends": [3], "axes": [1]}, opset=9),
    Case("Gather", (X, np.array([[0, -1], [1, 1]], np.int64)), attributes={"axis": 1}),
    Case("Gather", (X, np.array(1, np.int64)), fixed=(1,), attributes={"axis": 2}),
    Case("Gather", (draw(6, 3), np.array([[0, 5], [-1, 2]], np.int64)), fixed=(0,), kind="Embedding"),
    Case("Gather", (draw(6), np.array(2, np.int64)), fixed=(0,)),
    Case("GatherElements", (X, np.array([[[0, -1, 1, 0]], [[2, 0, 0, 1]]], np.int64)), attributes={"axis": 1}),
    Case("GatherND", (X, np.array([[0, 1], [1, -1]], np.int64))),
    Case("GatherND", (X, np.array([[1], [-1]], np.int64)), attributes={"batch_dims": 1}),
    Case("ScatterND", (X, np.array([[0], [1]], np.int64), Y)),
    Case("ScatterND", (X, np.array([[0], [0]], np.int64), Y), attributes={"reduction": "add"}),
    Case("ScatterElements", (X, np.array([[[0, 1]]], np.int64), np.ones((1, 1, 2), np.float32)),
         attributes={"axis": 2}),
    Case("ScatterElements", (X, np.array([[[-1, 1]]], np.int64), np.ones((1, 1, 2), np.float32)),
         attributes={"axis": 2, "reduction": "add"}),
    Case("Scatter", (X, np.array([[[0, 1]]], np.int64), np.ones((1, 1, 2), np.float32)),
         attributes={"axis": 2}, opset=9, reference=False),
    Case("Expand", (draw(3, 1), ints(2, 1, 4)), fixed=(1,)),
    Case("Tile", (X, ints(1, 2, 3)), fixed=(1,)),
    Case("ConstantOfShape", (ints(2, 3),), attributes={"value": numpy_helper.from_array(np.array([7], np.int64))}),
    Case("ConstantOfShape", (ints(2, 3),)),
    Case("Range", (np.float32(1), np.float32(4), np.float32(0.5))),
    Case("Range", (np.array(5, np.int64), np.array(0, np.int64), np.array(-2, np.int64))),
    Case("EyeLike", (draw(3, 4),), attributes={"k": 1}),
    Case("Trilu", (X, np.array(1, np.int64)), fixed=(1,)),
    Case("Trilu", (X,), attributes={"upper": 0}),
    Case("OneHot", (np.array([0, -1, 2], np.int64), np.array(3), np.array([0, 5], np.float32)), fixed=(1, 2)),
    Case("OneHot", (np.array([0, 2], np.int64), np.array(3), np.array([0, 5], np.float32)), attributes={"axis": 0}),
    Case("NonZero", (np.array([[1, 0], [0, 2]], np.float32),)),
    Case("DepthToSpace", (draw(2, 8, 3, 2),), attributes={"blocksize": 2}),
    Case("DepthToSpace", (draw(2, 8, 3, 2),), attributes={"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", (draw(2, 2, 4, 6),), attributes={"blocksize": 2}),
    Case("Pad", (X, ints(0, 1, 2, 0, 0, 1), np.float32(3)), fixed=(1, 2)),
    Case("Pad", (X, ints(0, 0, -1, 0, 0, -1)), fixed=(1,), reference=False),
    *(Case("Pad", (X, ints(0, 1, 2, 0, 0, 3)), fixed=(1,), attributes={"mode": mode}) for mode in ("edge", "reflect")),
    Case("Pad", (X, ints(0, 1, 2, 0, 0, 3)), fixed=(1,), attributes={"mode": "wrap"}),
    Case("Pad", (X, ints(1, 2), None, ints(1)), fixed=(1, 3)),
    Case("Pad", (X,), attributes={"pads": [0, 0, 1, 0, 0, 2], "value": 2.0}, opset=9),
]  # fmt: skip
FLOATS = np.array([1.0, 1.0, 2.0, 1.5], np.float32)
RESIZES = [
    *(
        Case("Resize", (IMAGE, None, FLOATS), fixed=(2,), reference=False, attributes={
            "mode": mode, "coordinate_transformation_mode": how,
            **({"nearest_mode": nearest} if mode == "nearest" else {}),
        })
        for mode, how, nearest in (
            ("nearest", "asymmetric", "floor"), ("nearest", "half_pixel", "round_prefer_floor"),
            ("nearest", "half_pixel", "round_prefer_ceil"), ("nearest", "align_corners", "ceil"),
            ("linear", "half_pixel", ""), ("linear", "align_corners", ""), ("linear", "asymmetric", ""),
            ("linear", "pytorch_half_pixel", ""), ("cubic", "half_pixel", ""), ("cubic", "align_corners", ""),
        )
    ),
    Case("Resize", (IMAGE, None, None, ints(2, 4, 5, 9)), fixed=(3,), attributes={"mode": "linear"}, reference=False),
    Case("Resize", (IMAGE, None, None, ints(2, 4, 14, 3)), fixed=(3,), reference=False),
    Case("Resize", (IMAGE, np.array([1, 1, 2, 2], np.float32)), fixed=(1,), opset=10, reference=False),
    Case("Upsample", (IMAGE, np.array([1, 1, 2, 2], np.float32)), fixed=(1,), opset=9, reference=False),
    Case("GridSample", (IMAGE, draw(2, 3, 5, 2)), attributes={"mode": "linear", "padding_mode": "border"}),
]  # fmt: skip
WEIGHT = draw(5, 4, 3, 3)
LAYERS = [
    Case("Conv", (IMAGE, WEIGHT, draw(5)), fixed=(1, 2), attributes={"pads": [1, 1, 1, 1], "strides": [2, 1]},
         kind="Conv2d"),
    Case("Conv", (IMAGE, draw(8, 1, 3, 3)), fixed=(1,), attributes={"group": 4, "dilations": [2, 1]}, kind="Conv2d"),
    Case("Conv", (IMAGE, WEIGHT), fixed=(1,), attributes={"pads": [0, 1, 2, 0]}, kind="PaddedConv2d"),
    *(Case("Conv", (IMAGE, WEIGHT), fixed=(1,), attributes={"auto_pad": how, "strides": [2, 2]}, kind="PaddedConv2d")
      for how in ("SAME_UPPER", "SAME_LOWER")),
    Case("Conv", (IMAGE, WEIGHT), attributes={"pads": [0, 1, 2, 0]}),
    Case("Conv", (draw(2, 4, 9), draw(5, 4, 3)), fixed=(1,), kind="Conv1d"),
    Case("Conv", (draw(1, 2, 4, 5, 6), draw(3, 2, 2, 2, 2)), fixed=(1,), kind="Conv3d"),
    Case("ConvTranspose", (IMAGE, draw(4, 3, 3, 3), draw(3)), fixed=(1, 2),
         attributes={"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]}, kind="ConvTranspose2d"),
    Case("ConvTranspose", (IMAGE, draw(4, 3, 3, 3)), fixed=(1,), attributes={"pads": [0, 1, 2, 0]},
         kind="CroppedConvTranspose2d"),
    *(Case("BatchNormalization", (x, draw(4), draw(4, seed=1), draw(4, seed=2), draw(4, low=0.5)), fixed=(1, 2, 3, 4),
           attributes={"epsilon": 1e-3}, kind="BatchNorm") for x in (IMAGE, draw(3, 4), draw(2, 4, 5))),
    Case("LayerNormalization", (X, draw(4), draw(4, seed=1)), fixed=(1, 2), kind="LayerNorm"),
    Case("LayerNormalization", (X, draw(3, 4)), fixed=(1,), attributes={"axis": 1}, kind="LayerNorm"),
    Case("LayerNormalization", (X, draw(4), draw(4, seed=1))),
    Case("InstanceNormalization", (IMAGE, draw(4), draw(4, seed=1)), fixed=(1, 2), kind="InstanceNorm"),
    Case("GroupNormalization", (IMAGE, draw(4), draw(4, seed=1)), fixed=(1, 2), attributes={"num_groups": 2},
         kind="GroupNorm"),
    Case("RMSNormalization", (X, draw(4)), fixed=(1,), opset=23),
    Case("LRN", (draw(2, 7, 3, 3),), attributes={"size": 3, "alpha": 0.5}, reference=False),
    Case("MeanVarianceNormalization", (IMAGE,)),
    Case("GlobalAveragePool", (IMAGE,), kind="GlobalAveragePool"),
    Case("GlobalMaxPool", (IMAGE,), kind="GlobalMaxPool"),
    Case("MaxPool", (IMAGE,), attributes={"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]},
         kind="MaxPool2d"),
    Case("MaxPool", (IMAGE,), attributes={"kernel_shape": [2, 2], "pads": [0, 1, 1, 0]}, kind="PaddedMaxPool2d"),
    Case("MaxPool", (IMAGE,), attributes={"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, kind="MaxPool2d"),
    Case("MaxPool", (IMAGE,), attributes={"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
         kind="PaddedMaxPool2d"),
    Case("MaxPool", (draw(2, 4, 9),), attributes={"kernel_shape": [3], "dilations": [2]}, kind="MaxPool1d"),
    *(Case("AveragePool", (IMAGE,), attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads,
                                                "count_include_pad": counted}, kind=kind)
      for pads, kind in (([1, 1, 1, 1], "AvgPool2d"), ([0, 1, 1, 0], "AveragePool")) for counted in (0, 1)),
    Case("AveragePool", (IMAGE,), attributes={"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("AveragePool", (IMAGE,), attributes={"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Case("AveragePool", (IMAGE,), attributes={"kernel_shape": [2, 2], "dilations": [2, 2]}),
    Case("QuantizeLinear", (X, np.float32(0.1), np.uint8(10)), fixed=(1, 2)),
    Case("QuantizeLinear", (X, draw(3, low=0.1), np.zeros(3, np.int8)), fixed=(1, 2)),
    Case("DequantizeLinear", (np.arange(6, dtype=np.uint8).reshape(2, 3), np.float32(0.1), np.uint8(3)), fixed=(1, 2)),
]  # fmt: skip


def _recurrent(op: str, gates: int, direction: str, **more: object) -> Case:
    both = 2 if direction == "bidirectional" else 1
    hidden, into = 3, 4
    inputs: list[object] = [
        draw(5, 2, into), draw(both, gates * hidden, into, seed=1), draw(both, gates * hidden, hidden, seed=2),
        draw(both, 2 * gates * hidden, seed=3), None, draw(both, 2, hidden, seed=4),
    ]  # fmt: skip
    if op == "LSTM":
        inputs.append(draw(both, 2, hidden, seed=5))
    attributes = {"hidden_size": hidden, "direction": direction, **more}
    return Case(op, tuple(inputs), (1, 2, 3), attributes, outputs=3 if op == "LSTM" else 2, kind="Recurrent",
                reference=False)  # fmt: skip


RECURRENT = [
    *(_recurrent("LSTM", 4, direction) for direction in ("forward", "reverse", "bidirectional")),
    *(_recurrent("GRU", 3, direction, linear_before_reset=1) for direction in ("forward", "bidirectional")),
    *(_recurrent("RNN", 1, direction) for direction in ("forward", "reverse")),
    _recurrent("RNN", 1, "forward", activations=["Relu"]),
]
ALL = [*ALONE, *PAIRS, *REDUCTIONS, *SHAPES, *RESIZES, *LAYERS, *RECURRENT]
