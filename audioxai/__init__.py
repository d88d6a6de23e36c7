"""Post-hoc explanations of audio classifiers that people can hear.

explainer = LMAC(classifier).fit(loader)
mask, audio = explainer.explain(waveform, target)
"""

import importlib
from typing import TYPE_CHECKING, Any

from audioxai import _moved, adapters, bulk, explainers
from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import (
    AudioFileError,
    AudioXAIError,
    ClassifierError,
    ConfigError,
    InputError,
    MissingDependencyError,
    NotFittedError,
    OutputError,
    TargetError,
)
from audioxai.explainers import *  # noqa: F403
from audioxai.explainers.explanation import Explanation, Scores
from audioxai.masking.spaces import MelSpace, STFTSpace, WaveformSpace
from audioxai.metrics import evaluate
from audioxai.pretrained import load_pretrained
from audioxai.sound.files import load, save
from audioxai.sound.frontends import LogMel, LogSTFT
from audioxai.sound.kaldi import KaldiFbank
from audioxai.version import __version__

if TYPE_CHECKING:
    from audioxai.adapters import *  # noqa: F403
    from audioxai.bulk import *  # noqa: F403

__all__ = [
    "AudioClassifier",
    "AudioFileError",
    "AudioXAIError",
    "ClassifierError",
    "ConfigError",
    "Explanation",
    "InputError",
    "KaldiFbank",
    "LogMel",
    "LogSTFT",
    "MelSpace",
    "MissingDependencyError",
    "NotFittedError",
    "OutputError",
    "STFTSpace",
    "Scores",
    "TargetError",
    "WaveformSpace",
    "ZeroShotClassifier",
    "__version__",
    "evaluate",
    "load",
    "load_pretrained",
    "save",
]
__all__ += explainers.__all__
__all__ += adapters.__all__
__all__ += bulk.__all__

_moved.install()


def __getattr__(name: str) -> Any:
    """What is imported on use."""
    if name in _moved.MODULES:
        return importlib.import_module(f"audioxai.{name}")
    if name in adapters.ADAPTERS:
        return getattr(adapters, name)
    if name in bulk.__all__:
        return getattr(bulk, name)
    raise AttributeError(f"module 'audioxai' has no attribute {name!r}")
