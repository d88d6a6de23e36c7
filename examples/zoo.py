"""The zoo that the general decoder is fitted over: networks of many kinds, and clips that they are trained on.

Held out of everything: ESC-50's fold 5 and UrbanSound8K's fold 10. ESC-50's fold 4 tells how right a network is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from zoo_networks import CNN, Bands1D, Patches, RawImage, RawTokens

import audioxai as ax
from audioxai.data import ESC50, SceneDataset, UrbanSound8K
from audioxai.nn import CNN14, CompactCNN, WaveformCNN
from audioxai.sound.dsp import STFT
from audioxai.support.files import write_bytes
from audioxai.training.recipes import accuracy, train_classifier

SECONDS = 2.5


@dataclass(frozen=True)
class Clips:
    """Clips (n, T) of 16 bits, their classes and their labels; what is shorter than a crop is repeated."""

    waveform: Tensor
    classes: Tensor
    labels: tuple[str, ...]
    rate: int

    def crops(self, index: Tensor) -> Tensor:
        """A crop of each of some clips, at a random place, (B, SECONDS)."""
        samples = round(SECONDS * self.rate)
        starts = (torch.rand(len(index)) * (self.waveform.shape[1] - samples + 1)).long()
        cut = [self.waveform[i, s : s + samples] for i, s in zip(index.tolist(), starts.tolist(), strict=True)]
        return torch.stack(cut).float() / 32768


class Data:
    """The sets of clips at any rate, kept in ``folder`` once they are resampled.

    Args:
        roots: folders of ``"esc50"``, ``"esc10"``, ``"us8k"`` and ``"speech"``.
        folder: of the cache.
    """

    def __init__(self, roots: dict[str, Path], folder: Path) -> None:
        self.roots, self.folder = roots, folder
        self._kept: dict[tuple[str, int, str], Clips] = {}

    def __call__(self, name: str, rate: int, part: str = "fit") -> Clips:
        """Clips to ``"fit"`` on, to ``"choose"`` settings by, or to ``"test"`` on."""
        key = name, rate, part
        if key not in self._kept:
            file = self.folder / f"{name}-{rate}-{part}.pt"
            if not file.exists():
                waveform, classes, labels = self._make(name, rate, part)
                whole = (waveform.clamp(-1, 1) * 32767).round().short()
                file.parent.mkdir(parents=True, exist_ok=True)
                torch.save((whole, classes, labels), file.with_suffix(".part"))
                file.with_suffix(".part").rename(file)
            waveform, classes, labels = torch.load(file, mmap=True)
            self._kept[key] = Clips(waveform, classes, tuple(labels), rate)
        return self._kept[key]

    def _make(self, name: str, rate: int, part: str) -> tuple[Tensor, Tensor, list[str]]:
        folds = {"fit": (1, 2, 3), "choose": (4,), "test": (5,)}[part]
        if name in ("esc50", "esc10"):
            clips = ESC50(self.roots[name], folds=folds, esc10=name == "esc10", sample_rate=rate)
        elif name == "us8k":  # of three folds, one is for tests and none for choosing
            held_out = {row.split("-")[1] for row in ESC50(self.roots["esc50"], folds=(5,)).names}
            clips = UrbanSound8K(self.roots[name], folds=(10,) if part == "test" else (1, 2), sample_rate=rate)
            chosen = [i for i, file in enumerate(clips.files) if file.name.split("-")[0] not in held_out]
            chosen = chosen[:: 1 if part == "fit" else 4]
            waveform = torch.stack([_repeated(clips.clip(i)) for i in chosen])
            return waveform, torch.tensor([clips.classes[i] for i in chosen]), list(clips.labels)
        elif name in ("scenes", "pairs"):
            count, seed = {"fit": (600, 1), "choose": (100, 2), "test": (100, 3)}[part]
            scenes = SceneDataset(count, events=1 + (name == "pairs"), seconds=3.0, sample_rate=rate, seed=seed)
            made = [scenes[i] for i in range(count)]
            from audioxai.data.scenes import EVENTS

            return torch.stack([m[0] for m in made]), torch.stack([torch.as_tensor(m[1]) for m in made]), list(EVENTS)
        else:  # who speaks, in windows of four readings
            files = sorted(f for f in self.roots[name].iterdir() if f.suffix in (".ogg", ".flac"))
            clips_, classes = [], []
            for number, file in enumerate(files):
                whole = ax.load(file, rate)[0]
                windows = whole.unfold(0, 3 * rate, rate // 4)
                share = {"fit": slice(0, -8), "choose": slice(-4, -2), "test": slice(-2, None)}[part]
                clips_ += list(windows[share])
                classes += [number] * len(windows[share])
            return torch.stack(clips_), torch.tensor(classes), [f.stem for f in files]
        waveform, classes = clips.tensors()
        return waveform, classes, list(clips.labels)


def _repeated(clip: Tensor) -> Tensor:
    """A clip (T,) whose zeros at the end give way to what is before them, over and over."""
    sound = clip[: int(clip.nonzero().amax()) + 1] if clip.any() else clip
    return sound.repeat(-(-len(clip) // len(sound)))[: len(clip)]


@dataclass(frozen=True)
class Member:
    """A network of the zoo.

    Args:
        name: of its files.
        family: left out together.
        data: what it is trained on.
        rate: in Hz.
        make: classes to the network.
        frontend: made for the rate; ``None`` for a network on waveforms.
        epochs: passes; few make a bad network.
        groups: of how many classes, dealt out at random, if not those of the data.
        speeds: of how many speeds, each a class of its own, the clips are played at.
        multilabel: mixtures of two clips, and sigmoids.
        layers: read, if not those that are found.
    """

    name: str
    family: str
    data: str
    rate: int
    make: Callable[[int], nn.Module]
    frontend: Callable[[], nn.Module] | None = None
    epochs: int = 25
    groups: int = 0
    speeds: int = 0
    multilabel: bool = False
    layers: Any = None
    lr: float = 2e-3
    tags: tuple[str, ...] = field(default=())

    @property
    def kinds(self) -> set[str]:
        """What it can be left out as: its family, its rate, its data, or as one of several labels."""
        return {self.family, str(self.rate), self.data, *self.tags} | ({"multilabel"} if self.multilabel else set())

    def labels(self, clips: Clips) -> list[str]:
        if self.groups:
            return [f"group {k}" for k in range(self.groups)]
        if self.speeds:
            return [f"{label} x{k}" for label in clips.labels for k in range(self.speeds)]
        return list(clips.labels)

    def build(self, clips: Clips, seed: int = 0) -> ax.AudioClassifier:
        """The classifier with random weights."""
        torch.manual_seed(seed)
        labels = self.labels(clips)
        frontend = None if self.frontend is None else self.frontend()
        network = self.make(len(labels))
        several = self.multilabel or self.data == "pairs"
        options = {"sample_rate": self.rate, "labels": labels, "multilabel": several, "layers": self.layers}
        return ax.AudioClassifier(network, frontend=frontend, **options).eval()

    def batches(self, clips: Clips, size: int = 16) -> Batches:
        return Batches(self, clips, size)


class Batches:
    """Re-iterable batches of (crops, classes) for training a member."""

    def __init__(self, member: Member, clips: Clips, size: int) -> None:
        self.member, self.clips, self.size = member, clips, size
        self.dealt = None
        if member.groups:
            order = torch.randperm(len(clips.labels), generator=torch.Generator().manual_seed(member.groups))
            self.dealt = order % member.groups

    def __len__(self) -> int:
        return max(1, len(self.clips.classes) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.clips.classes))
        for start in range(0, len(self) * self.size, self.size):
            index = order[start : start + self.size]
            waveform, classes = self.clips.crops(index), self.clips.classes[index]
            if self.dealt is not None:
                classes = self.dealt[classes]
            if self.member.speeds:
                waveform, classes = self._played(waveform, classes)
            if self.member.multilabel:
                classes = nn.functional.one_hot(classes, len(self.clips.labels))
                mixed = torch.rand(len(index), 1) < 0.5
                waveform = waveform + mixed * waveform.roll(1, 0)
                classes = classes.maximum(mixed * classes.roll(1, 0))
            yield waveform, classes.float() if classes.ndim == 2 else classes

    def _played(self, waveform: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Each clip at one of the speeds, from 1/2 to 2."""
        count, samples = self.member.speeds, waveform.shape[1]
        which = torch.randint(0, count, (len(waveform),))
        speeds = 2 ** (2 * which / max(1, count - 1) - 1)
        place = (torch.arange(samples) * speeds[:, None]) % (samples - 1)
        low = place.long()
        between = waveform.gather(1, low) * (1 - place % 1) + waveform.gather(1, low + 1) * (place % 1)
        return between, classes * count + which


