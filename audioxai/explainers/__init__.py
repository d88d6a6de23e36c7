"""Explainers: one interface over learned and training-free methods."""

from audioxai.explainers.base import Explainer
from audioxai.explainers.cam import GradCAM, GradCAMPlusPlus
from audioxai.explainers.controls import AllOnes, EnergyMask, RandomMask
from audioxai.explainers.deep_shap import DeepSHAP
from audioxai.explainers.gradient import InputXGradient, IntegratedGradients, Saliency, SmoothGrad
from audioxai.explainers.guided import GuidedBackprop, GuidedGradCAM
from audioxai.explainers.l2i import L2I
from audioxai.explainers.learned import LearnedExplainer
from audioxai.explainers.lmac import LMAC
from audioxai.explainers.lmac_td import LMACTD
from audioxai.explainers.lmac_zs import LMACZS
from audioxai.explainers.perturbation import LIME, Occlusion
from audioxai.explainers.score_cam import GScoreCAM, ScoreCAM
from audioxai.explainers.shapley import GradientSHAP, KernelSHAP

__all__ = [
    "L2I",
    "LIME",
    "LMAC",
    "LMACTD",
    "LMACZS",
    "AllOnes",
    "DeepSHAP",
    "EnergyMask",
    "Explainer",
    "GScoreCAM",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientSHAP",
    "GuidedBackprop",
    "GuidedGradCAM",
    "InputXGradient",
    "IntegratedGradients",
    "KernelSHAP",
    "LearnedExplainer",
    "Occlusion",
    "RandomMask",
    "Saliency",
    "ScoreCAM",
    "SmoothGrad",
]
