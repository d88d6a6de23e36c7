"""Sanity checks: an explanation must change when the network does (Adebayo et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.targets import TargetLike
from audioxai.errors import ClassifierError, ConfigError, InputError
from audioxai.explainers.base import Explainer
from audioxai.metrics.localisation import average_ranks
from audioxai.metrics.results import bootstrap
from audioxai.nn.fresh_weights import NORMS, randomise, weights_kept
from audioxai.sound.inputs import WaveformLike, as_waveform
from audioxai.support.options import one_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Randomisation", "cascading_randomisation", "mask_similarity", "random_labels"]

Order = Literal["top_down", "bottom_up"]


@dataclass(frozen=True)
class Randomisation:
    """How explanations change as a network's layers are randomised one after the other.

    Attributes:
        explainer: name of the method.
        layers: L names in the order of randomisation.
        order: ``"top_down"`` from the logits to the input, or ``"bottom_up"``.
        similarity: ``"SSIM"`` and ``"Spearman"`` to (L + 1, B); the first row is the untouched network. NaN where a
            mask is constant, or has too few rows for SSIM.
    """

    explainer: str
    layers: tuple[str, ...]
    order: Order
    similarity: dict[str, Tensor] = field(repr=False)

    def curve(self, measure: str) -> list[tuple[float, float, float]]:
        """Mean over clips and its 95 % bootstrap interval, after each step."""
        steps = self.similarity[one_of("measure", measure, self.similarity)]
        return [(float(step.nanmean()), *bootstrap(step)) for step in steps]

    def plot(self) -> Figure:
        """Both curves; :func:`audioxai.metrics.plot.plot_randomisation` draws several explainers' together."""
        from audioxai.metrics.plot import plot_randomisation

        return plot_randomisation({self.explainer: self})


