"""Guided backpropagation: gradients that only pass where they speak for the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ClassifierError, ConfigError, nearest
from audioxai.explainers.activations import ACTIVATIONS, Intercept
from audioxai.explainers.base import Explainer, Score
from audioxai.explainers.cam import GradCAM
from audioxai.explainers.gradient import differentiable, each, leaf
from audioxai.explainers.registry import register

__all__ = ["GuidedBackprop", "GuidedGradCAM"]


@register("guided-backprop")
class GuidedBackprop(Explainer):
    """The gradient of the score, cut to its positive part before every ReLU. Source: Springenberg et al. 2015.

    Equal to Captum's ``GuidedBackprop`` where every ReLU is a module of its own. Captum's hooks miss functional ReLUs
    and then return the plain gradient without a word; here the activation itself is intercepted, wherever it is called,
    and none at all is an error.

    Args:
        classifier: the wrapped network.
        activations: functions that are guided, such as ``("relu", "gelu")``. Beyond ReLU it is no longer the published
            method.
        **base: see :class:`Explainer`.

    Attributes:
        intercepted_: activations guided in the last pass.

    :meth:`reference` guides none: the published network calls ReLU as a function, so those rows are plain gradients.

    Raises:
        ClassifierError: on explaining, when the network calls none of the ``activations``.
    """

    _published: ClassVar[Mapping[str, Any]] = {"activations": ()}

    def __init__(self, classifier: AudioClassifier, *, activations: Sequence[str] = ("relu",), **base: Any) -> None:
        super().__init__(classifier, **base)
        self.activations = _known(activations)
        self.intercepted_ = 0

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        gradient, self.intercepted_ = guided_gradient(self, values, score, self.activations)
        return gradient


@register("guided-gradcam")
class GuidedGradCAM(GradCAM):
    """Guided backpropagation times the positive part of GradCAM. Source: Selvaraju et al. 2017, section 3.2.

    Args:
        classifier: the wrapped network.
        activations: as for :class:`GuidedBackprop`.
        **cam: see :class:`GradCAM`.

    Attributes:
        intercepted_: activations guided in the last pass.
    """

    _published: ClassVar[Mapping[str, Any]] = {"activations": (), "resize": "nearest"}

    def __init__(self, classifier: AudioClassifier, *, activations: Sequence[str] = ("relu",), **cam: Any) -> None:
        super().__init__(classifier, **cam)
        self.activations = _known(activations)
        self.intercepted_ = 0

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        cam = super()._attribute(values, score).clamp(min=0)
        gradient, self.intercepted_ = guided_gradient(self, values, score, self.activations)
        return gradient * cam


def guided_gradient(
    explainer: Explainer, values: Tensor, score: Score, activations: tuple[str, ...]
) -> tuple[Tensor, int]:
    """The guided gradient (B, ...) and how many activations were intercepted."""
    start = leaf(values)
    with differentiable(explainer.name):
        score.name_predicted()
        with Intercept(activations, _guide, watched=ACTIVATIONS) as seen:
            explained = score(start, each(values)).sum()
        (gradient,) = torch.autograd.grad(explained, start)
    guided = sum(seen.count[name] for name in activations)
    if activations and not guided:
        raise ClassifierError(_none_found(explainer, activations, seen))
    return gradient, guided


def _guide(_name: str, call: Any, x: Tensor) -> Tensor:
    x = x.view_as(x)  # a node of its own, since others may read x too
    x.register_hook(lambda gradient: gradient.clamp(min=0))  # type: ignore[no-untyped-call]
    result: Tensor = call(x)
    return result


def _none_found(explainer: Explainer, activations: tuple[str, ...], seen: Intercept) -> str:
    others = {
        name: type(module).__name__
        for name, module in explainer.classifier.network.named_modules()
        if type(module).__module__ == "torch.nn.modules.activation" and not isinstance(module, nn.MultiheadAttention)
    }
    called = ", ".join(f"{name} {times} times" for name, times in seen.count.items()) or "no activation that it knows"
    layers = ", ".join(f"{name} ({kind})" for name, kind in list(others.items())[:6]) or "none"
    guide = tuple(seen.count) or ("gelu",)
    return (
        f"{explainer.name} guides {', '.join(activations)}, and the network calls {called} (activation layers: "
        f"{layers}); its map would be the plain gradient. Guide what the network has, "
        f"activations={guide!r}, or use Saliency. "
        "A scripted or compiled network hides its activations: pass the original"
    )


def _known(activations: Sequence[str]) -> tuple[str, ...]:
    names = (activations,) if isinstance(activations, str) else tuple(activations)
    for name in names:
        if name not in ACTIVATIONS:
            raise ConfigError(f"activation {name!r} is not known; nearest: {nearest(str(name), ACTIVATIONS)}")
    return names