def trained(member: Member, data: Data, folder: Path, *, seed: int = 0) -> ax.AudioClassifier:
    """The member, trained and kept in ``folder``, or read from there; deaf to the held-out folds."""
    clips = data(member.data, member.rate)
    classifier = member.build(clips, seed)
    weights, card = folder / f"{member.name}.safetensors", folder / f"{member.name}.json"
    if card.exists():
        classifier.load_state_dict(load(weights.read_bytes()))
        return classifier.eval()
    history = train_classifier(
        classifier, member.batches(clips), epochs=member.epochs, lr=member.lr, seed=seed, progress=False,
        augmented=not member.multilabel and clips.classes.ndim == 1,
    )  # fmt: skip
    classifier.eval()
    found: dict[str, Any] = {"member": member.name, "epochs": member.epochs, "loss": history[-1]["loss"]}
    found |= {"seconds": sum(epoch["seconds"] for epoch in history), "labels": len(classifier.labels or ())}
    if not classifier.multilabel:
        torch.manual_seed(0)
        found["right"] = accuracy(classifier, member.batches(data(member.data, member.rate, "choose")))
    write_bytes(weights, save({k: v.contiguous() for k, v in classifier.state_dict().items()}))
    write_bytes(card, json.dumps(found).encode())
    print(json.dumps(found), flush=True)
    return classifier