def cascading_randomisation(
    explainer: Explainer,
    waveform: WaveformLike,
    target: TargetLike = None,
    *,
    order: Order = "top_down",
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> Randomisation:
    """Randomise a network layer by layer and compare each explanation with that of the trained network.

    Weights become Xavier-uniform and biases 0.01; normalisation layers keep theirs. A learned explainer's decoder is
    left as it is. The target stays that of the trained network. The network comes back exactly as it was, after an
    error too. Source: Adebayo et al. 2018, section 3; settings of the L-MAC recipe.

    Args:
        explainer: fitted.
        waveform: (T,) or (B, T).
        target: see :mod:`audioxai.classifiers.targets`; default each clip's predicted class. An explainer of
            the predicted class alone explains that of each network.
        order: from the logits down, or from the input up.
        layers: names of the modules to randomise, in the order of the forward pass, one without weights of its own
            with all inside it; default every module with weights of its own that the clips reach.
        seed: of the weights.

    Raises:
        ConfigError: an unknown order or layer, or a layer without weights.
    """
    one_of("order", order, get_args(Order))
    classifier = explainer.classifier
    clips = as_waveform(waveform, classifier.sample_rate).to(classifier.device)
    names = _layers_in_use(classifier, clips[:1]) if layers is None else list(layers)
    modules = dict(classifier.network.named_modules())
    if unknown := [name for name in names if name not in modules]:
        raise ConfigError(f"the network has no layer {unknown[0]!r}; see dict(network.named_modules())")
    if order == "top_down":
        names = names[::-1]
    if idle := [name for name in names if not _with_weights(modules[name])]:
        raise ConfigError(f"layer {idle[0]!r} has no weights, but for normalisation; name one that has")
    target = explainer.target_of(clips, target)
    trained = explainer.explain(clips, target).mask
    steps = [mask_similarity(trained, trained)]
    generator = torch.Generator().manual_seed(seed)
    with weights_kept(classifier.network):
        for name in names:
            for module in _with_weights(modules[name]):
                randomise(module, generator)
            steps.append(mask_similarity(trained, explainer.explain(clips, target).mask))
    return Randomisation(
        explainer.name, tuple(names), order, {key: torch.stack([s[key] for s in steps]) for key in steps[0]}
    )


def random_labels(
    make: Callable[[AudioClassifier], Explainer],
    classifier: AudioClassifier,
    loader: Iterable[Any],
    waveform: WaveformLike,
    target: TargetLike = None,
    *,
    epochs: int = 45,
    seed: int = 0,
    **training: Any,
) -> tuple[dict[str, Tensor], float]:
    """The random-label control: train a copy of the network on shuffled labels and compare its explanations.

    A method whose masks stay the same explains the sound, not what the network has learnt. Source: Adebayo et al. 2018,
    section 4.

    Args:
        make: builds the explainer for a network, and fits it if it learns; called for both networks.
        classifier: trained on the true labels; left as it is.
        loader: batches of (waveform, class) for the copy, whose weights start afresh.
        waveform: (T,) or (B, T), clips to explain.
        target: default the classes that the trained network predicts.
        epochs: passes over the loader; enough to learn wrong labels by heart.
        seed: of the labels and the weights.
        **training: other options of :func:`audioxai.training.recipes.train_classifier`.

    Returns:
        ``"SSIM"`` and ``"Spearman"`` between the two networks' masks, (B,) each, and the share of the shuffled labels
        that the copy has learnt: near chance, the control says nothing.
    """
    from audioxai.training.recipes import accuracy, train_classifier

    clips = as_waveform(waveform, classifier.sample_rate).to(classifier.device)
    explainer = make(classifier)
    target = explainer.target_of(clips, target)
    shuffled = _shuffle_labels(loader, seed)
    other = copy.deepcopy(classifier).requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    for module in other.network.modules():
        randomise(module, generator)
    train_classifier(other, shuffled, epochs=epochs, seed=seed, augmented=False, **training)
    masks = [method.explain(clips, target).mask for method in (explainer, make(other))]
    return mask_similarity(*masks), accuracy(other, shuffled)


def mask_similarity(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """SSIM (11 x 11 Gaussian window, data range 1) and Spearman's rank correlation of masks, each (B,).

    NaN for a constant mask; SSIM also for masks over time alone or of fewer than 11 rows or frames. (B, ...) twice.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    flat = [mask.flatten(1) for mask in (first, second)]
    varies = torch.stack([x.amax(1) > x.amin(1) for x in flat]).all(0)
    alike = torch.full((len(first),), torch.nan)
    if first.ndim == 3 and min(first.shape[1:]) >= 11:
        found = ssim(first[:, None].float(), second[:, None].float(), data_range=1.0, reduction="none")
        alike = torch.where(varies, torch.as_tensor(found).reshape(-1), torch.nan).cpu()
    order = torch.full((len(first),), torch.nan)
    for i in varies.nonzero()[:, 0].tolist():
        ranks = torch.stack([average_ranks(x[i]) for x in flat])
        order[i] = torch.corrcoef(ranks)[0, 1]
    return {"SSIM": alike, "Spearman": order}


def _layers_in_use(classifier: AudioClassifier, clips: Tensor) -> list[str]:
    """Modules with weights of their own, but for normalisation, in the order in which the clips first reach them."""
    reached: list[str] = []
    handles = []
    for name, module in classifier.network.named_modules():
        if not isinstance(module, NORMS) and next(module.parameters(recurse=False), None) is not None:

            def note(_module: nn.Module, _inputs: Any, name: str = name) -> None:
                if name not in reached:
                    reached.append(name)

            handles.append(module.register_forward_pre_hook(note))
    try:
        with torch.no_grad(), classifier.frozen():
            classifier(clips)
    finally:
        for handle in handles:
            handle.remove()
    if not reached:
        raise ClassifierError("the network has no layer with weights; there is nothing to randomise")
    return reached


def _with_weights(module: nn.Module) -> list[nn.Module]:
    """The module itself, or, if it has no weights of its own, those inside it that have; no normalisation."""
    parts = [module] if next(module.parameters(recurse=False), None) is not None else list(module.modules())
    held = [part for part in parts if next(part.parameters(recurse=False), None) is not None]
    return [part for part in held if not isinstance(part, NORMS)]


def _shuffle_labels(loader: Iterable[Any], seed: int) -> list[tuple[Tensor, Tensor]]:
    """The loader's batches with their labels dealt out anew."""
    batches = [(waveform, torch.as_tensor(labels)) for waveform, labels in loader]
    if any(labels.ndim != 1 for _, labels in batches):
        raise InputError("the random-label control takes one class per clip; got labels of several")
    labels = torch.cat([labels for _, labels in batches])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    parts = torch.split(labels, [len(waveform) for waveform, _ in batches])
    return [(waveform, part) for (waveform, _), part in zip(batches, parts, strict=True)]
