"""Sentences about sounds, made from labels: many ways to name each sound, and mixtures described by what is in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from audioxai.errors import ConfigError, nearest

__all__ = ["CONCEPTS", "PHRASES", "MixtureCaptions", "concept_of", "describe"]

#: Sound to ways to name it: the ten of ESC-10, and the events of :mod:`audioxai.data.scenes`.
PHRASES: dict[str, tuple[str, ...]] = {
    "chainsaw": (
        "chainsaw", "a chainsaw", "a chainsaw running", "a chain saw cutting wood", "a saw cutting through a tree",
        "someone sawing wood with a chainsaw", "the buzz of a chainsaw", "a chainsaw revving", "a power saw at work",
        "chainsaws felling trees", "a motor saw",
    ),
    "clock_tick": (
        "clock tick", "a clock ticking", "a ticking clock", "the ticks of a clock", "tick tock", "a clock",
        "a wall clock that ticks", "ticking", "clock ticks", "an alarm clock ticking", "the tick of a watch",
    ),
    "crackling_fire": (
        "crackling fire", "a crackling fire", "a fire crackling", "fire", "a campfire", "a fire burning", "a bonfire",
        "flames crackling", "burning wood that crackles", "a fireplace", "logs burning in a fire",
    ),
    "crying_baby": (
        "crying baby", "a baby crying", "a crying baby", "a baby", "a baby that cries", "an infant crying",
        "cries of a baby", "a newborn crying", "a child crying", "a baby wailing", "babies crying", "a sobbing infant",
    ),
    "dog": (
        "dog", "a dog barking", "a barking dog", "a dog", "a dog that barks", "dog barks", "the bark of a dog",
        "dogs barking", "barking", "a puppy barking", "a hound that barks", "woofs of a dog", "barks",
    ),
    "helicopter": (
        "helicopter", "a helicopter", "a helicopter flying", "a helicopter overhead", "the rotor of a helicopter",
        "rotor blades of a helicopter", "a hovering helicopter", "a chopper", "helicopters passing",
        "a helicopter flies by",
    ),
    "rain": (
        "rain", "rain falling", "falling rain", "heavy rain", "rain on a roof", "a rain shower", "it is raining",
        "raindrops", "pouring rain", "a downpour", "rain pattering", "rainfall", "rainy weather",
    ),
    "rooster": (
        "rooster", "a rooster crowing", "a crowing rooster", "a rooster", "a cock crowing", "the crow of a rooster",
        "a rooster that crows", "a cockerel", "cock a doodle doo", "roosters on a farm",
    ),
    "sea_waves": (
        "sea waves", "waves of the sea", "ocean waves", "waves breaking on the shore", "the sea", "the ocean", "surf",
        "waves crashing on a beach", "sea waves rolling", "a beach with waves", "waves",
    ),
    "sneezing": (
        "sneezing", "a person sneezing", "someone sneezing", "a sneeze", "a sneezing man", "a woman who sneezes",
        "sneezes", "somebody sneezes", "a loud sneeze", "achoo",
    ),
    "siren": (
        "siren", "a siren", "a wailing siren", "a siren wailing", "sirens", "the siren of a police car",
        "an ambulance siren", "a fire engine siren",
    ),
    "beeps": (
        "beeps", "beeping", "a beep", "electronic beeps", "a device beeping", "a beeping machine", "an alarm beeping",
        "a series of beeps",
    ),
    "knocks": (
        "knocks", "knocking", "a knock on wood", "knocks on a door", "someone knocking at a door", "a door knock",
        "knocking on wood", "a person knocks",
    ),
    "chirps": (
        "chirps", "chirping", "a bird chirping", "a chirping bird", "birds", "the chirp of a bird", "birdsong",
        "birds singing", "a bird that chirps", "a bird",
    ),
    "hum": (
        "hum", "humming", "a low hum", "the hum of a transformer", "a humming transformer", "an electric hum",
        "mains hum", "a deep hum",
    ),
    "hiss": (
        "hiss", "hissing", "hissing steam", "steam", "a hiss of steam", "steam escaping", "a hissing noise",
        "gas hissing",
    ),
    "bell": (
        "bell", "a bell", "a bell ringing", "a ringing bell", "bells", "the ring of a bell", "a struck bell",
        "a church bell", "metal that rings", "a bell rings",
    ),
    "engine": (
        "engine", "an engine", "an engine running", "a running engine", "a motor", "a car engine", "an idling engine",
        "a throbbing motor", "a diesel engine", "a truck engine",
    ),
}  # fmt: skip

#: Names of the C sounds that can be described; a number of one is a place here.
CONCEPTS: tuple[str, ...] = tuple(PHRASES)

_SAME = {"bark": "dog", "ticks": "clock_tick"}  # events of scenes that imitate a sound of ESC-10

_ONE = (
    "{}", "{}", "the sound of {}", "this is the sound of {}", "this is a sound of {}", "a recording of {}",
    "I hear {}", "there is {}", "sounds of {}", "the noise of {}", "you can hear {}", "{} nearby", "{} in the distance",
    "{} outside", "an audio clip of {}",
)  # fmt: skip
_TWO = (
    "{} over {}", "{} and {}", "{} with {} in the background", "{} together with {}", "{} mixed with {}",
    "{} during {}", "the sound of {} and {}", "{} behind {}", "I hear {} and {}", "{} while there is {}", "{}, {}",
    "a mixture of {} and {}",
)  # fmt: skip


def concept_of(label: str) -> str:
    """The sound that a label of ESC-10 or of a scene names.

    Raises:
        ConfigError: no phrases are known for it.
    """
    concept = _SAME.get(label, label)
    if concept not in PHRASES:
        raise ConfigError(f"no phrases are known for {label!r}; nearest: {nearest(label, [*PHRASES, *_SAME])}")
    return concept


def describe(sounds: Sequence[str], generator: torch.Generator | None = None) -> str:
    """One of the many sentences about one or two sounds: "a dog barking over rain on a roof".

    Args:
        sounds: one or two labels.
        generator: of the draws; default torch's own.
    """
    if len(sounds) not in (1, 2):
        raise ConfigError(f"a sentence is about one or two sounds; got {list(sounds)!r}")

    def draw(several: Sequence[str]) -> str:
        return several[int(torch.randint(len(several), (), generator=generator))]

    sentence = draw(_ONE if len(sounds) == 1 else _TWO)
    for sound in sounds:
        sentence = sentence.replace("{}", draw(PHRASES[concept_of(sound)]), 1)
    return sentence


class MixtureCaptions:
    """Batches of clips and mixtures of two, with sentences about them, for :func:`audioxai.contrastive.train_clap`.

    A piece of a clip holds one of its loud moments, has a level of -40 to -14 dB (root mean square), and noise 20 to
    60 dB below it; the clip's end is followed by its start. Half of the pieces have another sound added, -6 to 6 dB
    louder. The texts of a batch are a sentence about each piece (all of it, or one of two sounds) and one about each
    of the C sounds. A text matches the pieces that have every sound it names. Draws come from torch's own generator.

    Args:
        clips: (N, T) of one sound each.
        labels: N names, see :func:`concept_of`.
        batch: pieces B in a batch.
        batches: in a pass.
        samples: length of a piece; default T.
    """

    def __init__(
        self, clips: Tensor, labels: Sequence[str], *, batch: int = 32, batches: int = 20, samples: int | None = None
    ) -> None:
        if len(clips) != len(labels):
            raise ConfigError(f"{len(clips)} clips need as many labels; got {len(labels)}")
        samples = clips.shape[1] if samples is None else samples
        if batch < 1 or batches < 1 or not 1 <= samples <= clips.shape[1]:
            raise ConfigError(
                f"batch={batch!r} and batches={batches!r} must be at least 1, samples={samples!r} between 1 and T"
            )
        self.clips = clips
        self.concepts = torch.tensor([CONCEPTS.index(concept_of(label)) for label in labels])
        if len(torch.unique(self.concepts)) < 2:
            raise ConfigError("mixtures need clips of at least two different sounds")
        self.batch, self.batches, self.samples = batch, batches, samples
        self._hop = max(1, clips.shape[1] // 50)
        self._energy = clips.unfold(1, self._hop, self._hop).square().mean(2) + 1e-12  # (N, about 50)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, list[str], Tensor]]:
        """(waveform (B, samples), B + C sentences, matches (B, B + C))."""
        for _ in range(self.batches):
            yield self._draw()

    def _draw(self) -> tuple[Tensor, list[str], Tensor]:
        first, second = self._pick(), self._pick()
        mixed = (torch.rand(self.batch) < 0.5) & (self.concepts[first] != self.concepts[second])
        heard = torch.zeros(self.batch, len(CONCEPTS), dtype=torch.bool)
        heard[torch.arange(self.batch), self.concepts[first]] = True
        heard[mixed, self.concepts[second[mixed]]] = True
        named = [_some(row) for row in heard] + [[k] for k in range(len(CONCEPTS))]
        sentences = [describe([CONCEPTS[k] for k in several]) for several in named]
        said = torch.zeros(len(named), len(CONCEPTS), dtype=torch.bool)
        for row, several in zip(said, named, strict=True):
            row[several] = True
        return self._mix(first, second, mixed), sentences, (~heard).float() @ said.float().T == 0

    def _pick(self) -> Tensor:
        """Clips (B,), each sound as likely as the others."""
        present = torch.unique(self.concepts)
        wanted = present[torch.randint(len(present), (self.batch,))]
        return torch.multinomial((self.concepts == wanted[:, None]).float(), 1)[:, 0]

    def _mix(self, first: Tensor, second: Tensor, mixed: Tensor) -> Tensor:
        other = self._piece(second) * _decibels(self.batch, -6, 6) * mixed[:, None]
        waveform = (self._piece(first) + other) / (1 + mixed[:, None]) ** 0.5
        noise = torch.randn_like(waveform) * _decibels(self.batch, -60, -20)
        varied: Tensor = (waveform + noise) * _decibels(self.batch, -40, -14)
        return varied

    def _piece(self, rows: Tensor) -> Tensor:
        """Pieces of unit energy around a moment drawn by its energy."""
        moment = torch.multinomial(self._energy[rows], 1) * self._hop
        start = moment - torch.randint(self.samples, (len(rows), 1))
        index = (start + torch.arange(self.samples)) % self.clips.shape[1]
        pieces = self.clips[rows].gather(1, index)
        level: Tensor = pieces.norm(dim=1, keepdim=True).clamp(min=1e-6)
        return pieces * (math.sqrt(self.samples) / level)


def _some(heard: Tensor) -> list[int]:
    """What a sentence tells of the sounds marked in (C,): all, in any order, or one of two."""
    sounds = heard.nonzero()[:, 0]
    sounds = sounds[torch.randperm(len(sounds))]
    told: list[int] = sounds[: len(sounds) - int(torch.rand(()) < 0.5 and len(sounds) > 1)].tolist()
    return told


def _decibels(size: int, low: float, high: float) -> Tensor:
    drawn: Tensor = 10 ** (torch.empty(size, 1).uniform_(low, high) / 20)
    return drawn
