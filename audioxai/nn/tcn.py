"""A temporal convolutional network: the light mask network of a separator."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["TCN"]


class TCN(nn.Module):
    """Residual blocks of dilated depthwise convolutions over (B, D, L), for any L.

    Block i looks 2 ** i frames to each side, and starts again at 1 with each repeat. Source: Luo & Mesgarani 2019
    (Conv-TasNet), section II-C.

    Args:
        channels: D.
        blocks: blocks of one repeat.
        repeats: of the blocks.
        hidden: channels inside a block; default 2 D.
        kernel: frames of a depthwise convolution, odd.
    """

    def __init__(
        self, channels: int, *, blocks: int = 6, repeats: int = 1, hidden: int | None = None, kernel: int = 3
    ) -> None:
        super().__init__()
        dilations = [2**i for _ in range(repeats) for i in range(blocks)]
        self.blocks = nn.Sequential(*(_Block(channels, hidden or 2 * channels, kernel, d) for d in dilations))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, channels: int, hidden: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.layers = nn.Sequential(
            nn.Conv1d(channels, hidden, 1),
            nn.PReLU(),
            nn.GroupNorm(1, hidden),
            nn.Conv1d(hidden, hidden, kernel, padding=padding, dilation=dilation, groups=hidden),
            nn.PReLU(),
            nn.GroupNorm(1, hidden),
            nn.Conv1d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)  # type: ignore[no-any-return]
