"""Checks of what explainers give: shapes, ranges, and the same answer to the same question."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from audioxai.errors import AudioXAIError, InputError, TargetError
from audioxai.testing.trial import Trial, numpy_state, refused, require

__all__ = [
    "bad_input", "composition", "grad_modes", "layouts", "lengths", "max_batch", "rates", "result", "seed", "silence",
    "targets",
]  # fmt: skip


def result(t: Trial) -> None:
    """Shapes, ranges and names of the result."""
    whole, space = t.whole, t.explainer.space
    values = space.analyse(t.clips.to(t.explainer.classifier.device)).values
    mask, waveform = whole
    require(
        mask.shape == values.shape, f"the mask is {tuple(mask.shape)}; the space's values are {tuple(values.shape)}"
    )
    require(bool(torch.isfinite(mask).all()), "the mask is not finite")
    require(bool(((mask >= 0) & (mask <= 1)).all()), f"the mask runs from {float(mask.min())} to {float(mask.max())}")
    for name, sound in (("sound", waveform), ("removed sound", whole.removed)):
        require(sound.shape == t.clips.shape, f"the {name} is {tuple(sound.shape)}, the clips {tuple(t.clips.shape)}")
        require(bool(torch.isfinite(sound).all()), f"the {name} is not finite")
    for name, probs in zip(("input", "kept", "removed"), whole.scores, strict=True):
        require(bool(((probs >= 0) & (probs <= 1)).all()), f"scores.{name} lie outside [0, 1]")
    require(whole.target is not None, "no target is recorded for the predicted class")
    assert whole.target is not None
    require(whole.target.tolist() == whole.scores.input.argmax(1).tolist(), "the target is not the predicted class")
    require(len(whole) == len(t.clips) == len(whole.target_names), "one entry per clip is missing")
    attribution = t.explainer.attribute(t.clips)
    require(attribution.shape == values.shape, f"attribute() gives {tuple(attribution.shape)}")
    require(bool(torch.isfinite(attribution).all()), "the attribution is not finite")


def max_batch(t: Trial) -> None:
    """Any ``max_batch`` gives the same result."""
    for rows in (1, len(t.clips) - 1):
        other = copy.copy(t.explainer)
        other.max_batch = rows
        t.same(f"max_batch={rows}", other.explain(t.clips))


def composition(t: Trial) -> None:
    """A clip's result does not depend on the other clips of the batch."""
    last = len(t.clips) - 1
    t.same("a clip alone", t.explainer.explain(t.clips[last]), clip=last)
    shuffled = t.explainer.explain(t.clips.flip(0))
    gap = float((shuffled.mask.flip(0) - t.whole.mask).abs().max())
    require(gap <= t.tolerance, f"another order: mask differs by {gap:.2g}")


def layouts(t: Trial) -> None:
    """Every form of the same clip gives the same result."""
    clip = t.clips[:1]
    strided = torch.stack([clip[0], clip[0]], 1)[:, 0]
    for given in (clip[:, None], clip.cpu().numpy(), clip[0].double(), strided):
        t.same(f"a {type(given).__name__} {tuple(given.shape)}", t.explainer.explain(given), clip=0)


def targets(t: Trial) -> None:
    """Every form of the same target gives the same result, and a wrong one is a TargetError."""
    size, classes = t.whole.scores.input.shape
    k = classes - 1
    expected = t.explainer.explain(t.clips, k)
    members = torch.zeros(size, classes, dtype=torch.bool)
    members[:, k] = True
    forms: list[Any] = [np.int64(k), [k] * size, torch.full((size,), k), members, lambda logits: logits[:, k]]
    if t.explainer.classifier.labels is not None:
        forms.append(t.explainer.classifier.labels[k])
    for form in forms:
        mask = t.explainer.explain(t.clips, form).mask
        gap = float((mask - expected.mask).abs().max())
        require(gap <= t.tolerance, f"target={form!r}: mask differs by {gap:.2g} from target={k}")
    for one, target in zip(t.explainer.explain_all(t.clips, [k, None]), (k, None), strict=True):
        t.same(f"explain_all, target={target}", one, expected if target == k else None)
    for wrong in (1.5, [0] * (size + 1), " ", classes, torch.zeros(size)):
        refused(t, TargetError, t.clips, wrong)


def seed(t: Trial) -> None:
    """The same seed gives the same result, whatever the global random state."""
    with torch.random.fork_rng(devices=[]), numpy_state():
        torch.manual_seed(123)
        np.random.seed(123)
        other = t.explainer.explain(t.clips)
    if t.whole.mask.is_cuda:  # where sums may come in another order
        t.same("a second run", other)
    else:
        require(torch.equal(other.mask, t.whole.mask), "a second run gives another mask")


def grad_modes(t: Trial) -> None:
    """The caller's gradient mode does not matter."""
    with torch.no_grad():
        t.same("under no_grad", t.explainer.explain(t.clips))
    with torch.inference_mode():
        t.same("under inference_mode", t.explainer.explain(t.clips.clone()))


def silence(t: Trial) -> None:
    """Silence gives a finite mask, no sound and finite probabilities."""
    result = t.explainer.explain(torch.zeros_like(t.clips[:2]))
    require(bool(torch.isfinite(result.mask).all()), "the mask of silence is not finite")
    require(float(result.waveform.abs().max()) < 1e-4, "the explanation of silence sounds")
    for probs in result.scores:
        require(bool(torch.isfinite(probs).all()), "probabilities of silence are not finite")


def lengths(t: Trial) -> None:
    """Clips shorter than a window and of odd lengths: a finite result, or an error that names a way out."""
    for samples in (1, 50, 401, t.clips.shape[1] - 1):
        try:
            result = t.explainer.explain(t.clips[:1, :samples])
        except AudioXAIError as error:
            require("pad" in str(error), f"{samples} samples: the error names no way out: {error}")
            continue
        require(
            result.waveform.shape == (1, samples), f"{samples} samples: the sound is {tuple(result.waveform.shape)}"
        )
        require(bool(torch.isfinite(result.mask).all()), f"{samples} samples: the mask is not finite")


def bad_input(t: Trial) -> None:
    """NaN, infinity, integers, stereo and empty batches are an InputError."""
    clip = t.clips[:1]
    wrong: list[Any] = [
        torch.full_like(clip, float("nan")),
        torch.full_like(clip, float("inf")),
        (clip * 32767).short(),
        torch.stack([clip, clip], 1),
        clip[:, :0],
        clip[:0],
        None,
        ["a", "b"],
    ]
    for given in wrong:
        refused(t, InputError, given, None)


def rates(t: Trial) -> None:
    """A clip at another rate is resampled, as the caller would."""
    from audioxai.sound.dsp import resample

    rate = t.explainer.classifier.sample_rate
    clip = torch.randn(1, 2 * t.clips.shape[1], generator=torch.Generator().manual_seed(1)) * 0.1
    given = t.explainer.explain(clip, sample_rate=2 * rate)
    t.same(f"a clip at {2 * rate} Hz", given, t.explainer.explain(resample(clip, 2 * rate, rate)))
