"""A graph under construction: nodes by law-abiding names, weights streamed to one external data file.

Names
    A node is called ``/`` + the module path with ``/`` between modules + ``/`` + its operator, an index joined to its
    list by a dot: ``/decoder/layers.0/attention/q_proj/MatMul``. A second node of the same operator in the same module
    gets ``_1``. Its outputs are ``<node>/output_0`` and so on. A weight keeps the name of the checkpoint's tensor.
Weights
    Every weight lies in the external data file, in the order of writing, aligned to `ALIGNMENT` bytes, and is written
    as soon as it is named, so that no more than one tensor is held in memory. Inside the protobuf are only shapes,
    indices and scalars.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

ALIGNMENT = 64
"""Bytes; a cache line and the widest vector register. ONNX Runtime rounds to pages itself when it maps the file."""

OPSET = 23
IR_VERSION = 11
MICROSOFT = "com.microsoft"

Attribute = int | float | str | Sequence[int]
"""Value of a node's attribute."""


class ExternalData:
    """One file of weights, appended to tensor by tensor."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file

    def append(self, array: np.ndarray) -> int:
        """Write an array in row-major order and return its offset in bytes."""
        self._file.write(bytes(-self._file.tell() % ALIGNMENT))
        offset = self._file.tell()
        self._file.write(np.ascontiguousarray(array).data)
        return offset


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A tensor in the external data file; the offset is in bytes."""

    name: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def n_bytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


class GraphBuilder:
    """Collects nodes, constants and external weights, and writes the model."""

    def __init__(self, name: str, data: ExternalData) -> None:
        self.name = name
        self.data = data
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._used: Counter[str] = Counter()

    @property
    def nodes(self) -> Sequence[NodeProto]:
        """What has been written so far, in order."""
        return self._nodes

    @property
    def outputs(self) -> list[str]:
        """Names of the graph's outputs."""
        return [value.name for value in self._outputs]

    def input(self, name: str, dtype: int, shape: Sequence[int | str]) -> str:
        """Declare a graph input; a dimension may be a symbol."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int, shape: Sequence[int | str]) -> str:
        """Declare a graph output."""
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def constant(self, name: str, value: object, dtype: type = np.int64) -> str:
        """Store a small value inside the protobuf; the same name twice is the same value."""
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.array(value, dtype), name)
        return name

    def weight(self, name: str, array: np.ndarray) -> str:
        """Write a weight to the external data file, make it known to the graph and return its name."""
        return self.use(self.store(name, array))

    def store(self, name: str, array: np.ndarray) -> StoredTensor:
        """Write a tensor to the external data file alone, for whom the graph is not the only reader."""
        return StoredTensor(name=name, offset=self.data.append(array), shape=array.shape, dtype=array.dtype)

    def use(self, stored: StoredTensor) -> str:
        """Make a stored tensor known to the graph and return its name."""
        tensor = TensorProto(name=stored.name, dims=stored.shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(stored.dtype)
        for key, value in (("location", self.data.name), ("offset", stored.offset), ("length", stored.n_bytes)):
            tensor.external_data.add(key=key, value=str(value))
        self._initializers[stored.name] = tensor
        return stored.name

    def node(
        self,
        op: str,
        path: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | int = 1,
        domain: str = "",
        **attributes: Attribute,
    ) -> list[str]:
        """Append a node.

        Args:
            op: operator.
            path: module path, ``/`` between modules, without the leading one.
            inputs: value names; an empty name leaves an optional input out.
            outputs: how many outputs get names by the law, or their names.
            domain: operator domain, empty for ONNX's own.
            attributes: of the operator.

        Returns:
            The names of the outputs.
        """
        base = f"/{path}/{op}"
        name = f"{base}_{self._used[base]}" if self._used[base] else base
        self._used[base] += 1
        names = [f"{name}/output_{k}" for k in range(outputs)] if isinstance(outputs, int) else list(outputs)
        node = helper.make_node(op, inputs, names, name=name, domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return names

    def op(self, op: str, path: str, inputs: Sequence[str], domain: str = "", **attributes: Attribute) -> str:
        """Append a node of one output and return that output's name."""
        return self.node(op, path, inputs, 1, domain, **attributes)[0]

    def save(
        self, path: Path, nodes: Sequence[NodeProto] | None = None, domains: Mapping[str, int] | None = None
    ) -> None:
        """Write the protobuf; the external data file must lie beside it.

        Args:
            path: where to.
            nodes: instead of those that were written; weights that none of them reads are left out.
            domains: domain -> version of custom operators.
        """
        nodes = self._nodes if nodes is None else nodes
        used = {name for node in nodes for name in node.input}
        weights = [tensor for name, tensor in self._initializers.items() if name in used]
        graph = helper.make_graph(nodes, self.name, self._inputs, self._outputs, weights)
        versions = {"": OPSET, MICROSOFT: 1, **(domains or {})}
        opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
        model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="rsvlm")
        path.write_bytes(model.SerializeToString(deterministic=True))
