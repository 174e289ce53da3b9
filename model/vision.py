"""The vision tower: SigLIP without its last block, its final norm and its pooling head.

Axes: N images, P visual tokens an image, C width.
Source: SigLIP, arXiv:2303.15343; the missing last block, RSUniVLM's reading of "layer -2".
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import VisionConfig


class VisionTower(nn.Module):
    """Pictures to visual tokens."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        if config.stem_channels:
            self.stem = ConvStem(config.stem_channels, config.stem_blocks)
        else:
            self.patch_embedding = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)
        self.position_embedding = nn.Embedding(config.tokens, config.hidden_size)
        self.layers = nn.ModuleList(VisionBlock(config) for _ in range(config.layers))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            pixel_values: ``(N, 3, S, S)`` float, normalised.

        Returns:
            ``(N, P, C)``, row by row from the upper left.
        """
        grid = self.stem(pixel_values) if self.config.stem_channels else self.patch_embedding(pixel_values)
        x = grid.flatten(2).transpose(1, 2) + self._positions(grid.shape[-1])
        for layer in self.layers:
            x = layer(x)
        return x

    def _positions(self, side: int) -> Tensor:
        """Return the position embeddings for ``side`` tokens a side, ``(side**2, C)``; training may look at less."""
        own, weight = self.config.grid, self.position_embedding.weight
        if side == own:
            return weight
        plane = weight.T.reshape(1, -1, own, own)
        return F.interpolate(plane, size=(side, side), mode="bilinear", antialias=True)[0].flatten(1).T


class ConvStem(nn.Module):
    """Strided convolutions with residual blocks between, in place of the one-convolution patch embedding."""

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        widths = (3, *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(ConvNorm(inp, out, stride=2), nn.ReLU(), *(ResidualBlock(out) for _ in range(n)))
            for inp, out, n in zip(widths, channels, blocks, strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shrink ``(N, 3, S, S)`` to ``(N, C, S / 2**stages, S / 2**stages)``."""
        for stage in self.stages:
            x = stage(x)
        return x


class ConvNorm(nn.Sequential):
    """A 3 x 3 convolution and its batch norm, which export folds into one."""

    def __init__(self, inp: int, out: int, *, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inp, out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(out))


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, width)
        self.conv2 = ConvNorm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, width, h, w)``."""
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class VisionBlock(nn.Module):
    """A pre-norm transformer block with full attention."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = VisionAttention(config.hidden_size, config.heads)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = VisionMLP(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, P, C)``."""
        x = x + self.attention(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class VisionAttention(nn.Module):
    """Multi-head self-attention, every linear with bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, P, C)``."""
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class VisionMLP(nn.Module):
    """Two linears with the tanh form of GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, P, C)``."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def build_projector(vision_width: int, decoder_width: int) -> nn.Sequential:
    """Two linears with exact GELU between: visual tokens to the decoder's width."""
    return nn.Sequential(nn.Linear(vision_width, decoder_width), nn.GELU(), nn.Linear(decoder_width, decoder_width))


@torch.no_grad()
def init_weights(module: nn.Module, std: float = 0.02) -> None:
    """Draw every linear and embedding of ``module`` from N(0, std); biases zero. Convolutions keep torch's own."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)
