"""One short text for all that an explainer's results depend on, so that two of them are never mixed in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import ClassifierError
from audioxai.support.identity import digest_of

if TYPE_CHECKING:
    from audioxai.explainers.base import Explainer

__all__ = ["fingerprint_of", "identity_of"]

# Notes of past calls and fits, and what results do not depend on; the classifier and the space are told apart. Another
# max_batch moves results by rounding alone (audioxai.testing checks it): a run may go on with one that fits the memory.
_LEFT_OUT = ("classifier", "space", "max_batch", "progress", "history_", "intercepted_", "_gaps", "_schedule")


def fingerprint_of(explainer: Explainer) -> str:
    """SHA-256 over the classifier, the space, the options and what was learnt."""
    stft = getattr(explainer.space, "stft", None)
    facts = {
        "method": type(explainer).__qualname__,
        "classifier": identity_of(explainer.classifier),
        "space": repr(explainer.space),
        "stft": None if stft is None else stft.to_dict(),
        "options": {name: value for name, value in vars(explainer).items() if name not in _LEFT_OUT},
    }
    return digest_of(facts)


def identity_of(classifier: AudioClassifier) -> dict[str, Any]:
    """What decides a network's explanations, as JSON types: weights, front end, labels, layers and prompts."""
    try:
        layers = list(classifier.layers)
    except ClassifierError:  # a network without maps has no CAMs, but other explanations
        layers = []
    labels = list(classifier.labels or ())
    found: dict[str, Any] = {"fingerprint": classifier.fingerprint(), "labels": labels, "layers": layers}
    if isinstance(classifier, ZeroShotClassifier):
        found["prompts"] = [list(several) for several in classifier.prompts.values()]
        found["templates"] = list(classifier.templates)
    return found
