"""Networks that answer per frame, (B, N, K): event detectors and speech recognisers, as classifiers (B, K)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.errors import ClassifierError, ConfigError, InputError, nearest
from audioxai.support.identity import digest_of

__all__ = ["CTC", "Pool", "Pooled", "pool_frames", "pool_repr"]

#: How frames become one answer: the largest or the mean logit over time, or any function (B, N, K) -> (B, K).
Pool: TypeAlias = Literal["max", "mean"] | Callable[[Tensor], Tensor]


def pool_frames(frames: Tensor, pool: Pool = "max") -> Tensor:
    """Logits per frame (B, N, K) to logits per clip (B, K).

    ``"max"`` asks whether a class occurs anywhere, ``"mean"`` whether it lasts. A function may look at some frames
    only: ``lambda frames: frames[:, 100:150].mean(1)``.

    Raises:
        ConfigError: an unknown way.
        ClassifierError: the frames are not (B, N, K), or the function does not give (B, K).
    """
    if not callable(pool) and pool not in ("max", "mean"):
        raise ConfigError(f"pool={pool!r} is not known; choose 'max', 'mean' or a function (B, N, K) -> (B, K)")
    if frames.ndim != 3:
        raise ClassifierError(f"logits per frame have the shape (B, N, K); got {tuple(frames.shape)}")
    pooled = pool(frames) if callable(pool) else frames.amax(1) if pool == "max" else frames.mean(1)
    if not isinstance(pooled, Tensor) or pooled.ndim != 2 or len(pooled) != len(frames):
        got = tuple(pooled.shape) if isinstance(pooled, Tensor) else type(pooled).__name__
        raise ClassifierError(f"pool must give (B, K) from (B, N, K) = {tuple(frames.shape)}; got {got}")
    return pooled


def pool_repr(pool: Pool) -> str:
    """A way of pooling in a few words that tell it apart; a function by its digest."""
    return f"pool={digest_of(pool)[:16] if callable(pool) else pool!r}"


class Pooled(nn.Module):
    """A network with logits per frame as one with logits per clip.

    Args:
        network: features to (B, N, K), as a tensor, first of a tuple, or ``.logits``.
        pool: see :func:`pool_frames`.
    """

    def __init__(self, network: nn.Module, pool: Pool = "max") -> None:
        super().__init__()
        self.network = network
        self.pool = pool

    def extra_repr(self) -> str:  # part of a classifier's fingerprint
        return pool_repr(self.pool)

    def forward(self, features: Tensor) -> Tensor:
        return self.from_frames(_frames(self.network(features)))

    def from_frames(self, frames: Tensor) -> Tensor:
        """(B, N, K) to (B, K)."""
        return pool_frames(frames, self.pool)


class CTC(nn.Module):
    """A speech recogniser as a classifier of whole transcripts. Source: Graves et al. 2006, eq. 3 and 8.

    The logit of a transcript is the logarithm of its probability, summed over all its alignments. One more class stands
    for anything else, so that the softmax of the logits is those probabilities.

    Args:
        network: features to (B, N, V), unnormalised or logarithmic, as for :class:`Pooled`.
        transcripts: what may have been said, distinct; each a text, or a list of tokens.
        tokens: the V tokens. A space is looked up as ``"|"`` where there is no ``" "``.
        blank: number of the blank token.

    Raises:
        ConfigError: no transcripts, repeated ones, or one with an unknown token.
    """

    coded: Tensor

    def __init__(
        self, network: nn.Module, transcripts: Sequence[str | Sequence[str]], tokens: Sequence[str], *, blank: int = 0
    ) -> None:
        super().__init__()
        self.network = network
        self.tokens = tuple(tokens)
        self.blank = blank
        codes = [self._encode(text) for text in transcripts]
        if not codes or len(set(map(tuple, codes))) != len(codes):
            raise ConfigError(f"transcripts={list(transcripts)!r} must be one or more, all different")
        self.lengths = tuple(len(code) for code in codes)
        self.needed = tuple(len(code) + sum(a == b for a, b in pairwise(code)) for code in codes)
        padded = [code + [0] * (max(self.lengths) - len(code)) for code in codes]
        self.register_buffer("coded", torch.tensor(padded))  # part of the fingerprint
        self.labels = (*(t if isinstance(t, str) else "".join(t) for t in transcripts), "(anything else)")

    def forward(self, features: Tensor) -> Tensor:
        """Features to logits (B, R + 1) of R transcripts and anything else."""
        return self.from_frames(_frames(self.network(features)))

    def from_frames(self, frames: Tensor) -> Tensor:
        """(B, N, V) to (B, R + 1).

        Raises:
            InputError: the clip has fewer frames than a transcript needs.
        """
        logs = frames.float().log_softmax(-1).transpose(0, 1)
        count, size = logs.shape[:2]
        for label, needed in zip(self.labels, self.needed, strict=False):
            if count < needed:
                raise InputError(
                    f"the clip gives {count} frames, but the transcript {label!r} needs {needed}; pad the clip"
                )
        heard = torch.full((size,), count)
        found = []
        for code, length in zip(self.coded, self.lengths, strict=True):
            codes, lengths = code[:length].expand(size, -1), torch.full((size,), length)
            found.append(-F.ctc_loss(logs, codes, heard, lengths, blank=self.blank, reduction="none"))
        scores = torch.stack(found, 1)
        rest = torch.log1p(-scores.exp().sum(1, keepdim=True).clamp(max=1 - 1e-6))
        return torch.cat([scores, rest], 1)

    def transcribe(self, features: Tensor) -> list[str]:
        """What the network heard: the best token of each frame, repetitions and blanks left out."""
        with torch.no_grad():
            best = _frames(self.network(features)).argmax(-1)
        texts = []
        for path in best:
            kept = [int(k) for k in torch.unique_consecutive(path) if int(k) != self.blank]
            text = "".join(self.tokens[k] for k in kept)
            texts.append(text if " " in self.tokens else text.replace("|", " ").strip())
        return texts

    def _encode(self, text: str | Sequence[str]) -> list[int]:
        if isinstance(text, str) and " " not in self.tokens:
            text = text.replace(" ", "|")
        if not text:
            raise ConfigError("an empty transcript has nothing to explain; give at least one token")
        for token in text:
            if token not in self.tokens:
                raise ConfigError(f"token {token!r} of {text!r} is not known; nearest: {nearest(token, self.tokens)}")
        return [self.tokens.index(token) for token in text]


def _frames(output: object) -> Tensor:
    output = getattr(output, "logits", output)
    output = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(output, Tensor) or output.ndim != 3:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ClassifierError(f"a network with answers per frame must return (B, N, K); got {got}")
    return output
