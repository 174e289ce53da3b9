"""The language model: Qwen2 blocks whose MLP is one of several experts, chosen once for a whole sequence.

Axes: B sequences, T tokens, D width, H heads, G key-value heads, K head width, E experts.
Source: Qwen2, arXiv:2407.10671; granularity-oriented experts, RSUniVLM, arXiv:2412.05679.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import DecoderConfig


@dataclass
class KVCache:
    """Keys and values of the tokens seen so far, one pair ``(B, G, T, K)`` a layer."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return self.layers[0][0].shape[2] if self.layers else 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append one layer's new keys and values, and return all of them."""
        if layer == len(self.layers):
            self.layers.append((key, value))
        else:
            old_key, old_value = self.layers[layer]
            self.layers[layer] = (torch.cat([old_key, key], 2), torch.cat([old_value, value], 2))
        return self.layers[layer]


class Decoder(nn.Module):
    """Vectors to vectors; embedding and output head included as parts."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.embed_tokens.weight

    def forward(
        self,
        embeds: Tensor,
        expert: Tensor | int,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Run all blocks and the final norm.

        Args:
            embeds: ``(B, T, D)``.
            expert: ``(B,)`` int64 in [0, E): each sequence's expert, in every layer, for every token; or one for all.
            positions: ``(B, T)`` int64; by default they continue from the cache.
            mask: ``(B, 1, T, T)`` bool, True where a token may look; by default causal.
            cache: keys and values of earlier tokens; extended in place.

        Returns:
            ``(B, T, D)``; `lm_head` turns rows of it into logits.
        """
        start = cache.length if cache else 0
        if positions is None:
            positions = torch.arange(start, start + embeds.shape[1], device=embeds.device)[None]
        if mask is None and start and embeds.shape[1] > 1:
            seen = torch.arange(start + embeds.shape[1], device=embeds.device)
            mask = (seen[None, :] <= seen[start:, None])[None, None]
        rotary = rotary_table(positions, self.config.head_dim, self.config.rope_theta)
        x = embeds
        for index, layer in enumerate(self.layers):
            x = layer(x, expert, rotary, mask, cache, index)
        return self.norm(x)


class DecoderBlock(nn.Module):
    """Attention and the chosen expert, each behind an RMSNorm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.attention = GroupedQueryAttention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.experts = Experts(config)

    def forward(
        self,
        x: Tensor,
        expert: Tensor | int,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KVCache | None,
        index: int,
    ) -> Tensor:
        """Keep the shape ``(B, T, D)``."""
        x = x + self.attention(self.input_layernorm(x), rotary, mask, cache, index)
        return x + self.experts(self.post_attention_layernorm(x), expert)


class RMSNorm(nn.RMSNorm):
    """Torch's RMSNorm with its weight cast to the input's type, without which mixed precision takes a slow path."""

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(..., D)``."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class GroupedQueryAttention(nn.Module):
    """Causal attention with G key-value heads for H query heads; biases on q, k and v alone."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, config.heads * config.head_dim)
        self.k_proj = nn.Linear(config.hidden_size, config.kv_heads * config.head_dim)
        self.v_proj = nn.Linear(config.hidden_size, config.kv_heads * config.head_dim)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.hidden_size, bias=False)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache | None, index: int
    ) -> Tensor:
        """Keep the shape ``(B, T, D)``."""
        q, k, v = (
            proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, rotary), rotate(k, rotary)
        if cache is not None:
            k, v = cache.extend(index, k, v)
        causal = mask is None and q.shape[2] > 1
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class Experts(nn.ModuleList):
    """One MLP for each granularity. There is no router: the request says which."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(ExpertMLP(config.hidden_size, config.intermediate_size) for _ in range(config.experts))

    def forward(self, x: Tensor, expert: Tensor | int) -> Tensor:
        """Send each sequence of ``(B, T, D)`` through its own expert; ``expert`` is ``(B,)``, or one for all."""
        if isinstance(expert, int):
            return self[expert](x)
        chosen = expert.unique().tolist()
        if len(chosen) == 1:
            return self[chosen[0]](x)
        y = torch.empty_like(x)
        for e in chosen:
            rows = (expert == e).nonzero()[:, 0]
            y[rows] = self[e](x[rows]).to(y.dtype)
        return y


class ExpertMLP(nn.Module):
    """SwiGLU: ``down(silu(gate(x)) * up(x))``."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(B, T, D)``."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def rotary_table(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return cosine and sine ``(B, 1, T, K)`` of the rotary embedding, in fp32.

    Source: RoPE, arXiv:2104.09864, in the half-split layout of Qwen2: dimension i turns with dimension i + K/2.
    """
    frequency = theta ** (-torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim)
    angle = positions[:, None, :, None].float() * frequency
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn queries or keys ``(B, H, T, K)`` by their position."""
    cos, sin = rotary
    left, right = x.chunk(2, -1)
    return (x * cos + torch.cat([-right, left], -1) * sin).to(x.dtype)
