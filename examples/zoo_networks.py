"""Small networks of many kinds, quick to train, for examples/general_decoder.py: each turns features to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU, "leaky": nn.LeakyReLU}


class Normalised(nn.Module):
    """Features over the clip's own mean and deviation (``"clip"``), over each band's in the batch (``"band"``), or raw.

    (B, M, N) to (B, 1, M, N).
    """

    def __init__(self, how: str, bands: int) -> None:
        super().__init__()
        self.how = how
        self.band = nn.BatchNorm1d(bands) if how == "band" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "clip":
            x = x - x.mean((1, 2), keepdim=True)
            x = x / (x.square().mean((1, 2), keepdim=True).sqrt() + 1e-3)
        return self.band(x)[:, None]


class Pool(nn.Module):
    """(B, C, H, W) to logits (B, K): the mean of all places, mean and maximum over time, or attention over time."""

    def __init__(self, how: str, channels: int, classes: int) -> None:
        super().__init__()
        self.how = how
        self.head = nn.Linear(channels, classes)
        self.weight = nn.Linear(channels, classes) if how == "attention" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(2)
        if self.how == "attention":  # as PANNs' decision-level attention
            x = x.transpose(1, 2)
            return (self.weight(x).softmax(1) * self.head(x)).sum(1)
        if self.how == "meanmax":
            return self.head(x.mean(2) + x.amax(2))
        return self.head(x.amax(2) if self.how == "max" else x.mean(2))


def conv(inputs: int, width: int, act: str, stride: int = 1, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), ACTIVATIONS[act]())


class Residual(nn.Module):
    """Two convolutions around a shortcut, the first with a stride."""

    def __init__(self, inputs: int, width: int, act: str, stride: int) -> None:
        super().__init__()
        self.one, self.two = conv(inputs, width, act, stride), conv(width, width, act)
        self.short = nn.Conv2d(inputs, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.short(x) + self.two(self.one(x))


def block(kind: str, inputs: int, width: int, act: str, stride: int) -> nn.Module:
    """One level of a CNN."""
    if kind == "residual":
        return Residual(inputs, width, act, stride)
    if kind == "separable":
        return nn.Sequential(conv(inputs, inputs, act, stride, groups=inputs), conv(inputs, width, act, kernel=1))
    pools: dict[str, type[nn.Module]] = {"mean": nn.AvgPool2d, "max": nn.MaxPool2d}
    name = kind.split("-")[-1]
    if name in pools:
        layers = [conv(inputs, width, act)] + [conv(width, width, act)] * kind.startswith("double")
        return nn.Sequential(*layers, pools[name](stride, ceil_mode=True) if stride > 1 else nn.Identity())
    return conv(inputs, width, act, stride)


class CNN(nn.Module):
    """(B, M, N) features through levels of one kind: strided, ``"mean"``, ``"max"``, residual or separable.

    Args:
        classes: K.
        bands: M.
        kind: see :func:`block`.
        widths: channels of the levels.
        strides: of each.
        act: name of the activation.
        pool: see :class:`Pool`.
        norm: see :class:`Normalised`.
        recurrent: whether a GRU reads the last level.
    """

    def __init__(
        self, classes: int, bands: int, *, kind: str = "strided", widths: Sequence[int] = (16, 32, 64, 96),
        strides: Sequence[int] = (2, 2, 2, 2), act: str = "relu", pool: str = "meanmax", norm: str = "band",
        recurrent: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = Normalised(norm, bands)
        inputs = [1, *widths[:-1]]
        self.blocks = nn.Sequential(
            *(block(kind, *sizes[:2], act, sizes[2]) for sizes in zip(inputs, widths, strides, strict=True))
        )
        self.gru = nn.GRU(widths[-1], widths[-1] // 2, bidirectional=True, batch_first=True) if recurrent else None
        self.pool = Pool(pool, widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.norm(x))
        if self.gru is not None:
            x = self.gru(x.mean(2).transpose(1, 2))[0].transpose(1, 2)[:, :, None]
        return self.pool(x)


class Bands1D(nn.Module):
    """Convolutions over time alone, the bands as channels: maps without frequency."""

    def __init__(self, classes: int, bands: int, *, widths: Sequence[int] = (96, 96, 128), norm: str = "clip") -> None:
        super().__init__()
        self.norm = Normalised(norm, bands)
        sizes = zip([bands, *widths[:-1]], widths, strict=True)
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv1d(i, o, 5, 2, 2, bias=False), nn.BatchNorm1d(o), nn.ReLU()) for i, o in sizes)
        )
        self.pool = Pool("meanmax", widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.blocks(self.norm(x)[:, 0])[:, :, None])


class Attention(nn.Module):
    """A pre-norm transformer block on tokens (B, L, D)."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.mix(self.norms[0](x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


