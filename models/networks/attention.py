"""Causal self-attention over the time axis, for any number of batch dimensions, continued from a key/value cache."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

Cache = tuple[Tensor, ...]


class CausalTransformer(nn.Module):
    """Pre-norm transformer layers in which a step attends to itself and those before it; sinusoidal positions, no dropout.

    Sources: Vaswani et al., "Attention Is All You Need", NeurIPS 2017; Xiong et al., "On Layer Normalization in the
    Transformer Architecture", ICML 2020.

    Args:
        input_size: E, features of an input.
        width: W, features per step.
        heads: Attention heads per layer.
        layers: Layers of attention.
    """

    def __init__(self, input_size: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(input_size, width)
        self.blocks = nn.ModuleList(AttentionBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Continue a sequence.

        Args:
            inputs: ``(*B, T, E)``, the steps that follow those in ``cache``.
            cache: Keys and values of every layer for t earlier steps, each ``(*B, t, W)``; None before the first. With it one
                more step costs O(t), not a new pass.

        Returns:
            Outputs ``(*B, T, W)``, and the cache after them.
        """
        past = 0 if cache is None else cache[0].shape[-2]
        batch, length = inputs.shape[:-2], inputs.shape[-2]
        x = self.embed(inputs.reshape(-1, length, inputs.shape[-1]))
        x = x + sinusoids(past, past + length, self.width).to(x)
        kept: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            before = None
            if cache is not None:
                before = (cache[2 * i].reshape(-1, past, self.width), cache[2 * i + 1].reshape(-1, past, self.width))
            x, keys, values = block(x, before)
            kept += [keys.reshape(*batch, *keys.shape[1:]), values.reshape(*batch, *values.shape[1:])]
        return self.norm(x).reshape(*batch, length, -1), tuple(kept)


class AttentionBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, before: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs (N, T, W), and all keys and values so far, for x (N, T, W) that follows the keys and values ``before``."""
        queries, keys, values = self.project(self.attention_norm(x)).chunk(3, dim=-1)
        if before is not None:
            keys, values = torch.cat([before[0], keys], dim=-2), torch.cat([before[1], values], dim=-2)
        length, past = queries.shape[-2], keys.shape[-2] - queries.shape[-2]
        visible = None
        if past > 0:
            # The flag is_causal lines up first query and first key, which is right without a past only.
            visible = torch.ones(length, past + length, dtype=torch.bool, device=x.device).tril(past)
        q, k, v = (u.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for u in (queries, keys, values))
        seen = scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=visible is None)
        x = x + self.out(seen.transpose(-3, -2).flatten(-2))
        return x + self.mlp(x), keys, values


def sinusoids(start: int, stop: int, width: int) -> Tensor:
    """Positions ``start`` to ``stop`` as (stop - start, width) sines and cosines, float64, with periods up to 20,000 pi."""
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    angles = torch.arange(start, stop, dtype=torch.float64).unsqueeze(-1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
