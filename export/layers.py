"""The layers of both graphs: each stored as its profile says, under its checkpoint's name."""

import re
from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto

from export.builder import MICROSOFT, GraphBuilder
from export.checkpoint import Checkpoint
from export.dispatch import ACCURACY_LEVEL, write_experts
from export.quantise import ErrorLog, Scheme, VisionScheme, experts_scheme, narrow, quantise_blocks, quantise_channels
from rsvlm_cli.runtime.dispatch import stack_gate_up
from rsvlm_cli.runtime.int4 import BlockScheme, QuantisedRows

BATCH_NORM_EPS = 1e-5
"""Of torch's BatchNorm2d, which the stem uses."""


def node_path(module: str) -> str:
    """Return the node path of a module: ``decoder.layers.0.norm`` is ``decoder/layers.0/norm``."""
    return re.sub(r"\.(?!\d)", "/", module)


@dataclass(frozen=True, slots=True)
class LayerWriter:
    """Writes layers of a checkpoint into a graph.

    Attributes:
        graph: the graph.
        checkpoint: where the weights come from.
        log: gets the error of each quantised tensor.
        rounded: values whose tokens were rounded to int8, with the result and each token's magnitude.
    """

    graph: GraphBuilder
    checkpoint: Checkpoint
    log: ErrorLog
    rounded: dict[str, tuple[str, str]] = field(default_factory=dict)

    def vector(self, name: str) -> str:
        """Store a small tensor in float32 and return its name."""
        return self.graph.weight(name, self.checkpoint.read(name).astype(np.float32))

    def layer_norm(self, module: str, x: str, epsilon: float) -> str:
        """LayerNorm over the last axis."""
        inputs = [x, self.vector(f"{module}.weight"), self.vector(f"{module}.bias")]
        return self.graph.op("LayerNormalization", node_path(module), inputs, axis=-1, epsilon=epsilon)

    def linear(self, module: str, x: str, scheme: VisionScheme) -> str:
        """Write the linear layer ``module``, bias included, as the checkpoint holds it."""
        weight = self.checkpoint.read(f"{module}.weight")
        return self.linear_of(module, x, weight, self.checkpoint.read(f"{module}.bias"), scheme)

    def linear_of(self, module: str, x: str, weight: np.ndarray, bias: np.ndarray | None, scheme: VisionScheme) -> str:
        """Write a linear layer.

        Args:
            module: its name.
            x: value ``(..., K)``.
            weight: ``(N, K)``.
            bias: ``(N,)`` or None.
            scheme: how the weight is stored.

        Returns:
            The value ``(..., N)``.
        """
        name, path = f"{module}.weight", node_path(module)
        bias_name = "" if bias is None else self.graph.weight(f"{module}.bias", bias.astype(np.float32))
        if isinstance(scheme, BlockScheme):
            rows = quantise_blocks(name, weight, scheme, self.log)
            stored = [self.graph.weight(name, rows.packed), self.graph.weight(f"{name}.scales", rows.scales)]
            return self.matmul_blocks(path, x, rows, stored, bias_name)
        if scheme == "dynamic":
            values, scales = quantise_channels(name, weight, self.log)
            stored = [self.graph.weight(name, values.T), self.graph.weight(f"{name}.scales", scales)]
            return self.graph.op("DynamicQuantizeMatMul", path, [x, *stored, "", bias_name], MICROSOFT)
        if scheme == "tokens":
            y = self._matmul_tokens(module, x, weight)
        else:
            y = self.graph.op("MatMul", path, [x, self.floats(name, weight.T, half=scheme == "float16")])
        return self.graph.op("Add", path, [y, bias_name]) if bias_name else y

    def floats(self, name: str, weight: np.ndarray, *, half: bool) -> str:
        """Store a weight in float32, or in float16 to be widened when the graph is opened; return a float32 value."""
        if not half:
            return self.graph.weight(name, weight.astype(np.float32))
        stored = self.graph.weight(name, narrow(name, weight, self.log))
        return self.graph.op("Cast", node_path(name.removesuffix(".weight")), [stored], to=TensorProto.FLOAT)

    def _matmul_tokens(self, module: str, x: str, weight: np.ndarray) -> str:
        """Multiply int8 weights, a scale each row, by int8 activations, a scale each token.

        A token is divided by its own magnitude before rounding and its products are multiplied by it afterwards, so
        that one loud token (a vision transformer has some) costs the others nothing.
        """
        graph, path = self.graph, node_path(module)
        if x not in self.rounded:
            magnitude = graph.op("ReduceMax", path, [graph.op("Abs", path, [x]), graph.constant("axes_last", [-1])])
            magnitude = graph.op("Max", path, [magnitude, graph.constant("least", 1e-30, np.float32)])
            scale = [graph.constant("step", 1 / 127, np.float32), graph.constant("middle", 128, np.uint8)]
            unit = graph.op("QuantizeLinear", path, [graph.op("Div", path, [x, magnitude]), *scale])
            self.rounded[x] = unit, magnitude
        unit, magnitude = self.rounded[x]
        values, scales = quantise_channels(f"{module}.weight", weight, self.log)
        stored = [graph.weight(f"{module}.weight", values.T), graph.weight(f"{module}.weight.scales", scales)]
        inputs = [unit, stored[0], graph.constant("step", 1 / 127, np.float32), stored[1]]
        zero = graph.constant("middle", 128, np.uint8)
        return graph.op("Mul", path, [graph.op("MatMulIntegerToFloat", path, [*inputs, zero], MICROSOFT), magnitude])

    def matmul_blocks(self, path: str, x: str, rows: QuantisedRows, stored: list[str], bias: str = "") -> str:
        """Multiply by stored quantised rows."""
        inputs = [x, *stored, "", "", bias] if bias else [x, *stored]
        return self.graph.op(
            "MatMulNBits",
            path,
            inputs,
            MICROSOFT,
            K=rows.n_columns,
            N=len(rows.packed),
            bits=rows.scheme.bits,
            block_size=rows.scheme.block,
            accuracy_level=ACCURACY_LEVEL,
        )

    def conv(self, module: str, x: str, *, stride: int, padding: int, scheme: VisionScheme) -> str:
        """Write a convolution with bias as the checkpoint holds it."""
        weight, bias = self.checkpoint.read(f"{module}.weight"), self.checkpoint.read(f"{module}.bias")
        return self._conv_of(module, x, weight, bias, (stride, padding), scheme)

    def conv_norm(self, module: str, x: str, *, stride: int, scheme: VisionScheme) -> str:
        """Write a 3 x 3 convolution ``module.0`` with the batch norm ``module.1`` folded into it."""
        read = self.checkpoint.read
        gain, shift, mean, variance = (
            read(f"{module}.1.{k}").astype(np.float32) for k in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gain / np.sqrt(variance + np.float32(BATCH_NORM_EPS))
        weight = read(f"{module}.0.weight").astype(np.float32) * factor[:, None, None, None]
        return self._conv_of(f"{module}.0", x, weight, shift - mean * factor, (stride, 1), scheme)

    def _conv_of(
        self,
        module: str,
        x: str,
        weight: np.ndarray,
        bias: np.ndarray,
        stride_padding: tuple[int, int],
        scheme: VisionScheme,
    ) -> str:
        name, path = f"{module}.weight", node_path(module)
        if scheme is not None and scheme != "float16":
            values, scales = quantise_channels(name, weight, self.log)
            stored = [self.graph.weight(name, values), self.graph.weight(f"{name}.scales", scales)]
            kernel = self.graph.op("DequantizeLinear", path, stored, axis=0)
        else:
            kernel = self.floats(name, weight, half=scheme == "float16")
        inputs = [x, kernel, self.graph.weight(f"{module}.bias", bias.astype(np.float32))]
        stride, padding = stride_padding
        return self.graph.op("Conv", path, inputs, strides=[stride] * 2, pads=[padding] * 4)

    def experts(self, module: str, x: str, router: str, scheme: Scheme) -> str:
        """Write the expert MLPs of one layer as one mixture-of-experts node.

        Gate and up rows alternate in one stack, as the operators' fused SwiGLU wants them. The width of an expert is
        padded with zeros to whole blocks, which adds nothing to its output: silu(0) * 0 = 0.

        Args:
            module: the layer's ``experts``.
            x: value ``(B, T, D)`` or ``(B, D)``.
            router: value ``(tokens, E)``, high at each token's expert and low elsewhere.
            scheme: how the weights are stored.

        Returns:
            The value of the shape of ``x``.
        """
        decoder = self.checkpoint.config.decoder
        hidden, width = decoder.hidden_size, decoder.intermediate_size
        blocks = experts_scheme(scheme, hidden) if isinstance(scheme, BlockScheme) else None
        padded = blocks.n_blocks(width) * blocks.block if blocks else width
        gate, up, down = (
            np.stack([self.checkpoint.read(f"{module}.{e}.{part}_proj.weight") for e in range(decoder.experts)])
            for part in ("gate", "up", "down")
        )
        gate_up = stack_gate_up(gate, up, padded)
        down = np.pad(down.astype(np.float32), ((0, 0), (0, 0), (0, padded - width)))
        stacks = {"gate_up_proj": gate_up, "down_proj": down}
        stored = {
            part: self._store_experts(f"{module}.{part}.weight", stack, blocks or scheme)
            for part, stack in stacks.items()
        }
        names = [*stored["gate_up_proj"], *stored["down_proj"]]
        return write_experts(self.graph, node_path(module), x, router, names, blocks)

    def _store_experts(self, name: str, stack: np.ndarray, scheme: Scheme) -> list[str]:
        if not isinstance(scheme, BlockScheme):
            return [self.floats(name, stack, half=scheme == "float16")]
        n_experts, n_rows, n_columns = stack.shape
        rows = quantise_blocks(name, stack.reshape(-1, n_columns), scheme, self.log)
        packed = self.graph.weight(name, rows.packed.reshape(n_experts, n_rows, -1))
        return [packed, self.graph.weight(f"{name}.scales", rows.scales.reshape(n_experts, n_rows, -1))]
