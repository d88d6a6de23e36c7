"""The promises of the interface, as checks that any explainer can be put through.

>>> from audioxai.testing import check_explainer
>>> check_explainer(MyExplainer(classifier))  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from audioxai.classifiers.latents import PROBE_SECONDS
from audioxai.errors import AudioXAIError, ConfigError, InputError, nearest
from audioxai.explainers.base import Explainer
from audioxai.testing import results, state
from audioxai.testing.trial import Trial

__all__ = ["CHECKS", "check_explainer"]

#: Name to check. Each takes the explainer with clips, and raises an AssertionError that says what is broken.
CHECKS: dict[str, Callable[[Trial], None]] = {
    "result": results.result,
    "max_batch": results.max_batch,
    "composition": results.composition,
    "layouts": results.layouts,
    "targets": results.targets,
    "seed": results.seed,
    "untouched": state.untouched,
    "identity": state.identity,
    "threads": state.threads,
    "copies": state.copies,
    "half precision": state.half,
    "grad modes": results.grad_modes,
    "silence": results.silence,
    "lengths": results.lengths,
    "bad input": results.bad_input,
    "rates": results.rates,
}


def check_explainer(
    explainer: Explainer,
    waveform: Tensor | None = None,
    *,
    only: Iterable[str] | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Put an explainer through everything that the interface promises.

    Args:
        explainer: fitted, if it needs that. It and its classifier are left as they were.
        waveform: (B, T) clips to explain, B at least 2; default noise of a length that the network takes.
        only: names of some of the :data:`CHECKS`.
        tolerance: largest difference between two masks, sounds or probabilities that count as the same; float32 sums in
            batches of other sizes differ a little, and a network and a division by a small maximum magnify that. On
            CUDA the checks run without TF32, whose ten bits make far larger differences, and with cuDNN's deterministic
            convolutions.

    Raises:
        AssertionError: with every promise that is broken, and how.
        ConfigError: an unknown name in ``only``.
    """
    names = list(CHECKS) if only is None else list(only)
    for name in names:
        if name not in CHECKS:
            raise ConfigError(f"check {name!r} is not known; nearest: {nearest(name, CHECKS)}")
    clips = _noise(explainer) if waveform is None else torch.as_tensor(waveform)
    if clips.ndim != 2 or len(clips) < 2:
        raise InputError(f"the checks need at least two clips (B, T); got {tuple(clips.shape)}")
    trial = Trial(explainer, clips, tolerance)
    broken = []
    with _full_float32():
        for name in names:
            try:
                CHECKS[name](trial)
            except Exception as error:
                kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
                broken.append(f"{name}: {kind}{error}")
    if broken:
        raise AssertionError(
            f"{explainer.name} in {explainer.space.name} space breaks {len(broken)} of {len(names)} promises:\n- "
            + "\n- ".join(broken)
        )


@contextmanager
def _full_float32() -> Iterator[None]:
    """Convolutions on CUDA in all of float32, and always in the same order; neither is the default."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before


def _noise(explainer: Explainer) -> Tensor:
    """Three clips of noise, of the shortest probe length that the network takes."""
    generator = torch.Generator().manual_seed(0)
    for seconds in PROBE_SECONDS:
        clips = 0.1 * torch.randn(3, round(seconds * explainer.classifier.sample_rate), generator=generator)
        try:
            with torch.no_grad(), explainer.classifier.frozen():
                explainer.classifier(clips.to(explainer.classifier.device))
        except AudioXAIError:
            continue
        return clips
    raise InputError(f"the network takes noise of none of {PROBE_SECONDS} s; pass waveform=")
