"""Explainers: one interface over learned and training-free methods."""

from audioxai.explainers.base import Explainer
from audioxai.explainers.cam import GradCAM
from audioxai.explainers.controls import AllOnes, EnergyMask, RandomMask
from audioxai.explainers.gradient import InputXGradient, IntegratedGradients, Saliency, SmoothGrad
from audioxai.explainers.learned import LearnedExplainer
from audioxai.explainers.lmac import LMAC

__all__ = [
    "LMAC",
    "AllOnes",
    "EnergyMask",
    "Explainer",
    "GradCAM",
    "InputXGradient",
    "IntegratedGradients",
    "LearnedExplainer",
    "RandomMask",
    "Saliency",
    "SmoothGrad",
]
