"""Fidelity that rewards no adversarial masks: a network that knows missing parts, and few parts missing at a time.

Removing what an explanation marks gives inputs that the network has never heard, so that masks may score by the
network's confusion. Here a copy of it is first trained on with random parts missing, once and for all explainers; then
a random draw of parts is removed from inside, or from outside, what the explanation marks, never more than the copy was
trained for. Source: Zheng et al., "F-Fidelity", ICLR 2025.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ConfigError, InputError
from audioxai.masking.spaces import Scale, make_space
from audioxai.metrics.base import Case, Metric, Predict
from audioxai.metrics.curves import ranking
from audioxai.sound.inputs import as_waveform
from audioxai.support.options import at_least_one, share
from audioxai.training.loop import TrainingOptions, train

__all__ = ["f_fidelity", "f_fidelity_metrics", "robust_copy"]


def f_fidelity(
    predict: Predict,
    values: Tensor,
    mask: Tensor,
    *,
    sizes: Sequence[float] = (0.05, 0.1, 0.2),
    alpha: float = 0.5,
    beta: float = 0.1,
    draws: int = 4,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """How far the target's probability falls when cells go from inside, and from outside, the mask's highest.

    For each size s, the s n highest of the n cells are the explanation; min(alpha s, beta) n cells, drawn at random
    among them, become silence (FFid+), or min(alpha (1 - s), beta) n drawn among the others (FFid-). Zheng et al. count
    correct decisions; the probability is their graded form.

    Args:
        predict: values (R, ...) and their clips (R,) to probabilities (R,), of a network that knows missing cells.
        values: (B, ...) what the mask multiplies.
        mask: (B, ...); only the order of its cells matters, equal ones in a random order.
        sizes: shares of cells that count as the explanation; the result is the mean over them.
        alpha: most of the explanation, or of the rest, that is removed, as a share.
        beta: most of all cells that is removed, the share that the network was trained for.
        draws: random draws per size.
        seed: of the draws, which are the same for every clip and mask.

    Returns:
        FFid+, higher is better, and FFid-, lower is better, both (B,) in [-1, 1].
    """
    if mask.shape != values.shape:
        raise InputError(f"mask {tuple(mask.shape)} and values {tuple(values.shape)} differ in shape")
    if not sizes or not all(0 < size < 1 for size in sizes):
        raise ConfigError(f"sizes={sizes} must be one or more shares between 0 and 1")
    share("alpha", alpha, "(0, 1]")
    share("beta", beta, "(0, 1)")
    at_least_one("draws", draws)
    flat = mask.flatten(1)
    cells = flat.shape[1]
    order = ranking(mask)
    rows = torch.arange(len(values), device=values.device)
    whole = predict(values, rows)
    generator = torch.Generator().manual_seed(seed)
    falls: tuple[list[Tensor], list[Tensor]] = ([], [])
    for size in sizes:
        top = max(1, round(size * cells))
        for among, part, found in ((slice(top), size, falls[0]), (slice(top, None), 1 - size, falls[1])):
            candidates = order[:, among]
            count = max(1, round(min(alpha * part, beta) * cells))
            for _ in range(draws):
                drawn = torch.randperm(candidates.shape[1], generator=generator)[:count].to(values.device)
                kept = torch.ones_like(flat).scatter_(1, candidates[:, drawn], 0)
                found.append(whole - predict(values * kept.reshape(values.shape), rows))
    return torch.stack(falls[0]).mean(0), torch.stack(falls[1]).mean(0)


def robust_copy(
    classifier: AudioClassifier,
    loader: Iterable[Any],
    *,
    space: str = "stft",
    scale: Scale = "magnitude",
    beta: float = 0.1,
    epochs: int = 10,
    lr: float = 1e-3,
    **training: Any,
) -> AudioClassifier:
    """A copy of a classifier, trained on with random cells missing; it knows no explainer.

    Args:
        classifier: left as it is.
        loader: re-iterable batches of (waveform, class).
        space: where cells are silenced; the explainers' own.
        scale: of the space.
        beta: largest share of cells missing; each clip draws its own share below it.
        epochs: passes over the loader.
        lr: peak learning rate.
        **training: other options of :class:`audioxai.training.loop.TrainingOptions`.

    Returns:
        The copy in evaluation mode; also useful as a judge in :func:`audioxai.evaluate`.
    """
    share("beta", beta, "(0, 1)")
    robust = copy.deepcopy(classifier).requires_grad_(True)
    device = robust.device
    where = make_space(space, robust, scale)

    def step(batch: Any) -> dict[str, Tensor]:
        try:
            waveform, labels = batch
        except (TypeError, ValueError) as error:
            raise InputError(f"robust_copy takes batches of (waveform, class); got {type(batch).__name__}") from error
        analysis = where.analyse(as_waveform(waveform, robust.sample_rate).to(device))
        shape = (len(analysis.values), *[1] * (analysis.values.ndim - 1))
        missing = torch.rand(analysis.values.shape, device=device) < beta * torch.rand(shape, device=device)
        logits = where.predict(analysis.values * ~missing, analysis)
        labels = torch.as_tensor(labels, device=device)
        if robust.multilabel:
            return {"loss": torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())}
        return {"loss": torch.nn.functional.cross_entropy(logits, labels)}

    train(robust, step, loader, TrainingOptions(epochs=epochs, lr=lr, **training), name="robust copy")
    return robust.eval()


def f_fidelity_metrics(robust: AudioClassifier, **options: Any) -> tuple[Metric, Metric]:
    """FFid+ and FFid- for ``evaluate(..., metrics=...)``, asked of the network that :func:`robust_copy` gave.

    Args:
        robust: judges every explainer of one evaluation.
        **options: of :func:`f_fidelity`.
    """

    def score(case: Case) -> tuple[Tensor, Tensor]:
        values, predict = case.predict(robust)
        return f_fidelity(predict, values, case.explanation.mask, **options)

    return (
        Metric("FFid+", lambda case: case.once(score)[0], 1, -1, 1),
        Metric("FFid-", lambda case: case.once(score)[1], -1, -1, 1),
    )