def mel(rate: int, bands: int = 80, *, window: tuple[int, int, int] | None = None, shape: str = "hann", **options: Any):
    """A log-mel front end (B, M, N); the window as (n_fft, length, hop)."""
    stft = None if window is None else STFT(*window, window=shape)
    return lambda: ax.LogMel(rate, bands, stft=stft, layout="BMN", **options)


def spectrum(rate: int, *window: int, **options: Any):
    """A log-magnitude front end (B, F, N)."""
    return lambda: ax.LogSTFT(rate, stft=STFT(*window), layout="BMN", **options)


def cnn(bands: int, **options: Any) -> Callable[[int], nn.Module]:
    return lambda classes: CNN(classes, bands, **options)


def compact(bands: int, **options: Any) -> Callable[[int], nn.Module]:
    return lambda classes: CompactCNN(classes, bands, **options)


def panns(bands: int, width: int) -> Callable[[int], nn.Module]:
    return lambda classes: CNN14(classes, bands, width)


WIDE = {"widths": (16, 32, 64), "strides": (2, 2, 2)}
READ = ["embed", "maps.0", "maps.1"]

#: Each name tells kind, data and rate in kHz.
ZOO: tuple[Member, ...] = (
    Member("compact-esc10-16", "cnn", "esc10", 16000, compact(64, widths=(16, 32, 64, 96)),
           lambda: ax.LogMel(16000, 64, stft=STFT(512, 400, 160), power=2, log="log", floor=1e-6), 40),
    Member("residual-esc10-22", "residual", "esc10", 22050, cnn(64, kind="residual", norm="clip"),
           mel(22050, 64, window=(1024, 1024, 256), log="db", power=2), 30),
    Member("double-esc50-16", "cnn14", "esc50", 16000, cnn(64, kind="double-mean", widths=(12, 24, 48, 96)),
           mel(16000, 64, window=(1024, 640, 320), log="log", floor=1e-5), 12),
    Member("raw-esc10-16", "raw", "esc10", 16000, lambda k: WaveformCNN(k), None, 60),
    Member("patches-esc10-16", "tokens", "esc10", 16000, lambda k: Patches(k, 64),
           mel(16000, 64, window=(512, 400, 160), log="log", floor=1e-6, power=2), 50, layers=READ, lr=1e-3),
    Member("crnn-us8k-16", "recurrent", "us8k", 16000, cnn(64, kind="max", **WIDE, recurrent=True, pool="mean"),
           mel(16000, 64, window=(512, 512, 256), log="log", floor=1e-4), 8),
    Member("max-esc50-8", "cnn", "esc50", 8000, cnn(40, kind="max", pool="attention"),
           mel(8000, 40, window=(256, 256, 128), log="db"), 12),
    Member("linear-us8k-16", "cnn", "us8k", 16000, cnn(129, pool="max", norm="band"),
           spectrum(16000, 256, 256, 256), 10),
    Member("leaky-esc10-44", "cnn", "esc10", 44100, cnn(128, act="leaky", norm="clip", pool="mean"),
           mel(44100, 128, window=(2048, 2048, 1024), log="log10", f_min=50.0, mel_scale="slaney", norm="slaney"), 40),
    Member("bad-esc10-16", "cnn", "esc10", 16000, cnn(80, norm="none"), lambda: ax.LogMel(16000, layout="BMN"), 4),
    Member("two-esc50-16", "cnn", "esc50", 16000, cnn(64, **WIDE),
           mel(16000, 64, window=(1024, 1024, 512), log="log1p"), 8, groups=2),
    Member("speeds-esc50-16", "cnn", "esc50", 16000, cnn(64, pool="attention", widths=(16, 32, 64, 128)),
           mel(16000, 64, window=(512, 512, 256), log="log", floor=1e-4), 15, speeds=10),
    Member("several-esc50-16", "cnn", "esc50", 16000, cnn(64, act="silu"),
           mel(16000, 64, window=(1024, 800, 400), log="log", floor=1e-5), 14, multilabel=True),
    Member("pairs-16", "cnn", "pairs", 16000, cnn(48, **WIDE), mel(16000, 48, window=(512, 512, 256)), 10),
    Member("scenes-8", "cnn", "scenes", 8000, cnn(32, act="gelu", pool="mean"),
           mel(8000, 32, window=(256, 200, 80), log="db"), 6),
    Member("speakers-16", "cnn", "speech", 16000, cnn(40, kind="mean", norm="clip"),
           mel(16000, 40, window=(512, 400, 160), log="log", floor=1e-6), 6),
    Member("attention-esc50-32", "cnn", "esc50", 32000, cnn(64, kind="mean", pool="attention", act="elu"),
           mel(32000, 64, window=(1024, 1024, 640), f_min=50.0, f_max=14000.0, log="db", power=2), 12),
    Member("residual-us8k-8", "residual", "us8k", 8000, cnn(48, kind="residual", act="gelu", **WIDE),
           mel(8000, 48, window=(256, 256, 128), log="log", floor=1e-5), 6),
    Member("separable-esc50-16", "separable", "esc50", 16000,
           cnn(64, kind="separable", widths=(24, 48, 96, 128), act="silu"),
           mel(16000, 64, window=(512, 480, 240), log="log", floor=1e-5), 14),
    Member("separable-esc10-32", "separable", "esc10", 32000,
           cnn(96, kind="separable", widths=(24, 48, 96, 128), norm="clip", pool="mean"),
           mel(32000, 96, window=(2048, 1024, 512), log="db", power=2, mel_scale="slaney"), 40),
    Member("panns-us8k-16", "cnn14", "us8k", 16000, panns(64, 6),
           lambda: ax.LogMel(16000, 64, stft=STFT(512, 512, 320), log="log", floor=1e-5), 6),
    Member("bands-esc50-16", "bands", "esc50", 16000, lambda k: Bands1D(k, 64),
           mel(16000, 64, window=(512, 400, 160), log="log", floor=1e-5), 20),
    Member("bands-esc10-8", "bands", "esc10", 8000, lambda k: Bands1D(k, 40, widths=(64, 96), norm="band"),
           mel(8000, 40, window=(512, 256, 128)), 40),
    Member("crnn-esc10-22", "recurrent", "esc10", 22050, cnn(64, kind="mean", **WIDE, recurrent=True, norm="clip"),
           mel(22050, 64, window=(1024, 1024, 512), log="log", floor=1e-4), 40),
    Member("patches-esc50-8", "tokens", "esc50", 8000, lambda k: Patches(k, 32, patch=8, stride=8, norm="band"),
           mel(8000, 32, window=(256, 256, 128), log="log", floor=1e-5), 25, lr=1e-3),
    Member("kaldi-us8k-16", "cnn", "us8k", 16000, compact(64, widths=(16, 32, 64, 64)),
           lambda: ax.KaldiFbank(16000, 64, mean=-4.0, std=8.0, window_type="hanning"), 6),
    Member("words-esc10-16", "tokens", "esc10", 16000, lambda k: RawTokens(k), None, 60, lr=1e-3, tags=("raw",)),
    Member("words-us8k-8", "tokens", "us8k", 8000, lambda k: RawTokens(k, strides=(8, 5, 4)), None, 10, lr=1e-3,
           tags=("raw",)),
    Member("image-esc50-16", "raw", "esc50", 16000, lambda k: RawImage(k, kind="max"), None, 14),
    Member("raw-us8k-8", "raw", "us8k", 8000, lambda k: WaveformCNN(k, (24, 48, 64, 96), (8, 4, 4, 4)), None, 12),
    Member("raw-esc10-44", "raw", "esc10", 44100, lambda k: WaveformCNN(k, (32, 48, 64, 96), (32, 5, 4, 4)), None, 60),
)  # fmt: skip
