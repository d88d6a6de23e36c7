"""What a listening test plays: for each clip its explanations, a hidden reference and a low anchor, equally loud."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from audioxai.errors import ConfigError, InputError
from audioxai.report.plot import Heard
from audioxai.sound.dsp import resample
from audioxai.sound.loudness import loudness

__all__ = ["ANCHOR", "REFERENCE", "Stimulus", "Trial", "low_anchor", "make_trials", "matched_gains"]

REFERENCE, ANCHOR = "hidden reference", "low anchor"

_MOST_METHODS = 10  # with the two above, the twelve signals that BS.1534 allows in a trial
_LEVEL = -23.0  # LUFS
_PEAK = 10 ** (-1 / 20)  # no sample is above -1 dB
_MOST_RAISED = 30.0  # dB against the reference
_ANCHOR_HZ, _ANCHOR_SNR = 3500.0, 13.0


@dataclass(frozen=True)
class Stimulus:
    """A sound to be rated: what it is, its samples (T,) as they are played, and the gain in dB that is in them."""

    id: str
    kind: Literal["reference", "anchor", "method"]
    method: str
    wave: Tensor
    gain: float


@dataclass(frozen=True)
class Trial:
    """One clip: all of its sounds have the same length and, as far as gains may go, the same loudness in LUFS."""

    id: str
    clip: str
    target: str
    sample_rate: int
    level: float
    anchor: str
    reference: Tensor
    stimuli: list[Stimulus]


@dataclass(frozen=True)
class _Clip:
    """One clip and what one method keeps of it; (T,) each."""

    name: str
    target: str
    sample_rate: int
    input: Tensor
    kept: Tensor


def make_trials(
    explanations: Mapping[str, Heard | Sequence[Heard]], *, seed: int = 0
) -> tuple[str, list[Trial], list[str]]:
    """Trials in an order that says nothing, with ids that say nothing.

    Args:
        explanations, seed: see :func:`audioxai.listening.listening_test`, also for the errors.

    Returns:
        The test's own id, which depends on every sound; the trials; what whoever runs the test must know.
    """
    _check_names(list(explanations))
    methods = {name: _clips(name, given) for name, given in explanations.items()}
    clips = _same_clips(methods)
    rng = random.Random(f"{seed}")
    numbers = rng.sample(range(16**9, 16**10), len(clips) * (len(methods) + 3))
    ids = iter([f"{number:x}" for number in numbers])
    trials, notes = [], []
    for i, clip in enumerate(clips):
        other = _other(clips, i, rng)
        source = clip if other is None else other
        if other is None:
            notes.append(
                f"the low anchor of clip {clip.name!r} is made of the clip itself, since no other clip has another "
                "target: it is low in quality, but perhaps not in relevance"
            )
        noise = torch.randn(len(clip.input), generator=torch.Generator().manual_seed(rng.getrandbits(32)))
        anchor = low_anchor(_fitted(source, clip), clip.sample_rate, noise)
        kinds: list[tuple[Literal["reference", "anchor", "method"], str, Tensor]] = [
            ("reference", REFERENCE, clip.input),
            ("anchor", ANCHOR, anchor),
            *(("method", name, found[i].kept) for name, found in methods.items()),
        ]
        level, gains, quiet = matched_gains([wave for _, _, wave in kinds], clip.sample_rate)
        notes += [
            f"{kinds[k][1]}: its sound of clip {clip.name!r} is more than {_MOST_RAISED:g} dB quieter than the clip, "
            "and still quieter than the others after it was raised by that"
            for k in quiet
        ]
        stimuli = [
            Stimulus(next(ids), kind, name, wave * 10 ** (gain / 20), gain)
            for (kind, name, wave), gain in zip(kinds, gains, strict=True)
        ]
        reference = stimuli[0].wave
        stimuli.sort(key=lambda stimulus: stimulus.id)
        trials.append(
            Trial(next(ids), clip.name, clip.target, clip.sample_rate, level, source.name, reference, stimuli)
        )
    trials.sort(key=lambda trial: trial.id)
    return _digest(trials), trials, notes


def low_anchor(waveform: Tensor, sample_rate: int, noise: Tensor) -> Tensor:
    """Low-passed at 3.5 kHz (a quarter of the rate, if that is lower), plus noise 13 dB below the sound; (T,) each."""
    from scipy.signal import butter, sosfilt

    cutoff = min(_ANCHOR_HZ, sample_rate / 4)
    filtered = sosfilt(butter(8, cutoff, fs=sample_rate, output="sos"), waveform.double().numpy())
    hiss: Tensor = noise * waveform.norm() / noise.norm() * 10 ** (-_ANCHOR_SNR / 20)
    return hiss + torch.from_numpy(filtered).float()


def matched_gains(waves: Sequence[Tensor], sample_rate: int) -> tuple[float, list[float], list[int]]:
    """Gains that make sounds (T,) as loud as the first of them.

    All are brought to -23 LUFS (:func:`loudness`), or to what leaves every peak below -1 dB; but a
    sound is raised by no more than 30 dB above the first, so that what is all but silent stays so.

    Returns:
        The level in LUFS, one gain per sound in dB, and which sounds stay quieter.
    """
    levels = [loudness(wave, sample_rate) for wave in waves]
    raised = [min(levels[0] - level, _MOST_RAISED) for level in levels]
    peaks = [float(wave.abs().max()) for wave in waves]
    rooms = [20 * math.log10(_PEAK / peak) - up for peak, up in zip(peaks, raised, strict=True) if peak > 0]
    first = min(_LEVEL - levels[0], *rooms)
    quiet = [k for k, level in enumerate(levels) if levels[0] - level > _MOST_RAISED]
    return levels[0] + first, [first + up for up in raised], quiet


def _check_names(names: list[str]) -> None:
    if len(names) < 2:
        raise ConfigError(f"a listening test compares at least two methods; got {names or 'none'}")
    if len(names) > _MOST_METHODS:
        raise ConfigError(
            f"{len(names)} methods are too many to rate side by side; give at most {_MOST_METHODS}, or make two tests"
        )
    seen: set[str] = set()
    for name in names:
        plain = " ".join(str(name).split()).casefold()
        if not plain or plain in (REFERENCE, ANCHOR):
            raise ConfigError(f"{name!r} cannot name a method: choose another name than {REFERENCE!r} and {ANCHOR!r}")
        if plain in seen:
            raise ConfigError(f"two methods are named {name!r}; give each a name of its own")
        seen.add(plain)


def _clips(method: str, given: Heard | Sequence[Heard]) -> list[_Clip]:
    """The clips of one method, on the CPU, checked one by one."""
    found = []
    for part in given if isinstance(given, Sequence) else [given]:
        for i in range(len(part)):
            sound, kept = (wave[i].detach().float().cpu() for wave in (part.input, part.waveform))
            clip = _Clip(part.names[i], part.target_names[i], part.sample_rate, sound, kept)
            where = f"{method}: clip {clip.name!r}"
            if not (torch.isfinite(sound).all() and torch.isfinite(kept).all()):
                raise InputError(f"{where} holds NaN or infinite samples; explain it again")
            if kept.shape != sound.shape:
                raise InputError(
                    f"{where} has {len(sound)} samples and its explanation {len(kept)}; they must be equally long"
                )
            if loudness(sound, part.sample_rate) == -math.inf:
                raise InputError(f"{where} is silent (below -70 LUFS); leave it out")
            found.append(clip)
    if not found:
        raise InputError(f"{method} has no clip; give at least one explanation that holds a clip")
    return found


def _same_clips(methods: dict[str, list[_Clip]]) -> list[_Clip]:
    """The clips of the first method, which must be those of every other."""
    (first, clips), *others = methods.items()
    for name, found in others:
        if len(found) != len(clips) or sorted(c.name for c in found) != sorted(c.name for c in clips):
            mine, theirs = {c.name for c in clips}, {c.name for c in found}
            sides = ((name, mine - theirs), (first, theirs - mine))
            lacking = [f"{who} lacks {sorted(names)[:3]}" for who, names in sides if names]
            raise InputError(
                f"{first} has {len(clips)} clip(s) and {name} {len(found)}; {'; '.join(lacking) or 'some twice'}. "
                "Explain the same clips with every method"
            )
        for ours, other in zip(clips, found, strict=True):
            for what, a, b in (
                ("clip", ours.name, other.name),
                ("target", ours.target, other.target),
                ("rate", ours.sample_rate, other.sample_rate),
                ("length", len(ours.input), len(other.input)),
            ):
                if a != b:
                    raise InputError(
                        f"clip {ours.name!r}: {first} has the {what} {a!r} and {name} {b!r}; "
                        "explain the same clips, in the same order, for the same targets"
                    )
            if not torch.allclose(ours.input, other.input, atol=1e-4):
                raise InputError(f"clip {ours.name!r} is not the same sound for {first} and {name}")
    return clips


def _other(clips: list[_Clip], i: int, rng: random.Random) -> _Clip | None:
    """Another clip, explained for another target, drawn at random; ``None`` if there is none."""
    mine = clips[i]
    others = [
        clip
        for clip in clips
        if clip.target.casefold() != mine.target.casefold()
        and not (clip.input.shape == mine.input.shape and torch.equal(clip.input, mine.input))
    ]
    return rng.choice(others) if others else None


def _fitted(source: _Clip, clip: _Clip) -> Tensor:
    """The sound of ``source`` at the rate and, cut or repeated, in the length of ``clip``."""
    sound = resample(source.input, source.sample_rate, clip.sample_rate)
    return sound.repeat(math.ceil(len(clip.input) / len(sound)))[: len(clip.input)]


def _digest(trials: list[Trial]) -> str:
    """An id that differs when any sound, target or name does."""
    digest = hashlib.sha256()
    for trial in trials:
        digest.update(repr((trial.id, trial.clip, trial.target, trial.sample_rate)).encode())
        for stimulus in trial.stimuli:
            digest.update(repr((stimulus.id, stimulus.method)).encode())
            digest.update(stimulus.wave.numpy().tobytes())
    return digest.hexdigest()[:16]
