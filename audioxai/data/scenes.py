"""Synthetic sound scenes whose parts, and so the right explanation, are known.

A scene is a sum of named events over background noise, with the exact stem of each. The ten classes differ in
frequency and in rhythm, so a small network can learn them and a mask in time and frequency can pull them apart.
All is made on the fly from a seed; nothing is stored and no global random state is read or changed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from audioxai.errors import ConfigError, nearest

__all__ = ["EVENTS", "Scene", "SceneDataset", "make_event", "make_scene"]


class _Sketch:
    """Time, random draws and building blocks for one event of n samples; float64, so that late phases stay exact."""

    def __init__(self, samples: int, sample_rate: int, generator: torch.Generator) -> None:
        self.rate, self.top, self.generator = sample_rate, 0.45 * sample_rate, generator
        self.index = torch.arange(samples)
        self.time = self.index.double() / sample_rate

    def uniform(self, low: float, high: float) -> float:
        return _uniform(low, high, self.generator)

    def pulses(self, period: float, jitter: float = 0.0) -> tuple[Tensor, Tensor]:
        """Seconds since the last onset (n,) and its number (n,); onset k > 0 is 0 to jitter after k, in periods."""
        samples = len(self.index)
        count = math.ceil(samples / (period * self.rate)) + 1
        late = torch.rand(count, generator=self.generator, dtype=torch.float64) * jitter
        starts = ((torch.arange(count) + late) * period * self.rate).long().clamp(max=samples)
        starts[0], starts[-1] = 0, samples
        number = _apply(np.arange(count - 1).repeat, starts.diff())
        start = _apply(starts[:-1].numpy().repeat, starts.diff())
        return (self.index - start).double() / self.rate, number

    def noise(self, shape: Callable[[Tensor], Tensor]) -> Tensor:
        """Gaussian noise (n,) of unit energy whose amplitude spectrum is ``shape(Hz)``."""
        length = 1 << (len(self.index) - 1).bit_length()  # a power of two, then cut: fast at any length
        hz = torch.arange(length // 2 + 1) * (self.rate / length)
        spectrum = torch.randn(len(hz), generator=self.generator, dtype=torch.complex64) * shape(hz)
        noise = _apply(np.fft.irfft, spectrum)[: len(self.index)].float()
        return noise / _rms(noise)

    def band(self, low: float, high: float) -> Tensor:
        """Noise (n,) of unit energy between two frequencies in Hz, with edges a tenth wide."""
        return self.noise(lambda hz: torch.minimum(hz / low - 0.9, 1.1 - hz / high).mul(10).clamp(0, 1))


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _to_level(waveform: Tensor, generator: torch.Generator) -> float:
    """Factor that gives a waveform a random peak of -12 to -0.1 dB; the headroom absorbs rounding."""
    return float(10 ** (_uniform(-12.0, -0.1, generator) / 20)) / float(waveform.abs().max())


def _rms(waveform: Tensor) -> float:
    """Root mean square of (T,), in float64 so that the number of threads leaves no trace."""
    return math.sqrt(float(waveform.double().square().mean()))


def _apply(function: Callable[..., Any], values: Tensor) -> Tensor:
    """A function of NumPy, since on so short arrays torch may wait for its threads longer than it computes."""
    return torch.from_numpy(function(values.numpy()))


def _tone(cycles: Tensor) -> Tensor:
    """Sine of a phase in cycles; (n,) float64 to float32."""
    return _apply(np.sin, (cycles.frac() * (2 * math.pi)).float())


def _voice(cycles: Tensor, *weights: float) -> Tensor:
    """Harmonics 1, 2, ... of a phase in cycles, with the given weights; (n,) float32."""
    return reduce(torch.add, [weight * _tone((k + 1) * cycles) for k, weight in enumerate(weights)])


def _decay(age: Tensor, seconds: float, attack: float = 0.001) -> Tensor:
    """Exponential decay by a factor e in ``seconds`` after a linear ``attack``; (n,) float32."""
    since = age.float()
    return (since / attack).clamp(max=1.0) * _apply(np.exp, (-since / seconds).clamp(min=-30.0))  # no denormals


def _hump(age: Tensor, seconds: float) -> Tensor:
    """Half a sine over ``seconds``, then silence; (n,) float32."""
    return _apply(np.sin, (age / seconds).clamp(max=1.0).float() * math.pi).clamp(min=0.0)


def _siren(s: _Sketch) -> Tensor:  # a tone that wails up and down around 1 kHz
    centre, octaves, period = s.uniform(850, 1150), s.uniform(0.35, 0.5), s.uniform(0.5, 0.9)
    sweep = _tone(s.time / period + s.uniform(0, 1)).double()
    return _voice((centre / s.rate * torch.exp2(octaves * sweep)).cumsum(0), 1.0, 0.3)


def _beeps(s: _Sketch) -> Tensor:  # a pure, steady tone around 2.2 kHz, on and off
    hz, period, duty = s.uniform(1900, 2500), s.uniform(0.2, 0.32), s.uniform(0.5, 0.6)
    age, _ = s.pulses(period)
    gate = (age.float() / 0.005).clamp(max=1.0) * ((period * duty - age.float()) / 0.005).clamp(0.0, 1.0)
    return _tone(hz * s.time) * gate


def _bark(s: _Sketch) -> Tensor:  # short, rough, falling harmonic bursts from 300 Hz up to 2 kHz, at uneven times
    hz, length = s.uniform(330, 460), s.uniform(0.12, 0.18)
    age, _ = s.pulses(s.uniform(0.3, 0.45), jitter=0.3)
    cycles = hz * (age + 0.05 * (1 - _apply(np.exp, -age / 0.08)))  # falls from 1.6 hz to hz
    return (_voice(cycles, 0.5, 1.0, 0.9, 0.5) + 0.3 * s.band(700, 1800)) * _hump(age, length)


def _knocks(s: _Sketch) -> Tensor:  # dull blows on wood around 300 Hz, in threes
    hz, ring = s.uniform(250, 370), s.uniform(0.02, 0.035)
    age, number = s.pulses(s.uniform(0.14, 0.2), jitter=0.1)
    blow = _tone(hz * age) * _decay(age, ring) + 0.5 * _tone(2.3 * hz * age) * _decay(age, 0.4 * ring)
    return blow * (number % 4 < 3)


def _chirps(s: _Sketch) -> Tensor:  # quick rising whistles of a bird between 3 and 5 kHz, in fours
    high = min(s.uniform(4200, 5000), s.top)
    low, length = high * s.uniform(0.68, 0.75), s.uniform(0.06, 0.09)
    age, number = s.pulses(s.uniform(1.4, 1.8) * length, jitter=0.1)
    run = age.clamp(max=length)
    return _tone(low * run + (high - low) / (2 * length) * run.square()) * _hump(age, length) * (number % 5 < 4)


def _hum(s: _Sketch) -> Tensor:  # a steady hum of a transformer: two to three harmonics below 250 Hz
    return _voice(s.uniform(70, 105) * s.time, 0.8, 1.0, 0.3) * (1 + 0.15 * _tone(s.uniform(1, 3) * s.time))


def _hiss(s: _Sketch) -> Tensor:  # long soft bursts of high noise, as of steam
    high, period = min(s.uniform(6800, 7800), s.top), s.uniform(0.35, 0.6)
    age, _ = s.pulses(period)
    return s.band(0.68 * high, high) * _hump(age, 0.75 * period)


def _ticks(s: _Sketch) -> Tensor:  # a clock: clicks of a few milliseconds, wide in frequency, tick and tock in turn
    hz, ring = s.uniform(2800, 3400), s.uniform(0.002, 0.003)
    age, number = s.pulses(s.uniform(0.12, 0.24))
    click = _tone(hz * (1 - 0.25 * (number % 2)) * age) + 0.8 * s.band(1200, min(6000.0, s.top))
    return click * _decay(age, ring, attack=0.0003)


def _bell(s: _Sketch) -> Tensor:  # struck metal: up to three inharmonic partials from 700 Hz up that ring on
    hz, ring = s.uniform(620, 800), s.uniform(0.35, 0.6)
    age, _ = s.pulses(s.uniform(0.6, 0.9))
    parts = ((1.0, 1.0, 1.0), (2.76, 0.9, 0.7), (5.4, 0.5, 0.45))  # a free bar's ratios; weight, share of the ring
    return reduce(torch.add, [w * _tone(r * hz * age) * _decay(age, d * ring) for r, w, d in parts if r * hz < s.top])


def _engine(s: _Sketch) -> Tensor:  # rough noise below 1 kHz that throbs 20 to 32 times a second
    low, firing = s.uniform(330, 430), s.uniform(20, 32)
    cycles = firing * (s.time + 0.02 * _tone(s.uniform(0.5, 1.5) * s.time).double())
    return s.band(low, low * s.uniform(1.8, 2.1)) * (0.08 + (0.5 + 0.5 * _tone(cycles)).square())


_MAKERS: dict[str, Callable[[_Sketch], Tensor]] = {
    maker.__name__[1:]: maker
    for maker in (_siren, _beeps, _bark, _knocks, _chirps, _hum, _hiss, _ticks, _bell, _engine)
}

EVENTS: tuple[str, ...] = tuple(_MAKERS)
"""Names of the K = 10 event classes; a class index is a place in this tuple."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A sound scene and its exact parts: waveform = stems.sum(0) + background, to the bit."""

    waveform: Tensor  # (T,) float32 with a peak below 1
    stems: Tensor  # (E, T), one per event
    background: Tensor  # (T,), noise
    classes: tuple[int, ...]  # E indices into EVENTS, in the order of the stems
    sample_rate: int  # in Hz

    @property
    def names(self) -> tuple[str, ...]:
        """The E classes by name."""
        return tuple(EVENTS[c] for c in self.classes)


