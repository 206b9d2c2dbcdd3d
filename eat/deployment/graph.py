"""Write ONNX graphs node by node: names, initialisers and the dense layer in float32 or int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eat.deployment.activations import Activation

OPSET = 23  # the first with an operator for attention
IR_VERSION = 10
MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators


class Graph:
    """A graph that grows; values are named by strings.

    Args:
        bits: Of activations in the products of blocks: 7 or 8, or None for float32.
        activations: What comes into layers, where that was measured beforehand.
    """

    def __init__(self, bits: int | None, activations: Mapping[Any, Activation] = MappingProxyType({})) -> None:
        self.bits, self.activations = bits, activations
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.inputs: dict[str, Any] = {}
        self._count = 0

    def constant(self, value: Any, name: str | None = None) -> str:
        """Add an initialiser; equal small ones share a name."""
        array = np.asarray(value)
        name = name or f"{array.dtype}{array.tolist()}".replace(" ", "")
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name

    def given(self, name: str, kind: str, shape: Sequence[str | int]) -> str:
        """Declare an input, such as ("rows", "FLOAT", ["tokens", 384])."""
        self.inputs[name] = helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), list(shape))
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", name: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return that."""
        return self.split(operator, *inputs, outputs=1, domain=domain, names=name and [name], **attributes)[0]

    def split(
        self, operator: str, *inputs: str, outputs: int, domain: str = "", names: Any = None, **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs."""
        self._count += 1
        names = names or [f"{operator}_{self._count}_{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        return names

    def choose(self, condition: str, name: str, then: Any, otherwise: Any, outputs: int = 1) -> list[str]:
        """Add an ``If``; both branches are functions that add nodes to this graph and return their outputs' names."""
        branches = {}
        before = self.nodes
        for key, build in (("then_branch", then), ("else_branch", otherwise)):
            self.nodes = []
            found = [self.add("Identity", value) for value in build()]
            values = [helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, None) for value in found]
            branches[key] = helper.make_graph(self.nodes, f"{name}_{key}", [], values)
        self.nodes = before
        return self.split("If", condition, outputs=outputs, **branches)

    def dense(
        self,
        rows: str,
        name: str,
        weight: np.ndarray,
        bias: np.ndarray,
        *,
        exact: bool = False,
        activation: Activation | None = None,
    ) -> str:
        """Add rows W^T + b; in int8, unless ``exact``, with a scale for each output channel.

        A row's scale is its own largest value, or fixed by what was measured beforehand, ``activation``: no answer
        depends on what else is in the batch.
        """
        if self.bits is None or exact:
            return self.add(
                "Gemm", rows, self.constant(weight.T, f"{name}.weight"), self.constant(bias, f"{name}.bias")
            )
        if activation is not None:
            return self._static(rows, name, weight, bias, activation)
        quantised, scales = per_channel(weight)
        limit = 2 ** (self.bits - 1) - 1
        one, step, zero = (
            self.constant(value) for value in (np.float32(1), np.float32(1 / limit), np.uint8(limit + 1))
        )
        largest = self.add("ReduceMax", self.add("Abs", rows), self.constant(np.array([-1])), keepdims=1)
        largest = self.add("Max", largest, self.constant(np.float32(1e-12)))
        whole = self.add("QuantizeLinear", self.add("Div", rows, largest), step, zero)
        channels = self.constant(scales / np.float32(limit), f"{name}.scales")
        values = self.constant(quantised.T, f"{name}.weight")
        product = self.add("MatMulIntegerToFloat", whole, values, one, channels, zero, domain=MICROSOFT)
        return self.add("Add", self.add("Mul", product, largest), self.constant(bias, f"{name}.bias"))

    def _static(self, rows: str, name: str, weight: np.ndarray, bias: np.ndarray, activation: Activation) -> str:
        assert self.bits is not None
        smoothing = activation.smoothing(weight)
        if smoothing is not None:
            rows = self.add("Mul", rows, self.constant(1 / smoothing, f"{name}.smoothing"))
            weight = weight * smoothing
        low, high = activation.range(smoothing)
        steps = 2**self.bits - 1
        step = np.float32((high - low) / steps)
        zero = np.uint8(np.clip(np.rint(-low / step), 0, steps))
        if self.bits < 8:  # seven bits end where the eighth begins, which QuantizeLinear does not know
            rows = self.add("Min", rows, self.constant(np.float32(high)))
        step_name, zero_name = self.constant(step, f"{name}.step"), self.constant(zero, f"{name}.zero")
        quantised, scales = per_channel(weight)
        return self.add(
            "MatMulIntegerToFloat",
            self.add("QuantizeLinear", rows, step_name, zero_name),
            self.constant(quantised.T, f"{name}.weight"),
            step_name,
            self.constant(scales, f"{name}.scales"),
            zero_name,
            "",  # weights are symmetric
            self.constant(bias, f"{name}.bias"),
            domain=MICROSOFT,
        )

    def norm(self, rows: str, name: str, weight: np.ndarray, bias: np.ndarray, epsilon: float) -> str:
        """Add a LayerNorm."""
        parts = self.constant(weight, f"{name}.weight"), self.constant(bias, f"{name}.bias")
        return self.add("LayerNormalization", rows, *parts, epsilon=epsilon)

    def model(self, outputs: Sequence[str]) -> Any:
        """Return the finished model, with the inputs and initialisers that it uses."""
        values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(
            self.nodes, "segment", list(self.inputs.values()), values, list(self.initializers.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="eat")


def per_channel(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise each row of (rows, columns) symmetrically to int8; return the values and each row's scale."""
    scales = np.maximum(np.abs(weight).max(1), 1e-12).astype(np.float32) / np.float32(127)
    return np.rint(weight / scales[:, None]).astype(np.int8), scales
