"""Audio Spectrogram Transformers: Kaldi filter banks, a grid of overlapping patches, two tokens before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.adapters.tokens import TokenMaps, find_blocks, spread
from audioxai.errors import ConfigError, InputError
from audioxai.sound.kaldi import KaldiFbank

__all__ = ["AST", "ast"]

_CLASS_TOKENS = 2  # class and distillation


class AST(TokenMaps):
    """Bands (B, N, M) of a clip to logits; shorter clips are padded as the extractor pads them.

    Args:
        model: an ``ASTForAudioClassification``.
        padding: value of the padding: 0, less the mean, over the divisor.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module], padding: float) -> None:
        super().__init__(model, blocks)
        config: Any = model.config
        self.frames = int(config.max_length)
        self.padding = padding
        self.stride = int(config.time_stride)
        self.longest = 0.025 + (self.frames - 1) * 0.01  # clip in s, of frames of 25 ms every 10 ms
        self.rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1

    def inputs(self, features: Tensor) -> Tensor:
        """(B, N, M) to what the model eats, (B, frames, M).

        Raises:
            InputError: the clip is longer than the model's window, whose end the extractor would cut off in silence.
        """
        frames = features.shape[1]
        if frames > self.frames:
            raise InputError(
                f"the clip has {frames} frames, but the model looks at {self.frames} only; cut it into windows of at "
                f"most {self.frames} frames (10 ms each)"
            )
        return F.pad(features, (0, 0, 0, self.frames - frames), value=self.padding)

    def forward(self, features: Tensor) -> Tensor:
        steps = -(-features.shape[1] // self.stride)  # patches that begin within the clip
        return self.run(self.inputs(features), rows=self.rows, prefix=_CLASS_TOKENS, steps=steps)


def ast(model: Any, extractor: Any, blocks: Sequence[int] | None) -> tuple[AST, KaldiFbank]:
    """The network and its front end, with the settings of an ``ASTFeatureExtractor``.

    The last block's patches no longer reach the logits, which read the class tokens; so the one before is the deepest,
    and before the first one the embedded patches.

    Raises:
        ConfigError: the last block was asked for.
    """
    mean, std = (float(extractor.mean), 2 * float(extractor.std)) if extractor.do_normalize else (0.0, 1.0)
    frontend = KaldiFbank(
        int(extractor.sampling_rate), int(extractor.num_mel_bins), mean=mean, std=std, window_type="hanning"
    )
    found = find_blocks(model)
    numbers, last = spread(len(found), blocks, len(found) - 2), len(found) - 1
    if blocks is not None and last in numbers:
        raise ConfigError(
            f"blocks={list(blocks)!r}: the patches of the last block, {last}, do not reach the logits, which read the "
            f"class tokens; choose among those before it, or leave it out"
        )
    chosen = [found[number] for number in numbers] if last else [model.base_model.embeddings]
    return AST(model, chosen, -mean / std), frontend