def make_event(name: str, *, seconds: float, sample_rate: int, generator: torch.Generator) -> Tensor:
    """One event alone, with random pitch, rhythm, onset, length and level.

    It starts in the first 30 % of the clip and lasts for at least 60 % of it; short sounds repeat.

    Args:
        name: one of :data:`EVENTS`.
        seconds: length of the clip, at least 0.25.
        sample_rate: in Hz, at least 8000. Pitches stay as they are at any rate, as far as half of it allows.
        generator: source of all random draws, on the CPU.

    Returns:
        (T,) float32 with T = round(seconds * sample_rate) and a peak between -12 and 0 dB.
    """
    samples = _samples(seconds, sample_rate)
    maker = _MAKERS[EVENTS[_class_index(name)]]
    onset = _uniform(0.0, 0.3, generator)
    length = _uniform(0.6, 1.0 - onset, generator)
    start, active = int(onset * samples), int(length * samples)
    sound = maker(_Sketch(active, sample_rate, generator))
    fade = int(0.01 * sample_rate)  # no click where the clip or the event ends
    sound[-fade:] *= torch.linspace(1, 0, fade)
    event = torch.zeros(samples)
    event[start : start + active] = sound * _to_level(sound, generator)
    return event


def make_scene(
    events: Sequence[str | int], *, seconds: float = 2.0, sample_rate: int = 16000, snr: float = 20.0, seed: int
) -> Scene:
    """A scene of one or more different events over background noise.

    The events have equal energy up to 3 dB between any two. The background is noise of a random tilt between white
    and pink. The whole is scaled to a random peak between -12 and 0 dB.

    Args:
        events: E names or class indices, all different.
        seconds: length of the clip, at least 0.25.
        sample_rate: in Hz, at least 8000.
        snr: mean energy of the events over that of the background in dB; ``math.inf`` for no background.
        seed: the same seed and arguments give the same scene.

    Raises:
        ConfigError: no events, an unknown or repeated one, or an option out of range.
    """
    if isinstance(events, str):
        raise ConfigError(f"events={events!r} is one name, not a list of names; pass [{events!r}]")
    classes = tuple(_class_index(event) for event in events)
    if not classes:
        raise ConfigError(f"events={events!r} is empty; name at least one of {', '.join(map(repr, EVENTS))}")
    if len(set(classes)) < len(classes):
        raise ConfigError(f"events={list(events)!r} names a class more than once; the events of a scene must differ")
    if not snr >= -100.0:
        raise ConfigError(f"snr={snr!r} dB must be -100 or more; use such as 20.0, or math.inf for no background")
    return _compose(classes, seconds, sample_rate, snr, torch.Generator().manual_seed(_scramble(_whole(seed, "seed"))))


