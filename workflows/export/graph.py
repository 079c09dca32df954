"""Arithmetic that writes down an ONNX graph: values with the operators of arrays, and loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spinloom.device_models.errors import SpinloomError

OPSET = 17
"""Version of the operators, all of them of ONNX's own set."""
IR = 8
"""Version of the file's form: the one that came with the opset, so that older runtimes read it too."""


def need(package: str) -> Any:
    """A package of the extra ``export``.

    Raises
    ------
    SpinloomError
        where it is not installed, with what to do
    """
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise SpinloomError(
            f"{package}: not installed, and an export to ONNX needs it; pip install 'spinloom[export]'"
        ) from None


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a graph; arithmetic with it adds operators to the graph.

    Attributes
    ----------
    graph : Graph
    name : str
    """

    graph: Graph
    name: str

    __array_ufunc__ = None  # an ndarray on the left leaves the arithmetic to this class

    def __add__(self, other: Any) -> Value:
        return self.graph.add("Add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.graph.add("Add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.graph.add("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.graph.add("Sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.graph.add("Mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.graph.add("Mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.graph.add("Div", self, other)

    def __matmul__(self, other: Any) -> Value:
        return self.graph.add("MatMul", self, other)

    def __neg__(self) -> Value:
        return self.graph.add("Neg", self)

    def exp(self) -> Value:
        """The exponential function of it."""
        return self.graph.add("Exp", self)

    def sqrt(self) -> Value:
        """Square root."""
        return self.graph.add("Sqrt", self)

    def clip(self, low: float, high: float) -> Value:
        """Limited to a range."""
        return self.graph.add("Clip", self, low, high)

    def sum(self) -> Value:
        """Over the last axis, which stays with length 1."""
        return self.graph.add("ReduceSum", self, np.array([-1]), keepdims=1)

    def take(self, columns: Any) -> Value:
        """Some places along the last axis."""
        return self.graph.add("Gather", self, np.asarray(columns, dtype=np.int64), axis=-1)

    def row(self, index: Any) -> Value:
        """One place along the first axis, which goes."""
        return self.graph.add("Gather", self, index, axis=0)

    def slice(self, start: int, stop: int | None = None, axis: int = -1) -> Value:
        """A range along an axis."""
        end = np.iinfo(np.int64).max if stop is None else stop
        return self.graph.add("Slice", self, *(np.array([at], dtype=np.int64) for at in (start, end, axis)))

    def column(self, at: int) -> Value:
        """One place along the last axis, which stays with length 1."""
        return self.slice(at, at + 1)

    def unsqueeze(self, axis: int) -> Value:
        """With another axis of length 1."""
        return self.graph.add("Unsqueeze", self, np.array([axis]))

    def squeeze(self, axis: int) -> Value:
        """Without an axis of length 1."""
        return self.graph.add("Squeeze", self, np.array([axis]))

    def length(self) -> Value:
        """How many places the first axis has, a scalar of int64."""
        return self.graph.add("Squeeze", self.graph.add("Shape", self, start=0, end=1), np.array([0]))


@dataclass(eq=False)
class Graph:
    """Operators in the order in which they compute, and the constants that they need.

    Attributes
    ----------
    outer : Graph, optional
        the graph in whose loop this one is the body

    Examples
    --------
    >>> graph = Graph()
    >>> x = graph.input("x", ["n", 3])
    >>> graph.output("y", 2.0 * x.column(0) + np.ones(1), ["n", 1])
    >>> [node.op_type for node in graph.nodes]
    ['Slice', 'Mul', 'Add', 'Identity']
    """

    outer: Graph | None = None
    nodes: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    @property
    def top(self) -> Graph:
        """The graph that all others are in: it holds the constants, and names are its own."""
        return self if self.outer is None else self.outer.top

    @property
    def depth(self) -> int:
        """How many loops it is inside of."""
        return 0 if self.outer is None else 1 + self.outer.depth

    def add(self, op: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Add an operator, to the innermost graph of its inputs; what is no value of a graph becomes a constant."""
        given = [one if isinstance(one, Value) else self.constant(one) for one in inputs]
        graph = max([self, *(one.graph for one in given)], key=lambda graph: graph.depth)
        names = [f"{op.lower()}_{next(self.top.numbers)}" for _ in range(outputs)]
        graph.nodes.append(need("onnx").helper.make_node(op, [one.name for one in given], names, **attributes))
        values = [Value(graph, name) for name in names]
        return values[0] if outputs == 1 else values

    def constant(self, value: Any) -> Value:
        """An array of the top graph: float64, or int64 of integers; equal ones are kept once."""
        array = np.ascontiguousarray(np.asarray(value))
        array = array.reshape(np.shape(value)).astype(np.int64 if array.dtype.kind == "i" else np.float64)
        key, top = (array.dtype.str, array.shape, array.tobytes()), self.top
        if key not in top.known:
            top.known[key] = f"constant_{next(top.numbers)}"
            top.constants.append(need("onnx").numpy_helper.from_array(array, top.known[key]))
        return Value(top, top.known[key])

    def input(self, name: str, shape: Sequence[int | str] | None, kind: str = "DOUBLE") -> Value:
        """An input; without a shape, of any."""
        self.inputs.append(_info(name, shape, kind))
        return Value(self, name)

    def output(self, name: str, value: Value, shape: Sequence[int | str] | None, kind: str = "DOUBLE") -> None:
        """An output, under a name of its own."""
        self.nodes.append(need("onnx").helper.make_node("Identity", [value.name], [name]))
        self.outputs.append(_info(name, shape, kind))

    def loop(
        self,
        count: Any,
        carry: Sequence[Value],
        body: Callable[[Graph, Value, list[Value]], tuple[Sequence[Value], Sequence[Value]]],
    ) -> tuple[list[Value], list[Value]]:
        """Repeat something.

        Parameters
        ----------
        count : Value or int
            how often
        carry : sequence of Value
            what goes from one time to the next
        body : callable
            (graph, number of the time, carry) -> carry, and what is kept of every time

        Returns
        -------
        carry, kept : list of Value
            the kept with a first axis of times
        """
        onnx, inner = need("onnx"), Graph(outer=self)
        name = f"time_{next(self.top.numbers)}"
        time, going = (inner.input(f"{name}_{part}", [], kind) for part, kind in (("i", "INT64"), ("on", "BOOL")))
        entered = [inner.input(f"{name}_carry{k}", None, "DOUBLE") for k in range(len(carry))]
        after, kept = body(inner, time, entered)
        for k, value in enumerate([going, *after, *kept]):
            inner.output(f"{name}_out{k}", value, None, "DOUBLE" if k else "BOOL")
        values = self.add(
            "Loop",
            self.constant(count) if not isinstance(count, Value) else count,
            self._true(),
            *carry,
            outputs=len(after) + len(kept),
            body=onnx.helper.make_graph(inner.nodes, name, inner.inputs, inner.outputs),
        )
        values = values if isinstance(values, list) else [values]
        return values[: len(after)], values[len(after) :]

    def _true(self) -> Value:
        top = self.top
        if "true" not in (one.name for one in top.constants):
            top.constants.append(need("onnx").numpy_helper.from_array(np.array(True), "true"))
        return Value(top, "true")

    def model(self, name: str, told: dict[str, str]) -> Any:
        """The whole as a checked ``onnx.ModelProto``, with what is told of it in its metadata."""
        onnx = need("onnx")
        graph = onnx.helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.constants)
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="spinloom"
        )
        onnx.helper.set_model_props(model, told)
        onnx.checker.check_model(model, full_check=True)
        return model


def join(*parts: Value) -> Value:
    """Values side by side along the last axis."""
    return parts[0].graph.add("Concat", *parts, axis=-1)


def _info(name: str, shape: Sequence[int | str] | None, kind: str) -> Any:
    onnx = need("onnx")
    return onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape)
