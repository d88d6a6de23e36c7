"""Post-hoc explanations of audio classifiers that people can hear.

explainer = LMAC(classifier).fit(loader)
mask, audio = explainer.explain(waveform, target)
"""

import importlib
from typing import TYPE_CHECKING, Any

from audioxai import _moved
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
from audioxai.explainers import (
    L2I,
    LIME,
    LMAC,
    LMACTD,
    LMACZS,
    AllOnes,
    DeepSHAP,
    EnergyMask,
    Explainer,
    GradCAM,
    GradCAMPlusPlus,
    GradientSHAP,
    GScoreCAM,
    GuidedBackprop,
    GuidedGradCAM,
    InputXGradient,
    IntegratedGradients,
    KernelSHAP,
    LearnedExplainer,
    Occlusion,
    RandomMask,
    Saliency,
    ScoreCAM,
    SmoothGrad,
)
from audioxai.explainers.explanation import Explanation, Scores
from audioxai.masking.spaces import MelSpace, STFTSpace, WaveformSpace
from audioxai.metrics import evaluate
from audioxai.pretrained import load_pretrained
from audioxai.sound.files import load, save
from audioxai.sound.frontends import LogMel, LogSTFT
from audioxai.sound.kaldi import KaldiFbank
from audioxai.version import __version__

if TYPE_CHECKING:
    from audioxai.adapters.callable import from_callable
    from audioxai.adapters.clap import from_clap
    from audioxai.adapters.huggingface import from_huggingface
    from audioxai.adapters.images import from_image_network
    from audioxai.adapters.msclap import from_msclap
    from audioxai.adapters.speechbrain import from_speechbrain
    from audioxai.adapters.torchaudio import from_torchaudio
    from audioxai.bulk.dataset import explain_dataset, read_dataset

#: Names that are imported on use, and the modules that hold them.
_ON_USE = {
    "explain_dataset": "audioxai.bulk.dataset",
    "from_callable": "audioxai.adapters.callable",
    "from_clap": "audioxai.adapters.clap",
    "from_huggingface": "audioxai.adapters.huggingface",
    "from_image_network": "audioxai.adapters.images",
    "from_msclap": "audioxai.adapters.msclap",
    "from_speechbrain": "audioxai.adapters.speechbrain",
    "from_torchaudio": "audioxai.adapters.torchaudio",
    "read_dataset": "audioxai.bulk.dataset",
}


_moved.install()


def __getattr__(name: str) -> Any:
    if name in _moved.MODULES:
        return importlib.import_module(f"audioxai.{name}")
    if name not in _ON_USE:
        raise AttributeError(f"module 'audioxai' has no attribute {name!r}")
    return getattr(importlib.import_module(_ON_USE[name]), name)


__all__ = [
    "AllOnes",
    "AudioClassifier",
    "AudioFileError",
    "AudioXAIError",
    "ClassifierError",
    "ConfigError",
    "DeepSHAP",
    "EnergyMask",
    "Explainer",
    "Explanation",
    "GScoreCAM",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientSHAP",
    "GuidedBackprop",
    "GuidedGradCAM",
    "InputError",
    "InputXGradient",
    "IntegratedGradients",
    "KaldiFbank",
    "KernelSHAP",
    "L2I",
    "LIME",
    "LMAC",
    "LMACTD",
    "LMACZS",
    "LearnedExplainer",
    "LogMel",
    "LogSTFT",
    "MelSpace",
    "MissingDependencyError",
    "NotFittedError",
    "Occlusion",
    "OutputError",
    "RandomMask",
    "STFTSpace",
    "Saliency",
    "ScoreCAM",
    "Scores",
    "SmoothGrad",
    "TargetError",
    "WaveformSpace",
    "ZeroShotClassifier",
    "__version__",
    "evaluate",
    "explain_dataset",
    "from_callable",
    "from_clap",
    "from_huggingface",
    "from_image_network",
    "from_msclap",
    "from_speechbrain",
    "from_torchaudio",
    "load",
    "load_pretrained",
    "read_dataset",
    "save",
]
