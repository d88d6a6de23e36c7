"""Every registered explainer, with options that make it quick: what is registered is tested."""

from __future__ import annotations

import inspect
from typing import Any

import networks
import torch

import audioxai as ax
from audioxai.benchmark import methods
from audioxai.explainers.perturbation import Tiled
from audioxai.explainers.registry import EXPLAINERS as REGISTERED

_FEW = {"tiles": (2, 3), "progress": False}
QUICK: dict[str, dict[str, Any]] = {
    "LMAC": {"width": 8},
    "LMACTD": {"channels": 8},
    "LMACZS": {"width": 8},
    "L2I": {"components": 8, "width": 8},
    "SmoothGrad": {"n_samples": 3},
    "IntegratedGradients": {"n_steps": 5},
    "ScoreCAM": {"progress": False},
    "GScoreCAM": {"k": 5, "progress": False},
    "GradientSHAP": {"n_samples": 4},
    "KernelSHAP": {"n_samples": 20, **_FEW},
    "Occlusion": _FEW,
    "LIME": {"n_samples": 20, **_FEW},
}
EXPLAINERS = {kind.__name__: kind for kind in REGISTERED.values()}
LEARNED = {name for name, kind in EXPLAINERS.items() if issubclass(kind, ax.LearnedExplainer)}
GUIDED = {name for name, kind in EXPLAINERS.items() if "activations" in inspect.signature(kind).parameters}
CONTROLS = {REGISTERED[key].__name__ for key in methods.CONTROLS}
TILED = {name for name, kind in EXPLAINERS.items() if issubclass(kind, Tiled)}
NOT_ON_SAMPLES = {name for name, kind in EXPLAINERS.items() if "waveform" not in kind.spaces}
RANDOM = {"SmoothGrad", "GradientSHAP", "KernelSHAP", "LIME", "RandomMask"}


def make(name: str, classifier: ax.AudioClassifier, **options: Any) -> ax.Explainer:
    """An explainer of a classifier, not fitted; prompts are made of the classes for one that needs them."""
    if name == "LMACZS" and not isinstance(classifier, ax.ZeroShotClassifier):
        classifier = networks.zero_shot(classifier)
    return EXPLAINERS[name](classifier, **{**QUICK.get(name, {}), **options})


def fitted(name: str, classifier: ax.AudioClassifier, clips: torch.Tensor, **options: Any) -> ax.Explainer:
    """The same, ready to explain: a learned one after one epoch on the clips."""
    made = make(name, classifier, **options)
    return made.fit([clips], **({"epochs": 1, "progress": False} if name in LEARNED else {}))
