"""A compact CLAP: two towers of about 0.3 M parameters each that map sounds and sentences into one space."""

from __future__ import annotations

import math
import re
import warnings
import zlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from audioxai.errors import ConfigError
from audioxai.nn.classifiers import CompactCNN

__all__ = ["CompactCLAP", "NgramEncoder"]

_WORD = re.compile(r"[^\W_]+")


class CompactCLAP(nn.Module):
    """Audio tower :class:`CompactCNN` on log-mels (B, N, M), text tower :class:`NgramEncoder`, and the temperature.

    Args:
        dim: size D of the common space.
        n_mels: mel bands M.
        widths: channels of the audio tower.
        buckets: of the text tower.
        width: of the text tower.
    """

    def __init__(
        self,
        dim: int = 128,
        n_mels: int = 80,
        widths: Sequence[int] = (24, 48, 96, 128, 128),
        buckets: int = 4096,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.sizes = {"dim": dim, "n_mels": n_mels, "widths": list(widths), "buckets": buckets, "width": width}
        self.audio = CompactCNN(dim, n_mels, widths)
        self.text = NgramEncoder(dim, buckets, width)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def temperature(self) -> float:
        """Factor of the cosines."""
        return float(self.log_temperature.detach().exp())


class NgramEncoder(nn.Module):
    """Sentences to embeddings (K, D), from the words and the character n-grams inside them.

    A word is the mean of the vectors of itself and of its n-grams, each found by a hash, so that every text has an
    embedding and an unseen form of a word ("barked") lies near the seen ones. A sentence is a mean of its words by
    weights that are learnt from the words; order plays no part. Source: Bojanowski et al. 2017, section 3.2.

    Args:
        dim: size D of an embedding.
        buckets: vectors that words and n-grams share.
        width: size of a vector.
        grams: lengths of the n-grams, in characters; a word is marked by ``<`` and ``>``.
        longest: words that are read of a sentence.
    """

    def __init__(
        self,
        dim: int = 128,
        buckets: int = 4096,
        width: int = 64,
        *,
        grams: tuple[int, ...] = (3, 4, 5),
        longest: int = 64,
    ) -> None:
        super().__init__()
        self.buckets, self.grams, self.longest = buckets, grams, longest
        self.table = nn.EmbeddingBag(buckets, width, mode="mean")
        self.weigh = nn.Linear(width, 1)
        layers = nn.Linear(width, 2 * width), nn.Linear(2 * width, dim)
        for layer in layers:
            nn.init.zeros_(layer.bias)  # else all texts start in one direction
        self.head = nn.Sequential(layers[0], nn.GELU(), layers[1])

    def forward(self, texts: Sequence[str]) -> Tensor:
        """K strings to (K, D).

        Raises:
            ConfigError: a text without a letter or digit.
        """
        words = [self._words(text) for text in texts]
        pieces = [_pieces(word, self.buckets, self.grams) for several in words for word in several]
        device = self.table.weight.device
        offsets = torch.tensor([0, *(len(p) for p in pieces[:-1])]).cumsum(0).to(device)
        vectors = self.table(torch.tensor([i for p in pieces for i in p], device=device), offsets)
        text_of = torch.arange(len(words)).repeat_interleave(torch.tensor([len(w) for w in words])).to(device)
        weight = self.weigh(vectors).clamp(-10, 10).exp()
        total = weight.new_zeros(len(words), 1).index_add(0, text_of, weight)
        summed = vectors.new_zeros(len(words), vectors.shape[1]).index_add(0, text_of, weight * vectors)
        return torch.as_tensor(self.head(summed / total))

    def _words(self, text: str) -> list[str]:
        words = _WORD.findall(text.casefold())
        if not words:
            raise ConfigError(f"the prompt {text!r} has no letter or digit; describe a sound in words")
        if len(words) > self.longest:
            warnings.warn(
                f"the prompt {text[:40]!r}... has {len(words)} words; the first {self.longest} are read", stacklevel=3
            )
        return words[: self.longest]


@lru_cache(maxsize=20_000)
def _pieces(word: str, buckets: int, grams: tuple[int, ...]) -> tuple[int, ...]:
    """Buckets of the word and of its n-grams; the hash is the same on every machine."""
    marked = f"<{word}>"
    pieces = {marked} | {marked[i : i + n] for n in grams for i in range(len(marked) - n + 1)}
    return tuple(sorted(zlib.crc32(piece.encode()) % buckets for piece in pieces))
