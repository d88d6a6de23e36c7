"""SpeechBrain's classifiers: features, normalisation, embedding model and classifier, each a module of ``.mods``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audioxai.adapters.check import check_wrapped
from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ConfigError

__all__ = ["from_speechbrain"]


class _Features(nn.Module):
    """Front end (B, T) to features (B, N, M)."""

    def __init__(self, compute_features: nn.Module, mean_var_norm: nn.Module | None) -> None:
        super().__init__()
        self.compute_features = compute_features
        self.mean_var_norm = mean_var_norm

    def forward(self, waveform: Tensor) -> Tensor:
        features: Tensor = self.compute_features(waveform)
        return features if self.mean_var_norm is None else self.mean_var_norm(features, _whole(features))


class _Classifier(nn.Module):
    """Features (B, N, M) to log-probabilities, or whatever the classifier gives, (B, K).

    SpeechBrain's statistics pooling adds noise of about 1e-5; here it is drawn with the same seed at each call.
    """

    def __init__(self, embedding_model: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.embedding_model = embedding_model
        self.classifier = classifier
        places = [p.kind for p in inspect.signature(embedding_model.forward).parameters.values()]
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._takes_lengths = (
            sum(kind in positional for kind in places) > 1 or inspect.Parameter.VAR_POSITIONAL in places
        )

    def forward(self, features: Tensor) -> Tensor:
        lengths = (_whole(features),) if self._takes_lengths else ()
        with torch.random.fork_rng(devices=[features.device] if features.device.type == "cuda" else []):
            torch.manual_seed(0)
            embeddings = self.embedding_model(features, *lengths)
        embeddings = embeddings[0] if isinstance(embeddings, tuple) else embeddings
        scores: Tensor = self.classifier(embeddings)
        return scores.squeeze(1) if scores.ndim == 3 else scores


def _whole(features: Tensor) -> Tensor:
    """SpeechBrain's relative lengths (B,): no clip is padded."""
    return torch.ones(len(features), device=features.device)


def from_speechbrain(
    model: Any,
    *,
    sample_rate: int | None = None,
    labels: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    multilabel: bool = False,
    seconds: float = 1.0,
    tolerance: float = 1e-3,
) -> AudioClassifier:
    """Wrap an ``EncoderClassifier``, or an embedding model and the classifier on top of it.

    Args:
        model: with ``.mods`` (and ``.hparams``); or a mapping with modules ``compute_features``, ``embedding_model``,
            ``classifier`` and, if there is one, ``mean_var_norm``.
        sample_rate: in Hz; default ``model.hparams.sample_rate``.
        labels: K names; default those of ``model.hparams.label_encoder``.
        layers: see :class:`AudioClassifier`, as ``embedding_model. ...``. Default of an ECAPA-TDNN: its blocks and what
            they are joined to, since the deepest map, weights of the pooling, says nothing of the score by itself.
        multilabel: probabilities are sigmoids of the classifier's output.
        seconds: length of the probe clip.
        tolerance: see :func:`audioxai.adapters.check.check_equal`.

    Raises:
        ConfigError: a module or the rate is missing.
        ClassifierError: the wrapped model answers a probe clip otherwise than ``model.classify_batch``.
    """
    mods = getattr(model, "mods", model)
    parts = {name: _part(mods, name) for name in ("compute_features", "mean_var_norm", "embedding_model", "classifier")}
    missing = [name for name, part in parts.items() if not isinstance(part, nn.Module) and name != "mean_var_norm"]
    if missing:
        raise ConfigError(
            f"{type(model).__name__} has no module {', '.join(missing)}; pass an EncoderClassifier or a dict of modules"
        )
    hparams = getattr(model, "hparams", None)
    rate = sample_rate or getattr(hparams, "sample_rate", None)
    if rate is None:
        raise ConfigError(f"{type(model).__name__} does not tell its sample rate; pass sample_rate=")
    names = getattr(getattr(hparams, "label_encoder", None), "ind2lab", None)
    if labels is None and names:
        labels = [str(names[k]) for k in sorted(names)]
    classifier = AudioClassifier(
        _Classifier(parts["embedding_model"], parts["classifier"]),
        sample_rate=int(rate),
        frontend=_Features(parts["compute_features"], parts["mean_var_norm"]),
        labels=labels,
        layers=_ecapa_layers(parts["embedding_model"]) if layers is None else layers,
        multilabel=multilabel,
    )
    own = (lambda clip: model.classify_batch(clip)[0]) if hasattr(model, "classify_batch") else None
    return check_wrapped(classifier, own, tolerance=tolerance, seconds=seconds)


def _ecapa_layers(model: nn.Module) -> list[str] | None:
    names = dict(model.named_children())
    if not {"blocks", "mfa", "asp"} <= set(names):
        return None
    count = len(list(names["blocks"].children()))
    return [f"embedding_model.blocks.{number}" for number in range(max(0, count - 3), count)] + ["embedding_model.mfa"]


def _part(mods: Any, name: str) -> Any:
    return mods.get(name) if isinstance(mods, Mapping) else getattr(mods, name, None)
