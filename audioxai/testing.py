"""The promises of the interface, as checks that any explainer can be put through.

>>> from audioxai.testing import check_explainer
>>> check_explainer(MyExplainer(classifier))  # doctest: +SKIP
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audioxai.classifiers.latents import PROBE_SECONDS
from audioxai.errors import AudioXAIError, ConfigError, InputError, TargetError, nearest
from audioxai.explainers.base import Explainer
from audioxai.explainers.explanation import Explanation

__all__ = ["CHECKS", "check_explainer"]


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
    trial = _Trial(explainer, clips, tolerance)
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


class _Trial:
    """An explainer, clips, and what it says of them."""

    def __init__(self, explainer: Explainer, clips: Tensor, tolerance: float) -> None:
        self.explainer, self.clips, self.tolerance = explainer, clips, tolerance
        self.whole: Explanation = explainer.explain(clips)

    def same(self, what: str, other: Explanation, expected: Explanation | None = None, clip: int | None = None) -> None:
        """Mask, sound and probabilities agree with those of all clips, or of one."""
        expected = self.whole if expected is None else expected
        at = slice(None) if clip is None else slice(clip, clip + 1)
        pairs = {
            "mask": (other.mask, expected.mask[at]),
            "sound": (other.waveform, expected.waveform[at]),
            "sound removed": (other.removed, expected.removed[at]),
        }
        pairs |= {
            f"scores.{name}": (getattr(other.scores, name), getattr(expected.scores, name)[at])
            for name in ("input", "kept", "removed")
        }
        for name, (got, wanted) in pairs.items():
            _require(got.shape == wanted.shape, f"{what}: {name} is {tuple(got.shape)}, not {tuple(wanted.shape)}")
            gap = float((got - wanted).abs().max())
            _require(gap <= self.tolerance, f"{what}: {name} differs by {gap:.2g}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


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


def _result(t: _Trial) -> None:
    """Shapes, ranges and names of the result."""
    result, space = t.whole, t.explainer.space
    values = space.analyse(t.clips.to(t.explainer.classifier.device)).values
    mask, waveform = result
    _require(
        mask.shape == values.shape, f"the mask is {tuple(mask.shape)}; the space's values are {tuple(values.shape)}"
    )
    _require(bool(torch.isfinite(mask).all()), "the mask is not finite")
    _require(bool(((mask >= 0) & (mask <= 1)).all()), f"the mask runs from {float(mask.min())} to {float(mask.max())}")
    for name, sound in (("sound", waveform), ("removed sound", result.removed)):
        _require(sound.shape == t.clips.shape, f"the {name} is {tuple(sound.shape)}, the clips {tuple(t.clips.shape)}")
        _require(bool(torch.isfinite(sound).all()), f"the {name} is not finite")
    for name, probs in zip(("input", "kept", "removed"), result.scores, strict=True):
        _require(bool(((probs >= 0) & (probs <= 1)).all()), f"scores.{name} lie outside [0, 1]")
    _require(result.target is not None, "no target is recorded for the predicted class")
    assert result.target is not None
    _require(result.target.tolist() == result.scores.input.argmax(1).tolist(), "the target is not the predicted class")
    _require(len(result) == len(t.clips) == len(result.target_names), "one entry per clip is missing")
    attribution = t.explainer.attribute(t.clips)
    _require(attribution.shape == values.shape, f"attribute() gives {tuple(attribution.shape)}")
    _require(bool(torch.isfinite(attribution).all()), "the attribution is not finite")


def _max_batch(t: _Trial) -> None:
    """Any ``max_batch`` gives the same result."""
    for rows in (1, len(t.clips) - 1):
        other = copy.copy(t.explainer)
        other.max_batch = rows
        t.same(f"max_batch={rows}", other.explain(t.clips))


def _composition(t: _Trial) -> None:
    """A clip's result does not depend on the other clips of the batch."""
    last = len(t.clips) - 1
    t.same("a clip alone", t.explainer.explain(t.clips[last]), clip=last)
    shuffled = t.explainer.explain(t.clips.flip(0))
    gap = float((shuffled.mask.flip(0) - t.whole.mask).abs().max())
    _require(gap <= t.tolerance, f"another order: mask differs by {gap:.2g}")


def _layouts(t: _Trial) -> None:
    """Every form of the same clip gives the same result."""
    clip = t.clips[:1]
    strided = torch.stack([clip[0], clip[0]], 1)[:, 0]
    for given in (clip[:, None], clip.cpu().numpy(), clip[0].double(), strided):
        t.same(f"a {type(given).__name__} {tuple(given.shape)}", t.explainer.explain(given), clip=0)


def _targets(t: _Trial) -> None:
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
        _require(gap <= t.tolerance, f"target={form!r}: mask differs by {gap:.2g} from target={k}")
    for one, target in zip(t.explainer.explain_all(t.clips, [k, None]), (k, None), strict=True):
        t.same(f"explain_all, target={target}", one, expected if target == k else None)
    for wrong in (1.5, [0] * (size + 1), " ", classes, torch.zeros(size)):
        _refused(t, TargetError, t.clips, wrong)


def _seed(t: _Trial) -> None:
    """The same seed gives the same result, whatever the global random state."""
    with torch.random.fork_rng(devices=[]), _numpy_state():
        torch.manual_seed(123)
        np.random.seed(123)
        other = t.explainer.explain(t.clips)
    if t.whole.mask.is_cuda:  # where sums may come in another order
        t.same("a second run", other)
    else:
        _require(torch.equal(other.mask, t.whole.mask), "a second run gives another mask")


