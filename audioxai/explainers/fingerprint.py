"""One short text for all that an explainer's results depend on, so that two of them are never mixed in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from audioxai.classifier import hash_weights

if TYPE_CHECKING:
    from audioxai.explainers.base import Explainer

__all__ = ["describe", "fingerprint_of"]

# Notes of past calls and fits, and what results do not depend on; the classifier and the space are told apart. Another
# max_batch moves results by rounding alone (audioxai.testing checks it): a run may go on with one that fits the memory.
_LEFT_OUT = ("classifier", "space", "max_batch", "progress", "history_", "intercepted_", "_gaps", "_schedule")


def fingerprint_of(explainer: Explainer) -> str:
    """SHA-256 over the classifier, the space, the options and what was learnt."""
    classifier, stft = explainer.classifier, getattr(explainer.space, "stft", None)
    facts = {
        "method": type(explainer).__qualname__,
        "classifier": classifier.fingerprint(),
        "labels": classifier.labels,
        "space": repr(explainer.space),
        "stft": None if stft is None else stft.to_dict(),
        "options": {name: describe(value) for name, value in vars(explainer).items() if name not in _LEFT_OUT},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def describe(value: Any) -> Any:
    """A value as JSON types that are the same in every process."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, nn.Module):
        digest = hashlib.sha256(repr(value).encode())
        hash_weights(digest, value)
        return digest.hexdigest()
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        return [str(plain.dtype), list(plain.shape), hashlib.sha256(plain.numpy().tobytes()).hexdigest()]
    if isinstance(value, Mapping):
        return {str(key): describe(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [describe(entry) for entry in value]
    named = value if hasattr(value, "__qualname__") else type(value)  # a function by its name, an object by its type
    facts = [f"{named.__module__}.{named.__qualname__}", describe(getattr(value, "name", None))]
    if (code := getattr(value, "__code__", None)) is not None:  # all lambdas of a place share one name
        constants = [item for item in code.co_consts if not hasattr(item, "co_code")]
        facts.append([code.co_code.hex(), list(code.co_names), describe(constants)])
    return facts
