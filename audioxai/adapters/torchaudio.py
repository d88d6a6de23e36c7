"""torchaudio's pipelines with a head: Wav2Vec2, HuBERT and WavLM that were fine-tuned for speech recognition (CTC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from audioxai.adapters.check import check_wrapped
from audioxai.adapters.raw import Standardise
from audioxai.adapters.tokens import TokenMaps, blocks_of
from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.sequences import CTC, Pool, Pooled
from audioxai.errors import ClassifierError, ConfigError

__all__ = ["from_torchaudio"]

_EPS = 1e-5  # of torch's layer_norm, with which the pipelines normalise a waveform


class _Emissions(TokenMaps):
    """Waveforms (B, T) to log-probabilities of the tokens per frame, (B, N, V)."""

    def forward(self, features: Tensor) -> Tensor:
        return self.run(features).log_softmax(-1)


def from_torchaudio(
    bundle: Any,
    transcripts: Sequence[str | Sequence[str]] | None = None,
    *,
    model: nn.Module | None = None,
    pool: Pool = "max",
    blocks: Sequence[int] | None = None,
    seconds: float = 1.0,
    tolerance: float = 1e-3,
) -> AudioClassifier:
    """Wrap a pipeline such as ``torchaudio.pipelines.WAV2VEC2_ASR_BASE_960H``.

    A bundle's own model normalises a batch as a whole; here each clip is normalised on its own, as for a single clip.

    Args:
        bundle: with ``sample_rate``, ``get_model()`` and ``get_labels()``.
        transcripts: what may have been said: the classes are these and anything else, see
            :class:`audioxai.classifiers.sequences.CTC`. Default: the classes are the tokens, pooled over time.
        model: what ``bundle.get_model()`` gave, if it is at hand already.
        pool: see :func:`audioxai.classifiers.sequences.pool_frames`; without transcripts only.
        blocks: transformer blocks that feed CAMs and decoders; default at most four, evenly spread.
        seconds: length of the probe clip.
        tolerance: see :func:`audioxai.adapters.check.check_equal`.

    Raises:
        ConfigError: not a bundle; or a transcript holds an unknown token.
        ClassifierError: it has no head, or the wrapped model answers a probe clip otherwise than its own.
    """
    if not hasattr(bundle, "get_model") or not hasattr(bundle, "sample_rate"):
        raise ConfigError(f"from_torchaudio takes a bundle of torchaudio.pipelines; got {type(bundle).__name__}")
    if not hasattr(bundle, "get_labels"):
        raise ClassifierError(
            "this bundle has no head, only features; take one that was fine-tuned for recognition, such as "
            "torchaudio.pipelines.WAV2VEC2_ASR_BASE_960H"
        )
    whole: Any = bundle.get_model() if model is None else model
    normalised = bool(getattr(whole, "normalize_waveform", False))
    inner: nn.Module = whole.model if hasattr(whole, "normalize_waveform") else whole
    emissions = _Emissions(inner, blocks_of(inner, blocks))
    tokens = tuple(bundle.get_labels())
    width = getattr(getattr(inner, "aux", None), "out_features", len(tokens))
    tokens = tokens[:width]  # without the star of a forced aligner, which stands for no sound
    network = Pooled(emissions, pool) if transcripts is None else CTC(emissions, transcripts, tokens)
    rate = int(bundle.sample_rate)
    classifier = AudioClassifier(
        network,
        sample_rate=rate,
        frontend=Standardise(rate, _EPS) if normalised else None,
        labels=tokens if isinstance(network, Pooled) else network.labels,
        layers={f"network.{name}": function for name, function in emissions.layers.items()},
    )

    def own(clip: Tensor) -> Tensor:
        frames: Tensor = whole(clip)[0][..., :width].log_softmax(-1)
        return network.from_frames(frames)

    return check_wrapped(classifier, own, tolerance=tolerance, seconds=seconds)
