"""Explainers: one interface over learned and training-free methods."""

from audioxai.explainers.base import Explainer
from audioxai.explainers.cam import GradCAM
from audioxai.explainers.controls import AllOnes, EnergyMask, RandomMask
from audioxai.explainers.learned import LearnedExplainer
from audioxai.explainers.lmac import LMAC

__all__ = ["LMAC", "AllOnes", "EnergyMask", "Explainer", "GradCAM", "LearnedExplainer", "RandomMask"]
