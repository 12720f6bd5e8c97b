"""The tiny networks of the golden loops, straight from the keys of their files: no part of the program.

The U-Net of Stable Diffusion 2.1, narrow, alone, with DiffBIR's control network, or with StableSR's structure encoder.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HERE = Path(__file__).resolve().parent
UNET, STRUCTURE = "model.diffusion_model.", "structcond_stage_model."
HEAD = 8  # channels of an attention head of the U-Net; the structure encoder has 4 heads
State = Mapping[str, Tensor]


@cache
def weights(part: str) -> dict[str, Tensor]:
    """Tensors of ``main`` (U-Net and structure encoder) or ``control``, by the keys of their files."""
    found = {}
    for key, shape in json.loads(gzip.decompress((HERE / "keys.json.gz").read_bytes()))[part].items():
        n = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        if len(shape) == 1:
            n = 1 + 0.1 * n if key.endswith("weight") else 0.05 * n
        else:
            n = n / math.sqrt(math.prod(shape[1:]))
        found[key] = torch.from_numpy(n.astype(np.float32))
    return found


def _linear(state: State, key: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{key}.weight"], state.get(f"{key}.bias"))


def _conv(state: State, key: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{key}.weight"]
    return F.conv2d(x, weight, state[f"{key}.bias"], stride, weight.shape[-1] // 2)


def _norm(state: State, key: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    return F.group_norm(x, 32, state[f"{key}.weight"], state[f"{key}.bias"], eps)


def _time(state: State, prefix: str, time: Tensor) -> Tensor:
    half = state[f"{prefix}time_embed.0.weight"].shape[1] // 2
    angles = time.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
    first = _linear(state, f"{prefix}time_embed.0", torch.cat([angles.cos(), angles.sin()], 1))
    return _linear(state, f"{prefix}time_embed.2", F.silu(first))


def _residual(state: State, key: str, x: Tensor, emb: Tensor, maps: Mapping[int, Tensor]) -> Tensor:
    h = _conv(state, f"{key}.in_layers.2", F.silu(_norm(state, f"{key}.in_layers.0", x)))
    h = h + _linear(state, f"{key}.emb_layers.1", F.silu(emb))[:, :, None, None]
    h = _conv(state, f"{key}.out_layers.3", F.silu(_norm(state, f"{key}.out_layers.0", h)))
    if maps:
        spade = f"{key}.spade"
        shared = F.relu(_conv(state, f"{spade}.mlp_shared.0", maps[h.shape[-1]]))
        scale = 1 + _conv(state, f"{spade}.mlp_gamma", shared)
        h = _norm(state, f"{spade}.param_free_norm", h) * scale + _conv(state, f"{spade}.mlp_beta", shared)
    return (_conv(state, f"{key}.skip_connection", x) if f"{key}.skip_connection.weight" in state else x) + h


def _heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of (B, N, C)."""
    split = [part.unflatten(2, (-1, HEAD)).transpose(1, 2) for part in (q, k, v)]
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


def _transformer(state: State, key: str, x: Tensor, context: Tensor) -> Tensor:
    h = _norm(state, f"{key}.norm", x, 1e-6).flatten(2).transpose(1, 2)
    h = _linear(state, f"{key}.proj_in", h)
    block = f"{key}.transformer_blocks.0"

    def normal(i: int) -> Tensor:
        return F.layer_norm(h, h.shape[2:], state[f"{block}.norm{i}.weight"], state[f"{block}.norm{i}.bias"])

    for i in (1, 2):
        attn, seen = f"{block}.attn{i}", normal(i)
        other = seen if i == 1 else context
        q, k, v = (
            _linear(state, f"{attn}.to_{part}", given) for part, given in zip("qkv", (seen, other, other), strict=True)
        )
        h = h + _linear(state, f"{attn}.to_out.0", _heads(q, k, v))
    value, gate = _linear(state, f"{block}.ff.net.0.proj", normal(3)).chunk(2, -1)
    h = h + _linear(state, f"{block}.ff.net.2", value * F.gelu(gate))
    return x + _linear(state, f"{key}.proj_out", h).transpose(1, 2).unflatten(2, x.shape[2:])


