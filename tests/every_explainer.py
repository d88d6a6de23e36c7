"""Every public explainer, with options that make it quick."""

from __future__ import annotations

import networks

import audioxai as ax

TILED = {"tiles": (2, 3), "progress": False}
EXPLAINERS = {
    "L-MAC": lambda c, **o: ax.LMAC(c, width=8, **o),
    "L-MAC (general)": ax.LMAC,
    "L2I": lambda c, **o: ax.L2I(c, components=8, width=8, **o),
    "LMACTD": lambda c, **o: ax.LMACTD(c, channels=8, **o),
    "LMACZS": lambda c, **o: ax.LMACZS(
        c if isinstance(c, ax.ZeroShotClassifier) else networks.zero_shot(c), width=8, **o
    ),
    "Saliency": ax.Saliency,
    "InputXGradient": ax.InputXGradient,
    "SmoothGrad": lambda c, **o: ax.SmoothGrad(c, n_samples=3, **o),
    "IntegratedGradients": lambda c, **o: ax.IntegratedGradients(c, n_steps=5, **o),
    "GuidedBackprop": ax.GuidedBackprop,
    "GradCAM": ax.GradCAM,
    "GradCAMPlusPlus": ax.GradCAMPlusPlus,
    "GuidedGradCAM": ax.GuidedGradCAM,
    "ScoreCAM": lambda c, **o: ax.ScoreCAM(c, progress=False, **o),
    "GScoreCAM": lambda c, **o: ax.GScoreCAM(c, k=5, progress=False, **o),
    "GradientSHAP": lambda c, **o: ax.GradientSHAP(c, n_samples=4, **o),
    "DeepSHAP": ax.DeepSHAP,
    "KernelSHAP": lambda c, **o: ax.KernelSHAP(c, n_samples=20, **TILED, **o),
    "Occlusion": lambda c, **o: ax.Occlusion(c, **TILED, **o),
    "LIME": lambda c, **o: ax.LIME(c, n_samples=20, **TILED, **o),
    "AllOnes": ax.AllOnes,
    "RandomMask": ax.RandomMask,
    "EnergyMask": ax.EnergyMask,
}
LEARNED = {"L-MAC", "L2I", "LMACTD", "LMACZS"}
GUIDED = {"GuidedBackprop", "GuidedGradCAM"}
NOT_ON_SAMPLES = {"L2I", "LMACTD"}
RANDOM = {"SmoothGrad", "GradientSHAP", "KernelSHAP", "LIME", "RandomMask"}
