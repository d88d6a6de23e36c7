"""What every network has, as planes of one size: the sound, and the evidence at the mask's values and in the network.

No channel of a network is named, so that a decoder which reads these planes can explain networks that it never met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.latents import LatentLayer
from audioxai.classifiers.targets import Target
from audioxai.errors import ClassifierError, LabelsError
from audioxai.masking.spaces import Analysis, Space
from audioxai.nn.decoder import _log_level, _standardise

__all__ = ["BANDS", "DEPTHS", "PLANES", "Planes", "band_averages", "band_weights", "depths_of", "read_planes"]

BANDS = 64
DEPTHS = 4
#: Evidence at the values (2), at each depth with its level (3), and the sound (2).
PLANES = 2 + 3 * DEPTHS + 2

_FRAME_SECONDS = 0.0116  # in waveform space


@dataclass(frozen=True)
class Planes:
    """What a decoder sees of a batch under one target.

    Args:
        target: resolved.
        stack: (B, P, G, N) with P = :data:`PLANES` and G = :data:`BANDS`, N the frames of the values:

            * 0, 1: evidence v * ds/dv at the mask's values v for the score s, what speaks for it and what against,
              summed into the bands;
            * 2 to 13: for each of four depths, shallowest first, the evidence h * ds/dh of the latents h that speaks
              for s and that speaks against it, summed over the channels, and the root mean square of h over them;
            * 14, 15: the sound's level, and its level within its row, in deviations from the clip's mean.

            Evidence is log(1 + e / mean e), the mean over both signs; levels of latents are over their mean, less 1.
        missing: what the network does not give, whose planes are 0: ``"values"`` where no gradient reaches them, as
            behind a front end in NumPy, and ``"depths"``.
    """

    target: Target
    stack: Tensor
    missing: tuple[str, ...] = ()


def depths_of(classifier: AudioClassifier) -> tuple[LatentLayer, ...]:
    """Four of the classifier's layers, evenly spread, the same one twice if there are fewer; none if no layer has maps.

    Raises:
        ClassifierError: the layers that the caller named are not there.
    """
    try:
        layers = classifier.latent_layers
    except LabelsError:
        raise
    except ClassifierError:
        if classifier._asked is not None:
            raise
        return ()
    places = torch.linspace(0, len(layers) - 1, DEPTHS).round().long().tolist()
    return tuple(layers[place] for place in places)


def read_planes(
    classifier: AudioClassifier,
    space: Space,
    analysis: Analysis,
    targets: Sequence[Target],
    *,
    layers: Sequence[LatentLayer] | None = None,
) -> tuple[Tensor, list[Planes]]:
    """One forward pass, and one backward pass to the values for each target.

    Args:
        classifier: frozen.
        space: where the mask lives.
        analysis: the clips.
        targets: what is explained.
        layers: from :func:`depths_of`; default found here.

    Returns:
        Logits (B, K) without a graph, and the planes for each target.

    Raises:
        ClassifierError: the score depends neither on the values nor on the layers.
    """
    layers = depths_of(classifier) if layers is None else layers
    names = list(dict.fromkeys(layer.name for layer in layers))
    with torch.enable_grad():
        values = analysis.values.detach().clone().requires_grad_()  # those of a caller in inference mode have no graph
        logits, latents = classifier.read_layers(names, _features(space, values, analysis), cut=True)
    places = dict(zip(names, latents, strict=True))
    weights = band_weights(space, values.device)
    with torch.no_grad():
        sound = torch.stack(_standardise(_log_level(analysis.values)), 1)
        seen = _in_bands(sound, weights, _frames(space, analysis))
        known = {layer.name: layer.as_map(places[layer.name]) for layer in layers}
        levels = {name: _level(maps) for name, maps in known.items()}
    read = []
    resolved = [target.resolve(logits, classifier.labels) for target in targets]
    for number, target in enumerate(resolved, 1):
        with torch.enable_grad():
            score = target.score(logits).sum()
        wanted = [values, *latents]
        gradients: Sequence[Tensor | None] = [None] * len(wanted)
        if score.requires_grad:
            keep = number < len(resolved)
            gradients = torch.autograd.grad(score, wanted, allow_unused=True, retain_graph=keep)
        if all(gradient is None for gradient in gradients):
            raise ClassifierError(
                "no gradient of the score reaches the sound or a layer of the network: it is computed outside torch, "
                "or the target does not depend on it. Occlusion, LIME, KernelSHAP and ScoreCAM need no gradient"
            )
        with torch.no_grad():
            planes = [_at_values(analysis.values, gradients[0], weights, seen)]
            slopes = dict(zip(names, gradients[1:], strict=True))
            for layer in layers:
                latent, slope = places[layer.name], slopes[layer.name]
                h = known[layer.name]
                found = torch.zeros_like(h) if slope is None else layer.as_map(latent.float() * slope.float())
                planes.append(_at_depth(found, levels[layer.name], space, weights, seen))
            planes += [] if layers else [seen.new_zeros(len(seen), 3 * DEPTHS, *seen.shape[2:])]
            missing = ("values",) * (gradients[0] is None) + ("depths",) * (not layers)
            read.append(Planes(target, torch.cat([*planes, seen], 1), missing))
    return logits.detach(), read


def band_weights(space: Space, device: torch.device | str = "cpu") -> Tensor:
    """Weights (G, F) that interpolate G bands, evenly spaced in mel, at the rows of the space's values.

    Each row's weights add up to 1. In waveform space, whose values have no rows, the bands' mean, (G, 1).
    """
    if space.rows == 1:
        return torch.full((BANDS, 1), 1 / BANDS, device=device)
    place = (space.pitch.to(device) * BANDS).clamp(max=BANDS - 1)
    return (1 - (place - torch.arange(BANDS, device=device)[:, None]).abs()).clamp(min=0)


def band_averages(weights: Tensor) -> Tensor:
    """:func:`band_weights` to weights (G, F) of each band's rows, whose sum is 1; an empty band takes its neighbours'.

    Below some hundred Hz, bands are narrower than the bins of a transform.
    """
    total = weights.sum(1, keepdim=True)
    lonely = total[:, 0] < 1e-3
    if lonely.any():
        bands = torch.arange(len(weights), device=weights.device, dtype=weights.dtype)
        centre = (weights * bands[:, None]).sum(0) / weights.sum(0)  # of each row, in bands
        right = torch.searchsorted(centre.contiguous(), bands).clamp(1, len(centre) - 1)
        share = ((bands - centre[right - 1]) / (centre[right] - centre[right - 1]).clamp(min=1e-6)).clamp(0, 1)
        between = torch.zeros_like(weights).scatter_(1, right[:, None], share[:, None])
        between = between.scatter_(1, right[:, None] - 1, 1 - share[:, None])
        return torch.where(lonely[:, None], between, weights / total.clamp(min=1e-3))
    return weights / total


def _features(space: Space, values: Tensor, analysis: Analysis) -> Tensor:
    try:
        return space.features(values, analysis)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError):  # NumPy takes no tensor that asks for a gradient
        return space.features(values.detach(), analysis)


def _frames(space: Space, analysis: Analysis) -> int:
    """N of the planes: that of the values, or in waveform space a frame for every 11.6 ms."""
    samples = analysis.values.shape[-1]
    if analysis.values.ndim == 3:
        return samples
    return max(1, round(samples / (_FRAME_SECONDS * space.classifier.sample_rate)))


def _in_bands(planes: Tensor, weights: Tensor, frames: int) -> Tensor:
    """Averages (B, C, G, frames) of planes (B, C, F, N) over the rows of each band and the steps of each frame."""
    if planes.shape[-1] != frames:
        planes = F.adaptive_avg_pool2d(planes, (planes.shape[2], frames))
    return torch.einsum("gf,bcfn->bcgn", band_averages(weights), planes)


def _at_values(values: Tensor, gradient: Tensor | None, weights: Tensor, seen: Tensor) -> Tensor:
    """Evidence at the values (B, ...), for and against, in bands (B, 2, G, N); 0 without a gradient."""
    if gradient is None:
        return torch.zeros_like(seen)
    evidence = (values * gradient).float().reshape(len(values), -1, values.shape[-1])
    return _compressed(_in_bands(_signs(evidence, 1), weights, seen.shape[-1]))


def _at_depth(evidence: Tensor, level: Tensor, space: Space, weights: Tensor, seen: Tensor) -> Tensor:
    """Evidence (B, C, H, W) for and against, and the level (B, 1, H, W), in bands: (B, 3, G, N)."""
    summed = _compressed(torch.cat([part.sum(1, keepdim=True) for part in _signs(evidence, 1).chunk(2, 1)], 1))
    maps = torch.cat([summed, level], 1)
    grid = space.grid
    if space.rows == 1:
        return _resized(maps, BANDS, seen.shape[-1])
    to_bands = band_averages(weights).T if grid is None else grid @ band_averages(weights).T
    return torch.einsum("rg,bcrn->bcgn", to_bands, _resized(maps, len(to_bands), seen.shape[-1]))


def _signs(evidence: Tensor, axis: int) -> Tensor:
    """What speaks for the score and what against it, both positive, side by side: (B, ...) to (B, 2 ...)."""
    if evidence.ndim == 3:
        evidence = evidence[:, None]
    return torch.cat([evidence.clamp(min=0), (-evidence).clamp(min=0)], axis)


def _compressed(evidence: Tensor) -> Tensor:
    """log(1 + e / mean e), the mean over each clip's (2, ...)."""
    return torch.log1p(evidence / evidence.mean((1, 2, 3), keepdim=True).clamp(min=1e-20))


def _level(h: Tensor) -> Tensor:
    """Root mean square over the channels (B, C, H, W) over its mean in each clip, less 1: (B, 1, H, W)."""
    level = h.square().mean(1, keepdim=True).sqrt()
    return level / level.mean((1, 2, 3), keepdim=True).clamp(min=1e-12) - 1


def _resized(maps: Tensor, rows: int, frames: int) -> Tensor:
    if maps.shape[2:] == (rows, frames):
        return maps
    return F.interpolate(maps, size=(rows, frames), mode="bilinear", align_corners=False, antialias=True)