def _attention(state: State, key: str, x: Tensor) -> Tensor:
    """The structure encoder's: 4 heads, which are split before queries, keys and values are."""
    b, c, height, width = x.shape
    qkv = F.conv1d(_norm(state, f"{key}.norm", x).flatten(2), state[f"{key}.qkv.weight"], state[f"{key}.qkv.bias"])
    q, k, v = qkv.view(b, 4, 3 * c // 4, -1).transpose(2, 3).chunk(3, -1)
    h = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, c, -1)
    h = F.conv1d(h, state[f"{key}.proj_out.weight"], state[f"{key}.proj_out.bias"])
    return x + h.view(b, c, height, width)


def _block(
    state: State, key: str, x: Tensor, emb: Tensor, context: Tensor | None, maps: Mapping[int, Tensor] | None = None
) -> Tensor:
    for j in range(3):
        part = f"{key}.{j}"
        if f"{part}.in_layers.0.weight" in state:
            x = _residual(state, part, x, emb, maps or {})
        elif f"{part}.proj_in.weight" in state:
            assert context is not None
            x = _transformer(state, part, x, context)
        elif f"{part}.qkv.weight" in state:
            x = _attention(state, part, x)
        elif f"{part}.op.weight" in state:
            x = _conv(state, f"{part}.op", x, 2)
        elif f"{part}.conv.weight" in state:
            x = _conv(state, f"{part}.conv", F.interpolate(x, scale_factor=2))
        elif f"{part}.weight" in state:
            x = _conv(state, part, x)
    return x


def control(x: Tensor, time: Tensor, context: Tensor, condition: Tensor) -> list[Tensor]:
    """The 13 outputs of DiffBIR's control network."""
    state = weights("control")
    emb, h, found = _time(state, "", time), torch.cat([x, condition.expand(len(x), -1, -1, -1)], 1), []
    for i in range(12):
        h = _block(state, f"input_blocks.{i}", h, emb, context)
        found.append(_conv(state, f"zero_convs.{i}.0", h))
    return [*found, _conv(state, "middle_block_out.0", _block(state, "middle_block", h, emb, context))]


def structure(latent: Tensor, time: Tensor) -> dict[int, Tensor]:
    """The maps of StableSR's structure encoder, by their width."""
    state, h = weights("main"), latent
    emb, found = _time(state, STRUCTURE, time), []
    for i in range(12):
        if i in (3, 6, 9):
            found.append(h)
        h = _block(state, f"{STRUCTURE}input_blocks.{i}", h, emb, None)
    found.append(_block(state, f"{STRUCTURE}middle_block", h, emb, None))
    maps = [_residual(state, f"{STRUCTURE}fea_tran.{i}", h, emb, {}) for i, h in enumerate(found)]
    return {h.shape[-1]: h for h in maps}


def unet(
    x: Tensor,
    time: Tensor,
    context: Tensor,
    controls: Sequence[Tensor] = (),
    maps: Mapping[int, Tensor] | None = None,
) -> Tensor:
    """The U-Net's output; `time` (B,), `context` (B, 77, 32)."""
    state = weights("main")
    emb, h, skips = _time(state, UNET, time), x, []
    left = list(controls) or [torch.zeros(())] * 13
    for i in range(12):
        h = _block(state, f"{UNET}input_blocks.{i}", h, emb, context, maps)
        skips.append(h)
    h = _block(state, f"{UNET}middle_block", h, emb, context, maps) + left.pop()
    for i in range(12):
        h = torch.cat([h, skips.pop() + left.pop()], 1)
        h = _block(state, f"{UNET}output_blocks.{i}", h, emb, context, maps)
    return _conv(state, f"{UNET}out.2", F.silu(_norm(state, f"{UNET}out.0", h)))
