"""Audio classifiers of Hugging Face's transformers: differentiable from the waveform on, nothing set by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from audioxai.adapters.ast import ast
from audioxai.adapters.check import check_equal, check_wrapped
from audioxai.adapters.raw import raw
from audioxai.adapters.transformers import extract, load_from_hub
from audioxai.adapters.whisper import whisper
from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.sequences import Pool, pool_frames
from audioxai.errors import ClassifierError, ConfigError

__all__ = ["FAMILIES", "from_huggingface"]

_RAW = (
    "wav2vec2", "wav2vec2-conformer", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio", "sew", "sew-d",
)  # fmt: skip
#: ``config.model_type`` of what can be wrapped.
FAMILIES = ("audio-spectrogram-transformer", "whisper", *_RAW)


def from_huggingface(
    model: nn.Module | str | os.PathLike[str],
    feature_extractor: Any = None,
    *,
    labels: Sequence[str] | None = None,
    multilabel: bool | None = None,
    blocks: Sequence[int] | None = None,
    pool: Pool = "max",
    revision: str | None = None,
    tolerance: float = 1e-3,
) -> AudioClassifier:
    """Wrap an audio classifier of transformers; rate, labels and front end are read from its configuration.

    Args:
        model: of one of the :data:`FAMILIES`, ``...ForSequenceClassification``, ``...ForAudioClassification`` or
            ``...ForAudioFrameClassification``; its name on the hub or folder, loaded with the extractor saved there; or
            an audio-classification pipeline.
        feature_extractor: the extractor or processor; default the one saved beside the model.
        labels: K names; default ``config.id2label``.
        multilabel: probabilities are sigmoids; default by ``config.problem_type``, where a regression counts too.
        blocks: transformer blocks that feed CAMs and decoders; default at most four, evenly spread.
        pool: how answers per frame become one, see :func:`audioxai.classifiers.sequences.pool_frames`.
        revision: of the model on the hub.
        tolerance: largest difference, as a share, from the model's own answer to a probe clip.

    Returns:
        The classifier; ``.network.model`` is the model itself, unchanged.

    Raises:
        MissingDependencyError: transformers is needed to load a name, and absent or broken.
        ClassifierError: the model is no audio classifier that can be wrapped, or the wrapped one answers otherwise.
        ConfigError: no extractor is known.
    """
    inner = getattr(model, "model", None)  # of a pipeline
    if not isinstance(model, nn.Module) and isinstance(inner, nn.Module):
        feature_extractor = feature_extractor or getattr(model, "feature_extractor", None)
        model = inner
    if not isinstance(model, nn.Module | str | os.PathLike):
        raise ConfigError(f"from_huggingface takes a model, its name or its folder; got {type(model).__name__}")
    source: Any = model if isinstance(model, nn.Module) else _load_model(os.fspath(model), revision)
    config: Any = getattr(source, "config", None)
    family = getattr(config, "model_type", None)
    if family not in FAMILIES:
        raise ClassifierError(
            f"{type(source).__name__} (model_type={family!r}) is no audio classifier that can be wrapped; known are "
            f"{', '.join(FAMILIES)}. Wrap others with AudioClassifier(network, frontend=...)"
        )
    extractor = getattr(feature_extractor, "feature_extractor", feature_extractor)  # of a processor
    if extractor is None:
        if not getattr(source, "name_or_path", ""):
            raise ConfigError(f"{type(source).__name__} was not loaded from anywhere; pass feature_extractor=...")
        extractor = load_from_hub("AutoFeatureExtractor", source.name_or_path, revision)
    network: Any
    frontend: nn.Module | None
    try:
        if family in _RAW:
            network, frontend = raw(source, extractor, blocks, pool)
        else:
            build = whisper if family == "whisper" else ast
            network, frontend = build(source, extractor, blocks)
    except AttributeError as error:
        raise ConfigError(f"{type(extractor).__name__} is no extractor for a {family} model: {error}") from error
    if labels is None and getattr(config, "id2label", None):
        labels = [str(config.id2label[k]) for k in sorted(config.id2label)]
    if multilabel is None:
        multilabel = config.problem_type in ("multi_label_classification", "regression")
    classifier = AudioClassifier(
        network,
        sample_rate=int(extractor.sampling_rate),
        frontend=frontend,
        labels=labels,
        layers=network.layers,
        multilabel=multilabel,
    )

    def own(clip: Tensor) -> Tensor:
        """The extractor's and the model's own way."""
        features = extract(extractor, clip)
        check_equal("features", network.inputs(classifier.features(clip)), features, tolerance)
        logits: Tensor = source(features.to(next(source.parameters()))).logits
        return pool_frames(logits, pool) if logits.ndim == 3 else logits

    return check_wrapped(classifier, own, tolerance=tolerance, seconds=min(1.0, getattr(network, "longest", 1.0)))


def _load_model(name: str, revision: str | None) -> Any:
    made_as = str(getattr(load_from_hub("AutoConfig", name, revision), "architectures", None))
    frame = "Frame" if "ForAudioFrameClassification" in made_as else ""
    return load_from_hub(f"AutoModelForAudio{frame}Classification", name, revision)
