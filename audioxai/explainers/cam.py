"""Class activation maps by gradients: weighted sums of a layer's channels, resized to the space's grid."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ClassifierError, ConfigError
from audioxai.explainers.base import Explainer, Score
from audioxai.explainers.gradient import differentiable
from audioxai.explainers.registry import register
from audioxai.masking.spaces import Resize

__all__ = ["CAM", "GradCAM", "GradCAMPlusPlus"]


class CAM(Explainer):
    """Base of the CAMs, on maps (B, C, F, N), sequences (B, C, N) and tokens (B, N, C).

    Args:
        classifier: the wrapped network.
        layer: name or module whose maps are weighed; default the deepest of ``classifier.layers``.
        resize: ``"bilinear"``, or ``"nearest"`` as in the published tables.
        **base: see :class:`Explainer`.

    Raises:
        ConfigError: the network has no such layer.
        ClassifierError: the layer is never reached, or carries no map over time.
    """

    def __init__(
        self,
        classifier: AudioClassifier,
        *,
        layer: str | nn.Module | None = None,
        resize: Resize = "bilinear",
        **base: Any,
    ) -> None:
        super().__init__(classifier, **base)
        if resize not in ("bilinear", "nearest"):
            raise ConfigError(f"resize={resize!r} is not known; choose 'bilinear' or 'nearest'")
        self.resize: Resize = resize
        self._latent = classifier.latent_layers[-1] if layer is None else classifier.latent_layer(layer)

    @property
    def layer(self) -> str:
        """Name of the layer whose maps are weighed."""
        return self._latent.name

    def _maps(self, values: Tensor, score: Score) -> Tensor:
        """The layer's maps (B, C, F, N) for the clips, without gradients."""
        with torch.no_grad():
            return self._latent.as_map(self._read(values, score, cut=False)[1])

    def _maps_and_gradients(self, values: Tensor, score: Score) -> tuple[Tensor, Tensor]:
        """The layer's maps and the score's gradients to them, both (B, C, F, N)."""
        with differentiable(self.name):
            logits, latent = self._read(values, score, cut=True)
            explained = score.target.score(logits).sum()
            gradient = torch.autograd.grad(explained, latent, allow_unused=True)[0] if explained.requires_grad else None
        if gradient is None:
            raise ClassifierError(
                f"the score does not depend on layer {self.layer!r} by any gradient; choose another layer, or ScoreCAM "
                "if the network cannot be differentiated"
            )
        if not gradient.any():
            warnings.warn(
                f"the score's gradient to layer {self.layer!r} is 0 everywhere, so the map is empty; choose a layer "
                "that the logits are made from",
                stacklevel=2,
            )
        return self._latent.as_map(latent.detach()), self._latent.as_map(gradient)

    def _read(self, values: Tensor, score: Score, *, cut: bool) -> tuple[Tensor, Tensor]:
        features = self.space.features(values, score.analysis)
        logits, (latent,) = self.classifier.read_layers((self.layer,), features, cut=cut)
        score.take(logits)
        return logits, latent


class _GradientCAM(CAM):
    """A method writes ``_weigh``, maps and gradients to the weighted map."""

    @abstractmethod
    def _weigh(self, maps: Tensor, gradients: Tensor) -> Tensor:
        """(B, C, F, N) maps and the score's gradients to them, to a signed map (B, F, N)."""

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        cam = self._weigh(*self._maps_and_gradients(values, score))
        return self.space.from_grid(cam[:, None], values, self.resize)[:, 0]


@register("gradcam")
class GradCAM(_GradientCAM):
    """Channels weighted by the mean gradient of the score. Source: Selvaraju et al. 2017, eq. 1 and 2.

    The ReLU of eq. 2 is applied where attribution becomes mask. Equal to Captum's
    ``LayerGradCam`` on the layer's grid. :meth:`reference` takes the absolute value and repeats cells.
    """

    _published: ClassVar[Mapping[str, Any]] = {"resize": "nearest"}

    def _weigh(self, maps: Tensor, gradients: Tensor) -> Tensor:
        return (gradients.mean((2, 3), keepdim=True) * maps).sum(1)


@register("gradcam++")
class GradCAMPlusPlus(_GradientCAM):
    """Channels weighted by their positive gradients, cell by cell. Source: Chattopadhyay et al. 2018, eq. 10 and 19.

    The equations suppose maps after a ReLU. A channel whose cells add up to less than 0 counts as one that adds up to
    0, where the equation would divide by numbers around zero.
    """

    def _weigh(self, maps: Tensor, gradients: Tensor) -> Tensor:
        # alpha = g^2 / (2 g^2 + S g^3) = 1 / (2 + S g) for g > 0, and no other cell has a weight.
        positive = gradients.clamp(min=0)
        cells = maps.sum((2, 3), keepdim=True).clamp(min=0)
        weight = (positive / (2 + cells * positive)).sum((2, 3), keepdim=True)
        return (weight * maps).sum(1)
