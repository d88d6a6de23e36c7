# ruff: noqa: I001
"""Explainers: one interface over learned and training-free methods.

This is the list of them, in the order of help and tables: a new one is its file, a line here and its name in
``__all__``.
"""

from audioxai.explainers.base import Explainer
from audioxai.explainers.learned import LearnedExplainer
from audioxai.explainers.lmac import LMAC
from audioxai.explainers.lmac_td import LMACTD
from audioxai.explainers.lmac_zs import LMACZS
from audioxai.explainers.l2i import L2I
from audioxai.explainers.gradient import InputXGradient, IntegratedGradients, Saliency, SmoothGrad
from audioxai.explainers.cam import GradCAM, GradCAMPlusPlus
from audioxai.explainers.guided import GuidedBackprop, GuidedGradCAM
from audioxai.explainers.score_cam import GScoreCAM, ScoreCAM
from audioxai.explainers.perturbation import LIME, Occlusion
from audioxai.explainers.shapley import GradientSHAP, KernelSHAP
from audioxai.explainers.deep_shap import DeepSHAP
from audioxai.explainers.controls import AllOnes, EnergyMask, RandomMask

__all__ = [
    "Explainer", "LearnedExplainer",
    "LMAC", "LMACTD", "LMACZS", "L2I",
    "Saliency", "InputXGradient", "SmoothGrad", "IntegratedGradients",
    "GradCAM", "GradCAMPlusPlus", "GuidedBackprop", "GuidedGradCAM", "ScoreCAM", "GScoreCAM",
    "Occlusion", "LIME", "GradientSHAP", "KernelSHAP", "DeepSHAP",
    "AllOnes", "RandomMask", "EnergyMask",
]  # fmt: skip
