"""Weights in the layout of msclap, in miniature, and a plain second version of what the model computes from them.

Written from the layout (names and shapes of the public files) and the papers' equations; every number is a function of
the file alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
MELS = 64


def add_norm(state: State, name: str, size: int, *, running: bool = True) -> None:
    state[f"{name}.weight"] = 1 + 0.2 * torch.randn(size)
    state[f"{name}.bias"] = 0.2 * torch.randn(size)
    if running:
        state[f"{name}.running_mean"] = 0.2 * torch.randn(size)
        state[f"{name}.running_var"] = 0.5 + torch.rand(size)
        state[f"{name}.num_batches_tracked"] = torch.tensor(5)


def _linear(state: State, name: str, out: int, inputs: int, *, bias: bool = True) -> None:
    state[f"{name}.weight"] = torch.randn(out, inputs) * inputs**-0.5
    if bias:
        state[f"{name}.bias"] = 0.1 * torch.randn(out)


def _projection(state: State, name: str, inputs: int, out: int) -> None:
    _linear(state, f"{name}.linear1", out, inputs, bias=False)
    _linear(state, f"{name}.linear2", out, out, bias=False)
    add_norm(state, f"{name}.layer_norm", out, running=False)


def _front(state: State, base: str) -> None:
    state[f"{base}spectrogram_extractor.stft.conv_real.weight"] = torch.randn(513, 1, 4)  # constants, not read
    state[f"{base}logmel_extractor.melW"] = torch.rand(513, MELS) * (torch.rand(513, MELS) < 0.05)
    add_norm(state, f"{base}bn0", MELS)
    state[f"{base}bn0.running_mean"] -= 20
    state[f"{base}bn0.running_var"] *= 150


def add_cnn14(state: State, base: str, norm: str, width: int) -> None:
    """The six blocks of CNN14, as PANNs and SpeechBrain lay them out too."""
    inputs = 1
    for i in range(1, 7):
        outputs = width * 2 ** (i - 1)
        for j in (1, 2):
            block = f"{base}conv_block{i}."
            state[f"{block}conv{j}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
            add_norm(state, f"{block}{norm}{j}", outputs)
            inputs = outputs


def file_2022(width: int = 2, out: int = 24) -> State:
    torch.manual_seed(0)
    state: State = {"logit_scale": torch.tensor(3.0)}
    base = "audio_encoder.base."
    _front(state, base)
    add_cnn14(state, base, "bn", width)
    _linear(state, f"{base}fc1", 20, 32 * width)
    _linear(state, f"{base}fc_audioset", 7, 20)
    _projection(state, "audio_encoder.projection", 20, out)
    text, wide = "caption_encoder.base.", 64
    for name, size in (("word", 60), ("position", 40), ("token_type", 2)):
        state[f"{text}embeddings.{name}_embeddings.weight"] = torch.randn(size, wide)
    state[f"{text}embeddings.position_ids"] = torch.arange(40)[None]
    add_norm(state, f"{text}embeddings.LayerNorm", wide, running=False)
    for i in range(2):
        layer = f"{text}encoder.layer.{i}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            _linear(state, layer + name, wide, wide)
        add_norm(state, f"{layer}attention.output.LayerNorm", wide, running=False)
        _linear(state, f"{layer}intermediate.dense", 30, wide)
        _linear(state, f"{layer}output.dense", wide, 30)
        add_norm(state, f"{layer}output.LayerNorm", wide, running=False)
    _linear(state, f"{text}pooler.dense", wide, wide)
    _projection(state, "caption_encoder.projection", wide, out)
    return state


HEADS = (1, 2)


def file_2023(width: int = 8, out: int = 24) -> State:
    """Two stages of two blocks each, so that there is a shifted one in either."""
    torch.manual_seed(1)
    state: State = {"logit_scale": torch.tensor(3.0)}
    base = "audio_encoder.base.htsat."
    _front(state, base)
    state[f"{base}patch_embed.proj.weight"] = torch.randn(width, 1, 4, 4) / 4
    state[f"{base}patch_embed.proj.bias"] = torch.randn(width)
    add_norm(state, f"{base}patch_embed.norm", width, running=False)
    for i, heads in enumerate(HEADS):
        size = width * 2**i
        for j in range(2):
            block = f"{base}layers.{i}.blocks.{j}."
            add_norm(state, f"{block}norm1", size, running=False)
            add_norm(state, f"{block}norm2", size, running=False)
            state[f"{block}attn.relative_position_bias_table"] = torch.randn(225, heads)
            state[f"{block}attn.relative_position_index"] = torch.zeros(64, 64)
            _linear(state, f"{block}attn.qkv", 3 * size, size)
            _linear(state, f"{block}attn.proj", size, size)
            _linear(state, f"{block}mlp.fc1", 4 * size, size)
            _linear(state, f"{block}mlp.fc2", size, 4 * size)
            if j:
                state[f"{block}attn_mask"] = torch.zeros(1)
        if i + 1 < len(HEADS):
            _linear(state, f"{base}layers.{i}.downsample.reduction", 2 * size, 4 * size, bias=False)
            add_norm(state, f"{base}layers.{i}.downsample.norm", 4 * size, running=False)
    last = width * 2 ** (len(HEADS) - 1)
    add_norm(state, f"{base}norm", last, running=False)
    state[f"{base}tscam_conv.weight"] = torch.randn(7, last, 2, 3)
    _linear(state, f"{base}head", 7, 7)
    _projection(state, "audio_encoder.projection", last, out)
    text, wide = "caption_encoder.base.", 64
    state[f"{text}wte.weight"], state[f"{text}wpe.weight"] = torch.randn(60, wide), torch.randn(90, wide)
    for i in range(2):
        layer = f"{text}h.{i}."
        for name, shape in (
            ("attn.c_attn", (wide, 3 * wide)), ("attn.c_proj", (wide, wide)), ("mlp.c_fc", (wide, 30)),
            ("mlp.c_proj", (30, wide)),
        ):  # fmt: skip
            state[f"{layer}{name}.weight"] = torch.randn(shape) * shape[0] ** -0.5  # inputs first
            state[f"{layer}{name}.bias"] = 0.1 * torch.randn(shape[1])
        add_norm(state, f"{layer}ln_1", wide, running=False)
        add_norm(state, f"{layer}ln_2", wide, running=False)
    add_norm(state, f"{text}ln_f", wide, running=False)
    _projection(state, "caption_encoder.projection", wide, out)
    return state


# --- the second version -------------------------------------------------------------------------------------------


def _affine(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def _layer_norm(state: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def batch_norm(state: State, name: str, x: Tensor) -> Tensor:
    """Over axis 1."""
    return F.batch_norm(x, *(state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))


def _project(state: State, name: str, x: Tensor) -> Tensor:
    y = _affine(state, f"{name}.linear1", x)
    return _layer_norm(state, f"{name}.layer_norm", y + _affine(state, f"{name}.linear2", F.gelu(y)))


def _log_mel(state: State, base: str, clip: Tensor) -> Tensor:
    """(B, T) to normalised (B, M, N)."""
    padded = F.pad(clip[:, None], (512, 512), mode="reflect")[:, 0].double()
    frames = padded.unfold(1, 1024, 320) * torch.hann_window(1024, dtype=torch.float64)
    power = torch.fft.rfft(frames).abs().square().float()
    decibels = 10 * (power @ state[f"{base}logmel_extractor.melW"]).clamp(min=1e-10).log10()
    return batch_norm(state, f"{base}bn0", decibels.transpose(1, 2))


def cnn14(state: State, base: str, norm: str, x: Tensor) -> Tensor:
    """(B, 1, N, M) to (B, 32 width)."""
    for i in range(1, 7):
        for j in (1, 2):
            x = F.conv2d(x, state[f"{base}conv_block{i}.conv{j}.weight"], padding=1)
            x = batch_norm(state, f"{base}conv_block{i}.{norm}{j}", x).clamp(min=0)
        x = F.avg_pool2d(x, 2) if i < 6 else x
    x = x.mean(3)
    return x.amax(2) + x.mean(2)


def audio_2022(state: State, clip: Tensor) -> Tensor:
    base = "audio_encoder.base."
    x = _log_mel(state, base, clip).transpose(1, 2)[:, None]
    x = _affine(state, f"{base}fc1", cnn14(state, base, "bn", x)).clamp(min=0)
    return _project(state, "audio_encoder.projection", x)


def _attend(state: State, name: str, x: Tensor, heads: int, shift: int) -> Tensor:
    """Attention of (B, H, W, C) within windows of 8 x 8 of an image turned by ``shift``: token by token."""
    size, rows, columns, width = x.shape
    qkv = _affine(state, f"{name}.qkv", x).reshape(size, rows, columns, 3, heads, width // heads)
    table = state[f"{name}.relative_position_bias_table"]
    place = torch.arange(8).repeat_interleave(8), torch.arange(8).repeat(8)
    dy, dx = (p[:, None] - p[None] + 7 for p in place)
    bias = table[dy * 15 + dx].permute(2, 0, 1)
    result = torch.zeros_like(x)
    for top in range(0, rows, 8):
        for left in range(0, columns, 8):
            y, z = (top + place[0] + shift) % rows, (left + place[1] + shift) % columns
            query, key, value = qkv[:, y, z].permute(2, 0, 3, 1, 4)
            scores = query @ key.transpose(2, 3) / (width // heads) ** 0.5 + bias
            # Tokens that were brought together over the image's edge do not see each other.
            over = (top + place[0] + shift >= rows).long() * 2 + (left + place[1] + shift >= columns).long()
            scores = scores - 100.0 * (over[:, None] != over[None])
            result[:, y, z] = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    return _affine(state, f"{name}.proj", result)


def audio_2023(state: State, clip: Tensor) -> Tensor:
    base = "audio_encoder.base.htsat."
    x = _log_mel(state, base, clip).transpose(1, 2)[:, None]  # (B, 1, N, M)
    x = F.interpolate(x, (1024, MELS), mode="bicubic", align_corners=True)[:, 0]
    image = torch.cat([x[:, 256 * s : 256 * (s + 1)].transpose(1, 2) for s in range(4)], 1)  # segments below each other
    x = F.conv2d(
        image[:, None], state[f"{base}patch_embed.proj.weight"], state[f"{base}patch_embed.proj.bias"], stride=4
    )
    x = _layer_norm(state, f"{base}patch_embed.norm", x.permute(0, 2, 3, 1))
    for i, heads in enumerate(HEADS):
        for j in range(2):
            block = f"{base}layers.{i}.blocks.{j}."
            x = x + _attend(state, f"{block}attn", _layer_norm(state, f"{block}norm1", x), heads, 4 * j)
            hidden = F.gelu(_affine(state, f"{block}mlp.fc1", _layer_norm(state, f"{block}norm2", x)))
            x = x + _affine(state, f"{block}mlp.fc2", hidden)
        if i + 1 < len(HEADS):
            x = torch.cat([x[:, r::2, c::2] for c in (0, 1) for r in (0, 1)], -1)
            down = f"{base}layers.{i}.downsample."
            x = _affine(state, f"{down}reduction", _layer_norm(state, f"{down}norm", x))
    x = _layer_norm(state, f"{base}norm", x).mean((1, 2))
    return _project(state, "audio_encoder.projection", x)


def _heads(x: Tensor, count: int) -> Tensor:
    return x.reshape(*x.shape[:-1], count, -1).transpose(-2, -3)


def text_2022(state: State, ids: list[int]) -> Tensor:
    """BERT's first state."""
    base = "caption_encoder.base."
    table = [state[f"{base}embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")]
    x = table[0][ids] + table[1][: len(ids)] + table[2][0]
    x = _layer_norm(state, f"{base}embeddings.LayerNorm", x, 1e-12)
    for i in range(2):
        layer = f"{base}encoder.layer.{i}."
        q, k, v = (_affine(state, f"{layer}attention.self.{n}", x) for n in ("query", "key", "value"))
        seen = (q @ k.T / 8).softmax(-1) @ v  # one head of 64
        seen = _affine(state, f"{layer}attention.output.dense", seen)
        x = _layer_norm(state, f"{layer}attention.output.LayerNorm", x + seen, 1e-12)
        hidden = _affine(state, f"{layer}output.dense", F.gelu(_affine(state, f"{layer}intermediate.dense", x)))
        x = _layer_norm(state, f"{layer}output.LayerNorm", x + hidden, 1e-12)
    return _project(state, "caption_encoder.projection", x[0])


def text_2023(state: State, ids: list[int]) -> Tensor:
    """GPT-2's last state."""
    base = "caption_encoder.base."
    x = state[f"{base}wte.weight"][ids] + state[f"{base}wpe.weight"][: len(ids)]
    later = torch.ones(len(ids), len(ids)).triu(1).bool()
    for i in range(2):
        layer = f"{base}h.{i}."

        def conv(name: str, y: Tensor, layer: str = layer) -> Tensor:
            return y @ state[f"{layer}{name}.weight"] + state[f"{layer}{name}.bias"]

        q, k, v = conv("attn.c_attn", _layer_norm(state, f"{layer}ln_1", x)).chunk(3, -1)
        x = x + conv("attn.c_proj", (q @ k.T / 8).masked_fill(later, -torch.inf).softmax(-1) @ v)
        hidden = F.gelu(conv("mlp.c_fc", _layer_norm(state, f"{layer}ln_2", x)), approximate="tanh")
        x = x + conv("mlp.c_proj", hidden)
    return _project(state, "caption_encoder.projection", _layer_norm(state, f"{base}ln_f", x)[-1])
