"""Post-hoc explanations of audio classifiers that people can hear.

explainer = LMAC(classifier).fit(loader)
mask, audio = explainer.explain(waveform, target)
"""

from audioxai.audio import load, save
from audioxai.classifier import AudioClassifier
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
    LMAC,
    AllOnes,
    EnergyMask,
    Explainer,
    GradCAM,
    InputXGradient,
    IntegratedGradients,
    LearnedExplainer,
    RandomMask,
    Saliency,
    SmoothGrad,
)
from audioxai.explanation import Explanation, Scores
from audioxai.frontends import LogMel, LogSTFT
from audioxai.metrics import evaluate
from audioxai.spaces import MelSpace, STFTSpace, WaveformSpace
from audioxai.version import __version__

__all__ = [
    "LMAC",
    "__version__",
    "AllOnes",
    "AudioClassifier",
    "AudioFileError",
    "AudioXAIError",
    "ClassifierError",
    "ConfigError",
    "EnergyMask",
    "Explainer",
    "Explanation",
    "GradCAM",
    "InputError",
    "InputXGradient",
    "IntegratedGradients",
    "LearnedExplainer",
    "LogMel",
    "LogSTFT",
    "MelSpace",
    "MissingDependencyError",
    "NotFittedError",
    "OutputError",
    "RandomMask",
    "STFTSpace",
    "Saliency",
    "Scores",
    "SmoothGrad",
    "TargetError",
    "WaveformSpace",
    "evaluate",
    "load",
    "save",
]
