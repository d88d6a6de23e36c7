"""Reference classifiers: CNN14, a compact CNN for laptops, and a small CNN on raw waveforms.

Every activation is a module, so that guided methods see it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["CNN14", "CompactCNN", "WaveformCNN"]


class ConvBlock(nn.Sequential):
    """[conv 3x3, batch norm, ReLU] ``depth`` times, then average pooling by ``pool``."""

    def __init__(self, channels_in: int, channels: int, pool: int, depth: int = 2) -> None:
        layers: list[nn.Module] = []
        for i in range(depth):
            conv = nn.Conv2d(channels if i else channels_in, channels, 3, padding=1, bias=False)
            nn.init.xavier_uniform_(conv.weight)
            layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
        if pool > 1:
            layers.append(nn.AvgPool2d(pool, ceil_mode=True) if depth == 1 else nn.AvgPool2d(pool))
        super().__init__(*layers)


class _LogMelCNN(nn.Module):
    """Batch norm over the mel bands, convolution blocks, mean over frequency, mean + max over time, linear."""

    def __init__(self, n_classes: int, n_mels: int, widths: Sequence[int], pools: Sequence[int], depth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_mels)
        inputs = [1, *widths[:-1]]
        self.blocks = nn.ModuleList(ConvBlock(i, o, p, depth) for i, o, p in zip(inputs, widths, pools, strict=True))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(widths[-1], n_classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, log_mel: Tensor) -> Tensor:
        """(B, N, M) log-mels to (B, K) logits."""
        x = self.norm(log_mel.transpose(1, 2)).transpose(1, 2)[:, None]
        for block in self.blocks:
            x = self.dropout(block(x))
        x = x.mean(3)
        return torch.as_tensor(self.head(x.amax(2) + x.mean(2)))


class CNN14(_LogMelCNN):
    """The PANNs trunk as the L-MAC recipe uses it: six blocks, 2048-d embedding, one linear layer.

    75.5 M parameters. Input (B, N, M) log-mels, N at least 32 frames. Source: Kong et al. 2020; L-MAC recipe.

    Args:
        n_classes: classes K.
        n_mels: mel bands M.
        width: channels of the first block; the others double up to 32 times it.
    """

    def __init__(self, n_classes: int, n_mels: int = 80, width: int = 64) -> None:
        super().__init__(n_classes, n_mels, [width * 2**i for i in range(6)], [2, 2, 2, 2, 2, 1], depth=2)


class CompactCNN(_LogMelCNN):
    """A strided stem and four single-convolution blocks, about 0.3 M parameters, for laptops.

    Input (B, N, M) log-mels of any length.

    Args:
        n_classes: classes K.
        n_mels: mel bands M.
        widths: channels of the stem and the blocks.
    """

    def __init__(self, n_classes: int, n_mels: int = 80, widths: Sequence[int] = (24, 48, 96, 128, 128)) -> None:
        super().__init__(n_classes, n_mels, widths, [2] * (len(widths) - 1) + [1], depth=1)
        # Half the resolution before the widest maps are computed: twice as fast as pooling after them.
        stem = nn.Conv2d(1, widths[0], 5, stride=2, padding=2, bias=False)
        nn.init.xavier_uniform_(stem.weight)
        self.blocks[0] = nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.to(memory_format=torch.channels_last)


class WaveformCNN(nn.Module):
    """A small CNN on raw waveforms: strided 1-D convolutions, mean + max over time, linear. About 0.2 M parameters.

    Args:
        n_classes: classes K.
        widths: channels of the layers.
        strides: their strides; kernels are twice as long, at least 3, plus 64 samples in the first layer.
    """

    def __init__(
        self, n_classes: int, widths: Sequence[int] = (32, 64, 96, 128), strides: Sequence[int] = (16, 4, 4, 4)
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (inputs, width, stride) in enumerate(zip([1, *widths[:-1]], widths, strides, strict=True)):
            kernel = max(3, 2 * stride + 1) + (64 if i == 0 else 0)
            conv = nn.Conv1d(inputs, width, kernel, stride, padding=kernel // 2, bias=False)
            layers.append(nn.Sequential(conv, nn.BatchNorm1d(width), nn.ReLU()))
        self.blocks = nn.ModuleList(layers)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(widths[-1], n_classes)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) waveforms to (B, K) logits."""
        x = waveform[:, None]
        for block in self.blocks:
            x = block(x)
        x = self.dropout(x.amax(2) + x.mean(2))
        return torch.as_tensor(self.head(x))
