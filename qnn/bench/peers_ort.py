"""ONNX Runtime on the same shapes: MatMulInteger, and ResNet-20 in float32 and as a QLinearConv graph."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qnn.bench.rows import Case
from qnn.bench.shapes import Layer

__all__ = ["convolutions", "products", "resnet20"]


def _session(model: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _bound(session: Any, x: Any) -> Callable[[], Any]:
    """A call without copies of the input."""
    import onnxruntime

    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_output("y")
    return lambda: session.run_with_iobinding(binding)


def _model(nodes: list[Any], constants: dict[str, Any], kinds: tuple[int, int], shapes: tuple[Any, Any]) -> Any:
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("x", kinds[0], shapes[0])],
        [helper.make_tensor_value_info("y", kinds[1], shapes[1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def products(m: int, n: int, k: int, threads: int) -> Iterator[Case]:
    """The integer product with unsigned activations, the fast one of its two."""
    from onnx import TensorProto, helper

    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (k, n), np.int8)
    node = helper.make_node("MatMulInteger", ["x", "b"], ["y"])
    model = _model([node], {"b": weights}, (TensorProto.UINT8, TensorProto.INT32), ([m, k], [m, n]))
    run = _bound(_session(model.SerializeToString(), threads), random.integers(0, 256, (m, k), np.uint8))
    yield Case("ORT MatMulInteger", run, "peer", "u8 s8 s32", exact=False)


def convolutions(layer: Layer, batch: int, threads: int) -> Iterator[Case]:
    """A quantised convolution, rounded to bytes, weights packed once."""
    from onnx import TensorProto, helper

    random = np.random.default_rng(0)
    constants: dict[str, Any] = {
        "w": random.integers(-127, 128, (layer.outputs, layer.inputs, 3, 3), np.int8),
        "x.scale": np.float32(0.02), "x.zero": np.uint8(128), "w.scale": np.float32(0.01), "w.zero": np.int8(0),
        "y.scale": np.float32(1), "y.zero": np.uint8(128),
    }  # fmt: skip
    inputs = ["x", "x.scale", "x.zero", "w", "w.scale", "w.zero", "y.scale", "y.zero"]
    node = helper.make_node("QLinearConv", inputs, ["y"], kernel_shape=[3, 3], pads=[1] * 4)
    shapes = [batch, layer.inputs, layer.size, layer.size], [batch, layer.outputs, layer.size, layer.size]
    model = _model(
        [node], {name: np.asarray(value) for name, value in constants.items()}, (TensorProto.UINT8,) * 2, shapes
    )
    run = _bound(_session(model.SerializeToString(), threads), random.integers(0, 256, shapes[0], np.uint8))
    yield Case("ORT QLinearConv", run, "peer", "u8 s8 u8", exact=False)


def resnet20(batch: int, threads: int, quantized: bool) -> Callable[[], Any]:
    """A forward pass of ResNet-20 with batch normalisation folded in; int8 by its own static quantisation."""
    x = np.random.default_rng(0).standard_normal((batch, 3, 32, 32)).astype(np.float32)
    model = _resnet20_graph(batch)
    if not quantized:
        return _bound(_session(model.SerializeToString(), threads), x)
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        """Two batches to find the ranges with."""

        def __init__(self) -> None:
            self.left = 2

        def get_next(self) -> dict[str, Any] | None:
            """The next batch."""
            self.left -= 1
            return {"x": x} if self.left >= 0 else None

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantization.quantize_static(
            str(source),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QOperator,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return _bound(_session(target.read_bytes(), threads), x)


def _resnet20_graph(batch: int) -> Any:
    from onnx import TensorProto, helper

    random, nodes, constants = np.random.default_rng(1), [], {}
    constants["pads16"] = np.array([0, 8, 0, 0, 0, 8, 0, 0], np.int64)
    constants["pads32"] = np.array([0, 16, 0, 0, 0, 16, 0, 0], np.int64)

    def conv(x: str, name: str, inputs: int, outputs: int, stride: int) -> str:
        scale = (2 / (9 * inputs)) ** 0.5
        constants[f"{name}.w"] = (random.standard_normal((outputs, inputs, 3, 3)) * scale).astype(np.float32)
        constants[f"{name}.b"] = np.zeros(outputs, np.float32)
        nodes.append(
            helper.make_node(
                "Conv", [x, f"{name}.w", f"{name}.b"], [name], kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2
            )
        )
        return name

    def one(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    x, inputs = one("Relu", [conv("x", "first", 3, 16, 1)], "first.relu"), 16
    for outputs in (16, 32, 64):
        for index in range(3):
            name, stride = f"b{outputs}.{index}", 2 if index == 0 and outputs > 16 else 1
            y = one("Relu", [conv(x, f"{name}.1", inputs, outputs, stride)], f"{name}.relu")
            y = conv(y, f"{name}.2", outputs, outputs, 1)
            if stride == 2:  # every second pixel, then empty channels on both sides
                x = one("MaxPool", [x], f"{name}.half", kernel_shape=[1, 1], strides=[2, 2])
                x = one("Pad", [x, f"pads{inputs}"], f"{name}.pad")
            x, inputs = one("Relu", [one("Add", [x, y], f"{name}.add")], f"{name}.out"), outputs
    one("Flatten", [one("GlobalAveragePool", [x], "pooled")], "flat")
    constants["dense.w"] = (random.standard_normal((64, 10)) * 0.1).astype(np.float32)
    constants["dense.b"] = np.zeros(10, np.float32)
    one("Gemm", ["flat", "dense.w", "dense.b"], "y")
    return _model(nodes, constants, (TensorProto.FLOAT, TensorProto.FLOAT), ([batch, 3, 32, 32], [batch, 10]))
