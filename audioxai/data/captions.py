"""Sentences about sounds, made from labels: many ways to name each sound, and mixtures described by what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from audioxai.errors import ConfigError

__all__ = ["PHRASES", "MixtureCaptions", "concept_of", "describe", "phrases_of"]

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

_MIXED, _NOISE = 0.5, 1 / 16  # shares of the pieces

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
    """The sound that a label names: events of a scene that imitate a sound of ESC-10 share its name."""
    return _SAME.get(label, label)


def phrases_of(label: str) -> tuple[str, ...]:
    """Ways to name a label's sound; of one without an entry in :data:`PHRASES`, its own words."""
    return PHRASES.get(concept_of(label)) or (label.replace("_", " "),)


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
        sentence = sentence.replace("{}", draw(phrases_of(sound)), 1)
    return sentence


class MixtureCaptions:
    """Batches of clips and mixtures of two, with sentences about them, for :func:`train_clap`.

    A piece of a clip holds one of its loud moments, the clip's end followed by its start. It is made -12 to 6 dB
    louder, and white noise 10 to 60 dB below it is added. Half of the pieces have another sound in them, -6 to 6 dB
    louder; one in sixteen is noise alone. The texts of a batch are a sentence about each of the S pieces with sounds
    (all of them, or one of two) and one about each of the C sounds there are. A text matches the pieces that have every
    sound it names; noise matches none. Draws come from torch's own generators.

    Args:
        clips: (N, T) of one sound each, on the device where batches are made.
        labels: N names, see :func:`concept_of`.
        batch: pieces B in a batch.
        batches: in a pass; default N / B.
        samples: length of a piece; default T.

    Attributes:
        concepts: names of the C sounds.
    """

    def __init__(
        self,
        clips: Tensor,
        labels: Sequence[str],
        *,
        batch: int = 32,
        batches: int | None = None,
        samples: int | None = None,
    ) -> None:
        if len(clips) != len(labels):
            raise ConfigError(f"{len(clips)} clips need as many labels; got {len(labels)}")
        samples = clips.shape[1] if samples is None else samples
        batches = max(1, round(len(clips) / max(1, batch))) if batches is None else batches
        if batch < 1 or batches < 1 or not 1 <= samples <= clips.shape[1]:
            raise ConfigError(
                f"batch={batch!r} and batches={batches!r} must be at least 1, samples={samples!r} between 1 and T"
            )
        named = [concept_of(label) for label in labels]
        self.concepts = tuple(dict.fromkeys(named))
        if len(self.concepts) < 2:
            raise ConfigError(f"mixtures need clips of at least two different sounds; got {list(self.concepts)!r}")
        self.clips, self.batch, self.batches, self.samples = clips, batch, batches, samples
        # What is drawn by chance is drawn on the CPU, so that no batch waits for a GPU to answer.
        self._numbers = torch.tensor([self.concepts.index(name) for name in named])
        self._members = self._numbers == torch.arange(len(self.concepts))[:, None]  # (C, N)
        self._hop = max(1, clips.shape[1] // 50)
        self._energy = (clips.unfold(1, self._hop, self._hop).square().mean(2) + 1e-12).cpu()  # (N, about 50)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, list[str], Tensor]]:
        """(waveform (B, samples), S + C sentences, matches (B, S + C))."""
        for _ in range(self.batches):
            yield self._draw()

    def _draw(self) -> tuple[Tensor, list[str], Tensor]:
        first, second = self._pick(), self._pick()
        mixed = (torch.rand(self.batch) < _MIXED) & (self._numbers[first] != self._numbers[second])
        sounding = torch.rand(self.batch) >= _NOISE
        heard = torch.zeros(self.batch, len(self.concepts), dtype=torch.bool)
        heard[torch.arange(self.batch), self._numbers[first]] = True
        heard[mixed, self._numbers[second[mixed]]] = True
        heard &= sounding[:, None]
        named = [_some(row) for row in heard[sounding]] + [[k] for k in range(len(self.concepts))]
        sentences = [describe([self.concepts[k] for k in several]) for several in named]
        said = torch.zeros(len(named), len(self.concepts), dtype=torch.bool)
        for row, several in zip(said, named, strict=True):
            row[several] = True
        # No sound of the text is missing in the piece.
        matches = (~heard).float() @ said.float().T == 0
        return self._mix(first, second, mixed, sounding), sentences, matches.to(self.clips.device)

    def _pick(self) -> Tensor:
        """Clips (B,), each sound as likely as the others."""
        wanted = torch.randint(len(self.concepts), (self.batch,))
        return torch.multinomial(self._members[wanted].float(), 1)[:, 0]

    def _mix(self, first: Tensor, second: Tensor, mixed: Tensor, sounding: Tensor) -> Tensor:
        device = self.clips.device
        mixed, sounding = (flag.float()[:, None].to(device) for flag in (mixed, sounding))
        (own, level), (other, _) = self._piece(first), self._piece(second)
        waveform = sounding * (own + other * _decibels(self.batch, -6, 6, device) * mixed) / (1 + mixed) ** 0.5
        noise = torch.randn_like(waveform) * _decibels(self.batch, -60, -10, device)
        varied: Tensor = (waveform + noise) * level * _decibels(self.batch, -12, 6, device)
        return varied

    def _piece(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Pieces (B, samples) of unit energy around a moment drawn by its energy, and their levels (B, 1)."""
        moment = torch.multinomial(self._energy[rows], 1) * self._hop
        start = moment - torch.randint(self.samples, (len(rows), 1))
        device = self.clips.device
        index = (start.to(device) + torch.arange(self.samples, device=device)) % self.clips.shape[1]
        pieces = self.clips[rows.to(device)].gather(1, index)
        level = pieces.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)
        return pieces / level, level


def _some(heard: Tensor) -> list[int]:
    """What a sentence tells of the sounds marked in (C,): all, in any order, or one of two."""
    sounds = heard.nonzero()[:, 0]
    sounds = sounds[torch.randperm(len(sounds))]
    told: list[int] = sounds[: len(sounds) - int(torch.rand(()) < 0.5 and len(sounds) > 1)].tolist()
    return told


def _decibels(size: int, low: float, high: float, device: torch.device) -> Tensor:
    drawn: Tensor = 10 ** (torch.empty(size, 1, device=device).uniform_(low, high) / 20)
    return drawn
