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
    LIME,
    LMAC,
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
from audioxai.explanation import Explanation, Scores
from audioxai.frontends import LogMel, LogSTFT
from audioxai.metrics import evaluate
from audioxai.pretrained import load_pretrained
from audioxai.spaces import MelSpace, STFTSpace, WaveformSpace
from audioxai.version import __version__

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
    "KernelSHAP",
    "LIME",
    "LMAC",
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
    "__version__",
    "evaluate",
    "load",
    "load_pretrained",
    "save",
]
