"""Class activation maps: weighted sums of a layer's channels, resized to the space's grid."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audioxai.classifier import AudioClassifier
from audioxai.errors import ClassifierError, ConfigError, nearest
from audioxai.explainers.base import Explainer, Score
from audioxai.explainers.normalise import Normalise
from audioxai.latents import name_of
from audioxai.spaces import Analysis

__all__ = ["GradCAM"]


class _CAM(Explainer):
    """Base of the CAMs: a method writes ``_weigh``, maps and gradients to the weighted map.

    Args:
        classifier: the wrapped network.
        layer: name or module whose maps are weighed; default the deepest of ``classifier.layers``.
        **base: see :class:`Explainer`.
    """

    normalise_default: ClassVar[Normalise] = "relu_max"

    def __init__(self, classifier: AudioClassifier, *, layer: str | nn.Module | None = None, **base: Any) -> None:
        super().__init__(classifier, **base)
        names = classifier.layers
        self.layer = names[-1] if layer is None else name_of(classifier.network, layer)
        if self.layer not in names:
            raise ConfigError(
                f"layer {self.layer!r} is not among the classifier's latents; nearest: {nearest(self.layer, names)}. "
                "Name it in AudioClassifier(layers=[...])"
            )

    @abstractmethod
    def _weigh(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """(B, C, F, N) maps and the score's gradients to them, to a signed map (B, F, N)."""

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        space, classifier = self.space, self.classifier
        analysis: Analysis = score.analysis
        logits, latents = classifier.classify_with_latents(space.features(values, analysis), differentiable=True)
        latent = latents[classifier.layers.index(self.layer)]
        explained = score.target.score(logits).sum()
        gradient = torch.autograd.grad(explained, latent, allow_unused=True)[0] if explained.requires_grad else None
        if gradient is None:
            raise ClassifierError(f"the score does not depend on layer {self.layer!r}; choose another layer")
        layout = classifier.latent_layers[classifier.layers.index(self.layer)]
        cam = self._weigh(layout.as_map(latent.detach()), layout.as_map(gradient))
        return space.from_grid(cam[:, None], values)[:, 0]


class GradCAM(_CAM):
    """Channels weighted by the mean gradient of the score. Source: Selvaraju et al. 2017, eq. 1 and 2.

    The ReLU of eq. 2 is applied where attribution becomes mask (``normalise="relu_max"``).
    """

    def _weigh(self, maps: Tensor, gradients: Tensor) -> Tensor:
        return (gradients.mean((2, 3), keepdim=True) * maps).sum(1)