def _compose(classes: tuple[int, ...], seconds: float, rate: int, snr: float, generator: torch.Generator) -> Scene:
    parts = [make_event(EVENTS[c], seconds=seconds, sample_rate=rate, generator=generator) for c in classes]
    levels = [_uniform(-1.5, 1.5, generator) if len(classes) > 1 else 0.0 for _ in classes]  # dB
    for part, level in zip(parts, levels, strict=True):
        part *= 10 ** (level / 20) / _rms(part)
    energy = sum(10 ** (level / 10) for level in levels) / len(levels)
    tilt = _uniform(0.0, 0.5, generator)
    sketch = _Sketch(len(parts[0]), rate, generator)
    background = sketch.noise(lambda hz: _apply(lambda f: (f > 40) * np.maximum(f, 40) ** -tilt, hz))
    parts.append(background * (math.sqrt(energy) * 10 ** (-snr / 20)))
    scale = _to_level(reduce(torch.add, parts), generator)
    *events, background = (part * scale for part in parts)
    stems = torch.stack(events)
    # Summed after the scaling and just as a user would, so that it holds to the bit; two have but one order.
    mixture = stems.sum(0) if len(events) > 2 else reduce(torch.add, events)
    return Scene(mixture + background, stems, background, classes, rate)


class SceneDataset(Dataset[tuple[Tensor, "int | Tensor"]]):
    """Scenes of random events, made when asked for; item i depends on the options, ``seed`` and i alone.

    Items are (waveform (T,), class index) for one event a scene, else (waveform (T,), bool (K,), True for its events).

    Args:
        length: number of scenes.
        events: number E of different events in each, at most 10.
        seconds: length of a clip, at least 0.25.
        sample_rate: in Hz, at least 8000.
        seed: data sets of different seeds share no scenes, but for rare chance.
        snr: lowest and highest ratio of event to background in dB; each scene draws its own.
    """

    def __init__(
        self,
        length: int,
        *,
        events: int = 1,
        seconds: float = 2.0,
        sample_rate: int = 16000,
        seed: int = 0,
        snr: tuple[float, float] = (10.0, 30.0),
    ) -> None:
        self.length, self.events, self.seed = _whole(length, "length"), _whole(events, "events"), _whole(seed, "seed")
        if self.length < 0:
            raise ConfigError(f"length={length!r} is negative; pass the number of scenes")
        if not 1 <= self.events <= len(EVENTS):
            raise ConfigError(f"events={events!r} must be a number from 1 to {len(EVENTS)}, the number of classes")
        if not isinstance(snr, Sequence) or len(snr) != 2 or not -100.0 <= snr[0] <= snr[1] < math.inf:
            raise ConfigError(f"snr={snr!r} must be two numbers in dB from -100 up, lower first, like (10.0, 30.0)")
        _samples(seconds, sample_rate)
        self.seconds, self.sample_rate, self.snr = seconds, sample_rate, (float(snr[0]), float(snr[1]))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        scene = self.scene(index)
        if self.events == 1:
            return scene.waveform, scene.classes[0]
        return scene.waveform, torch.tensor([k in scene.classes for k in range(len(EVENTS))])

    def scene(self, index: int) -> Scene:
        """Scene number ``index`` with its stems; its waveform is that of the item."""
        place = index + self.length if index < 0 else index
        if not 0 <= place < self.length:  # IndexError, since plain iteration stops on it
            raise IndexError(f"scene {index} is outside this data set of {self.length}; use 0 to {self.length - 1}")
        # The generator keeps 32 bits of a seed; a scramble that is one-to-one on them keeps all items apart.
        generator = torch.Generator().manual_seed(_scramble(_scramble(self.seed) + place))
        classes = tuple(torch.randperm(len(EVENTS), generator=generator)[: self.events].tolist())
        return _compose(classes, self.seconds, self.sample_rate, _uniform(*self.snr, generator), generator)


def _scramble(number: int) -> int:
    """A one-to-one map of 32-bit numbers that scatters neighbours."""
    number = (number & 0xFFFFFFFF) * 0x9E3779B1 & 0xFFFFFFFF
    return number ^ number >> 16


def _samples(seconds: float, sample_rate: int) -> int:
    if not 0.25 <= seconds < math.inf:
        raise ConfigError(f"seconds={seconds!r} is out of range; a clip needs at least 0.25 seconds")
    if _whole(sample_rate, "sample_rate") < 8000:
        raise ConfigError(f"sample_rate={sample_rate!r} is too low for the events; use at least 8000 Hz")
    return round(seconds * sample_rate)


def _class_index(event: str | int) -> int:
    if isinstance(event, str):
        if event not in _MAKERS:
            raise ConfigError(f"event {event!r} is not known; the nearest names are {nearest(event, EVENTS)}")
        return EVENTS.index(event)
    index = _whole(event, "event")
    if not 0 <= index < len(EVENTS):
        raise ConfigError(f"event {event!r} is not a class index; use 0 to {len(EVENTS) - 1} or a name of EVENTS")
    return index


def _whole(value: object, name: str) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ConfigError(f"{name}={value!r} is not a whole number; pass an int") from None