def _untouched(t: _Trial) -> None:
    """The caller's network and random state are as they were, after an exception too."""
    network = t.explainer.classifier.network
    modes = [(module, module.training) for module in network.modules()]
    parameters = list(network.parameters())
    kept = [(p.requires_grad, p.grad) for p in parameters]
    try:
        network.train()
        for parameter in parameters:
            parameter.requires_grad_(True)
            parameter.grad = torch.ones_like(parameter)
        state = {name: value.clone() for name, value in network.state_dict().items()}
        attributes = {name: set(vars(module)) for name, module in network.named_modules()}
        hooked = {name: _hooks(module) for name, module in network.named_modules()}
        draws = _torchs(t), _numpys()
        for target in (None, t.whole.scores.input.shape[1]):
            when = "after an exception" if target else "after explain()"
            try:
                t.explainer.explain(t.clips, target).scores  # noqa: B018 - computed on demand
            except TargetError:
                _require(target is not None, "the predicted class is refused")
            _require(all(module.training for module in network.modules()), f"{when}: the mode has changed")
            _require(all(p.requires_grad for p in parameters), f"{when}: requires_grad has changed")
            for parameter in parameters:
                untouched = parameter.grad is not None and torch.equal(parameter.grad, torch.ones_like(parameter))
                _require(untouched, f"{when}: gradients have changed")
            for name, module in network.named_modules():
                _require(_hooks(module) == hooked[name], f"{when}: a hook is left on {name!r}")
                left = set(vars(module)) - attributes[name]
                _require(not left, f"{when}: attributes {sorted(left)} are left on {name!r}")
            for name, value in network.state_dict().items():
                _require(torch.equal(value, state[name]), f"{when}: {name} has changed")
            _require(torch.equal(_torchs(t), draws[0]), f"{when}: torch's random state has changed")
            _require(_numpys() == draws[1], f"{when}: NumPy's random state has changed")
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, (flag, gradient) in zip(parameters, kept, strict=True):
            parameter.requires_grad_(flag)
            parameter.grad = gradient


def _hooks(module: torch.nn.Module) -> list[int]:
    """The numbers of a module's hooks; it may have some of its own."""
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return [number for kind in kinds for number in kind]


def _grad_modes(t: _Trial) -> None:
    """The caller's gradient mode does not matter."""
    with torch.no_grad():
        t.same("under no_grad", t.explainer.explain(t.clips))
    with torch.inference_mode():
        t.same("under inference_mode", t.explainer.explain(t.clips.clone()))


def _silence(t: _Trial) -> None:
    """Silence gives a finite mask, no sound and finite probabilities."""
    result = t.explainer.explain(torch.zeros_like(t.clips[:2]))
    _require(bool(torch.isfinite(result.mask).all()), "the mask of silence is not finite")
    _require(float(result.waveform.abs().max()) < 1e-4, "the explanation of silence sounds")
    for probs in result.scores:
        _require(bool(torch.isfinite(probs).all()), "probabilities of silence are not finite")


def _lengths(t: _Trial) -> None:
    """Clips shorter than a window and of odd lengths: a finite result, or an error that names a way out."""
    for samples in (1, 50, 401, t.clips.shape[1] - 1):
        try:
            result = t.explainer.explain(t.clips[:1, :samples])
        except AudioXAIError as error:
            _require("pad" in str(error), f"{samples} samples: the error names no way out: {error}")
            continue
        _require(
            result.waveform.shape == (1, samples), f"{samples} samples: the sound is {tuple(result.waveform.shape)}"
        )
        _require(bool(torch.isfinite(result.mask).all()), f"{samples} samples: the mask is not finite")


def _bad_input(t: _Trial) -> None:
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
        _refused(t, InputError, given, None)


def _rates(t: _Trial) -> None:
    """A clip at another rate is resampled, as the caller would."""
    from audioxai.sound.dsp import resample

    rate = t.explainer.classifier.sample_rate
    clip = torch.randn(1, 2 * t.clips.shape[1], generator=torch.Generator().manual_seed(1)) * 0.1
    given = t.explainer.explain(clip, sample_rate=2 * rate)
    t.same(f"a clip at {2 * rate} Hz", given, t.explainer.explain(resample(clip, 2 * rate, rate)))


def _refused(t: _Trial, kind: type[AudioXAIError], given: Any, target: Any) -> None:
    what = f"target={target!r}" if target is not None else repr(given)[:60]
    try:
        t.explainer.explain(given, target)
    except kind:
        return
    raise AssertionError(f"{what} is accepted; it should be a {kind.__name__}")


def _torchs(t: _Trial) -> Tensor:
    device = t.explainer.classifier.device
    states = [torch.random.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
    return torch.cat(states)


def _numpys() -> str:
    return repr(np.random.get_state(legacy=False))


@contextmanager
def _numpy_state() -> Iterator[None]:
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


#: Name to check. Each takes the explainer with clips, and raises an AssertionError that says what is broken.
CHECKS: dict[str, Callable[[_Trial], None]] = {
    "result": _result,
    "max_batch": _max_batch,
    "composition": _composition,
    "layouts": _layouts,
    "targets": _targets,
    "seed": _seed,
    "untouched": _untouched,
    "grad modes": _grad_modes,
    "silence": _silence,
    "lengths": _lengths,
    "bad input": _bad_input,
    "rates": _rates,
}