def positions(length: int, width: int, like: Tensor) -> Tensor:
    """Sinusoidal positions (L, D)."""
    place = torch.arange(length, device=like.device)[:, None] / 10000 ** (
        torch.arange(0, width, 2, device=like.device) / width
    )
    return torch.cat([place.sin(), place.cos()], 1)


class Patches(nn.Module):
    """A transformer over patches of a spectrogram, as AST; its blocks are read as maps of rows by steps."""

    def __init__(
        self, classes: int, bands: int, *, width: int = 64, depth: int = 2, patch: int = 16, stride: int = 10,
        norm: str = "clip",
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = Normalised(norm, bands)
        self.embed = nn.Conv2d(1, width, patch, stride)
        self.blocks = nn.ModuleList(Attention(width) for _ in range(depth))
        self.maps = nn.ModuleList(nn.Identity() for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        grid = self.embed(self.norm(x))
        rows, steps = grid.shape[2:]
        places = [positions(n, grid.shape[1] // 2, x) for n in (rows, steps)]
        where = torch.cat([places[0][:, None].expand(-1, steps, -1), places[1][None].expand(rows, -1, -1)], 2)
        tokens = grid.flatten(2).transpose(1, 2) + 0.3 * where.flatten(0, 1)
        for one, seen in zip(self.blocks, self.maps, strict=True):
            tokens = seen(one(tokens).transpose(1, 2).unflatten(2, (rows, steps))).flatten(2).transpose(1, 2)
        return self.head(tokens.mean(1))


class RawTokens(nn.Module):
    """A transformer over convolutions of the waveform, as wav2vec 2.0: tokens (B, L, D)."""

    def __init__(
        self, classes: int, *, widths: Sequence[int] = (32, 48, 64), strides: Sequence[int] = (16, 5, 4), depth: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, width, stride in zip([1, *widths[:-1]], widths, strides, strict=True):
            kernel = 2 * stride + 1 if layers else 4 * stride + 1
            layers += [nn.Conv1d(inputs, width, kernel, stride, kernel // 2), nn.GroupNorm(4, width), nn.GELU()]
        self.features = nn.Sequential(*layers)
        self.blocks = nn.ModuleList(Attention(widths[-1]) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], classes))

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.features(waveform[:, None]).transpose(1, 2)
        x = x + 0.3 * positions(x.shape[1], x.shape[2], x)
        for one in self.blocks:
            x = one(x)
        return self.head(x.mean(1))


class RawImage(nn.Module):
    """Learnt filters on the waveform whose outputs, pooled in time, are an image for a CNN; as EnvNet."""

    def __init__(self, classes: int, *, filters: int = 40, stride: int = 20, **cnn: object) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            nn.Conv1d(1, filters, 8 * stride + 1, stride, 4 * stride, bias=False), nn.BatchNorm1d(filters), nn.ReLU()
        )
        self.cnn = CNN(classes, filters, **cnn)  # type: ignore[arg-type]

    def forward(self, waveform: Tensor) -> Tensor:
        return self.cnn((F.avg_pool1d(self.filters(waveform[:, None]), 8) + 1e-4).log())
