"""The assembly: pictures and token ids in, logits out.

Axes: B sequences, T tokens, D width, N images.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import ModelConfig
from model.decoder import Decoder, KVCache
from model.heads import DenseHeads, Evidence, Seen
from model.vision import VisionTower, build_projector, init_weights

IMAGE_SLOT = -200
"""Stands in the token ids where one image's vectors go. Source: LLaVA's IMAGE_TOKEN_INDEX."""


class VLM(nn.Module):
    """Vision tower, projector and decoder; the same code from nano to 1.66 B weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionTower(config.vision)
        self.projector = build_projector(config.vision.hidden_size, config.decoder.hidden_size)
        self.image_newline = nn.Parameter(torch.zeros(config.decoder.hidden_size))
        self.decoder = Decoder(config.decoder)
        init_weights(self)
        self.heads = DenseHeads(config.vision.hidden_size, config.labels) if config.labels else None
        self.evidence = Evidence(config.decoder.hidden_size, config.labels) if config.labels else None

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Turn pictures ``(N, 3, S, S)`` into ``(N, image_tokens, D)``, the newline vector last."""
        tokens = self.vision(pixel_values)
        return self.project(tokens, self.heads(tokens) if self.heads is not None else None)

    def project(self, tokens: Tensor, seen: Seen | None, scale: float = 1.0) -> Tensor:
        """Turn visual tokens into what the decoder is fed.

        Args:
            tokens: the tower's output, ``(N, P, C)``.
            seen: what its heads say of them, of a model that has any.
            scale: factor on the projector's output.

        Returns:
            ``(N, image_tokens, D)``.
        """
        features = self.projector(tokens) * scale
        newline = self.image_newline.to(features.dtype).expand(len(features), 1, -1)
        if self.evidence is not None and seen is not None:
            in_cells, of_scene = self.evidence(seen)
            features, newline = features + in_cells, newline + of_scene
        return torch.cat([features, newline], 1)

    def embed(self, ids: Tensor, features: Tensor) -> Tensor:
        """Look token ids up and splice image vectors in.

        Args:
            ids: ``(B, T)`` int64; `IMAGE_SLOT` once for each image vector (see `expand_image_slots`).
            features: ``(N, image_tokens, D)``, in the order in which the slots stand, sequence by sequence.

        Returns:
            ``(B, T, D)``.

        Raises:
            ValueError: if slots and vectors differ in number.
        """
        slots = ids == IMAGE_SLOT
        vectors = features.flatten(0, 1)
        if int(slots.sum()) != len(vectors):
            raise ValueError(f"{int(slots.sum())} image slots for {len(vectors)} image vectors")
        embeds = self.decoder.embed_tokens(ids.clamp(min=0)).to(features.dtype)
        return embeds.masked_scatter(slots[..., None], vectors)

    def spots(self, features: Tensor, images: Tensor, cells: Tensor, marks: Tensor, gain: float, eps: float) -> Tensor:
        """Return the vectors of visual tokens that are fed once more, to be read there.

        Args:
            features: ``(N, image_tokens, D)``.
            images: ``(B, 2)`` int64, the first and the last image of each sequence; of two, the difference is fed.
            cells: ``(B, K)`` int64 in [0, P), the visual token of each spot.
            marks: ``(B, K, M)`` int64, tokens of which a mark is the sum of the embeddings; -1 for none.
            gain: factor on a mark that is added.
            eps: beside the mean square of a mark.

        Returns:
            ``(B, K, D)``.
        """
        first, last = (
            features[image].gather(1, cells[..., None].expand(-1, -1, features.shape[-1])) for image in images.T
        )
        own = torch.where((images[:, 0] == images[:, 1])[:, None, None], last, last - first)
        known = marks >= 0
        starts = known.sum(-1).flatten().cumsum(0) - known.sum(-1).flatten()
        mark = F.embedding_bag(marks[known], self.decoder.embed_tokens.weight, starts, mode="sum").view_as(own)
        unit = mark * torch.rsqrt(mark.square().mean(-1, keepdim=True) + eps)
        return own * (1 + unit.to(own.dtype)) + gain * mark.to(own.dtype)

    def forward(
        self,
        ids: Tensor,
        pixel_values: Tensor,
        expert: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return logits ``(B, T, vocab)``; arguments as in `embed` and `Decoder.forward`."""
        embeds = self.embed(ids, self.encode_images(pixel_values))
        return self.decoder.lm_head(self.decoder(embeds, expert, positions=positions, mask=mask))

    @torch.no_grad()
    def generate_greedy(
        self, ids: Tensor, pixel_values: Tensor, expert: int, max_new_tokens: int
    ) -> tuple[list[int], Tensor]:
        """Decode one sequence by argmax: the reference that other runtimes are compared with.

        Args:
            ids: ``(T,)`` with one `IMAGE_SLOT` an image.
            pixel_values: ``(N, 3, S, S)``.
            expert: index of the expert set.
            max_new_tokens: how many tokens to make; no token stops it.

        Returns:
            The new token ids, and the logits ``(vocab,)`` after the prompt.
        """
        ids = expand_image_slots(ids, self.config.image_tokens)[None]
        which, cache = torch.tensor([expert], device=ids.device), KVCache()
        embeds = self.embed(ids, self.encode_images(pixel_values))
        tokens: list[int] = []
        first = torch.empty(0)
        for _ in range(max_new_tokens):
            logits = self.decoder.lm_head(self.decoder(embeds, which, cache=cache)[:, -1])
            first = first if tokens else logits[0]
            tokens.append(int(logits.argmax()))
            embeds = self.decoder.embed_tokens(torch.tensor([[tokens[-1]]], device=ids.device))
        return tokens, first


def expand_image_slots(ids: Tensor, image_tokens: int) -> Tensor:
    """Repeat each `IMAGE_SLOT` of ``(T,)`` ids ``image_tokens`` times."""
    return ids.repeat_interleave(torch.where(ids == IMAGE_SLOT, image_tokens, 1))
