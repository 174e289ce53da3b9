"""The layers of both graphs: each stored as its profile says, under its checkpoint's name."""

import re
from dataclasses import dataclass

import numpy as np

from export.builder import MICROSOFT, GraphBuilder
from export.checkpoint import Checkpoint
from export.dispatch import ACCURACY_LEVEL, write_experts
from export.quantise import ErrorLog, VisionScheme, experts_scheme, quantise_blocks, quantise_channels
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
    """

    graph: GraphBuilder
    checkpoint: Checkpoint
    log: ErrorLog

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
        y = self.graph.op("MatMul", path, [x, self.graph.weight(name, weight.T.astype(np.float32))])
        return self.graph.op("Add", path, [y, bias_name]) if bias_name else y

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

    def conv(self, module: str, x: str, *, stride: int, padding: int, quantised: bool) -> str:
        """Write a convolution with bias as the checkpoint holds it."""
        weight, bias = self.checkpoint.read(f"{module}.weight"), self.checkpoint.read(f"{module}.bias")
        return self._conv_of(module, x, weight, bias, (stride, padding), quantised)

    def conv_norm(self, module: str, x: str, *, stride: int, quantised: bool) -> str:
        """Write a 3 x 3 convolution ``module.0`` with the batch norm ``module.1`` folded into it."""
        read = self.checkpoint.read
        gain, shift, mean, variance = (
            read(f"{module}.1.{k}").astype(np.float32) for k in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gain / np.sqrt(variance + np.float32(BATCH_NORM_EPS))
        weight = read(f"{module}.0.weight").astype(np.float32) * factor[:, None, None, None]
        return self._conv_of(f"{module}.0", x, weight, shift - mean * factor, (stride, 1), quantised)

    def _conv_of(
        self,
        module: str,
        x: str,
        weight: np.ndarray,
        bias: np.ndarray,
        stride_padding: tuple[int, int],
        quantised: bool,
    ) -> str:
        name, path = f"{module}.weight", node_path(module)
        if quantised:
            values, scales = quantise_channels(name, weight, self.log)
            stored = [self.graph.weight(name, values), self.graph.weight(f"{name}.scales", scales)]
            kernel = self.graph.op("DequantizeLinear", path, stored, axis=0)
        else:
            kernel = self.graph.weight(name, weight.astype(np.float32))
        inputs = [x, kernel, self.graph.weight(f"{module}.bias", bias.astype(np.float32))]
        stride, padding = stride_padding
        return self.graph.op("Conv", path, inputs, strides=[stride] * 2, pads=[padding] * 4)

    def experts(self, module: str, x: str, router: str, scheme: BlockScheme | None) -> str:
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
        scheme = scheme and experts_scheme(scheme, hidden)
        padded = scheme.n_blocks(width) * scheme.block if scheme else width
        gate, up, down = (
            np.stack([self.checkpoint.read(f"{module}.{e}.{part}_proj.weight") for e in range(decoder.experts)])
            for part in ("gate", "up", "down")
        )
        gate_up = stack_gate_up(gate, up, padded)
        down = np.pad(down.astype(np.float32), ((0, 0), (0, 0), (0, padded - width)))
        stacks = {"gate_up_proj": gate_up, "down_proj": down}
        stored = {part: self._store_experts(f"{module}.{part}.weight", stack, scheme) for part, stack in stacks.items()}
        names = [*stored["gate_up_proj"], *stored["down_proj"]]
        return write_experts(self.graph, node_path(module), x, router, names, scheme)

    def _store_experts(self, name: str, stack: np.ndarray, scheme: BlockScheme | None) -> list[str]:
        if scheme is None:
            return [self.graph.weight(name, stack)]
        n_experts, n_rows, n_columns = stack.shape
        rows = quantise_blocks(name, stack.reshape(-1, n_columns), scheme, self.log)
        packed = self.graph.weight(name, rows.packed.reshape(n_experts, n_rows, -1))
        return [packed, self.graph.weight(f"{name}.scales", rows.scales.reshape(n_experts, n_rows, -1))]
