"""What a benchmark does: every choice, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audioxai.benchmark.methods import choose_methods
from audioxai.benchmark.networks import NETWORKS
from audioxai.benchmark.protocol import DATA, DEFAULT_CONDITIONS
from audioxai.classifiers.base import AudioClassifier
from audioxai.data import CONDITIONS
from audioxai.errors import ConfigError, nearest

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What a benchmark does.

    Args:
        data: one of :data:`audioxai.data.registry.DATA_SETS`.
        root: folder of the data set.
        out: folder of everything that is made; a second run there goes on.
        conditions: test sets, see :data:`audioxai.data.CONDITIONS`.
        spaces: where masks live.
        methods: keys of :data:`audioxai.benchmark.methods.METHODS`; the controls come always.
        seeds: fits of each learned method.
        network: ``"compact"``, ``"cnn14"`` or ``"clap"``, trained twice: one is explained, the other judges.
        classifier: explained in place of a trained network; nobody judges then.
        epochs: passes of each fit.
        classifier_epochs: passes of each network's training.
        clips: explain this many of each test set at most, spread over the classes.
        per_clip: contaminated items of each clip.
        exclude_same_class: in mixtures, no clip meets one of its own class; published tables let it.
        prompt_clips: of each test set, for the prompt sensitivity of a zero-shot network; 0: none.
        speech, noise, labels: see :func:`audioxai.benchmark.protocol.load_data`.
        manifests: folder of frozen manifests, one ``CONDITION.json`` each, in place of those that seed 0 gives.
        seconds: length of a clip.
        budget: minutes that all of it may take; fewer clips, then fewer methods, are taken to keep it.
        precision: of training and fitting: ``"no"``, ``"bf16"`` or ``"fp16"``.
        device: default the GPU, if there is one.
        skip_bad: leave out clips that cannot be read.
        workers: processes that share the work; GPUs go round among them.
    """

    data: str
    root: Path
    out: Path
    conditions: Sequence[str] = DEFAULT_CONDITIONS
    spaces: Sequence[str] = ("stft",)
    methods: Sequence[str] = ("all",)
    seeds: int = 1
    network: str = "compact"
    classifier: AudioClassifier | None = None
    epochs: int = 20
    classifier_epochs: int = 50
    clips: int | None = None
    per_clip: int = 1
    exclude_same_class: bool = False
    prompt_clips: int = 20
    speech: Path | None = None
    noise: Path | None = None
    labels: Path | None = None
    manifests: Path | None = None
    seconds: float = 5.0
    budget: float | None = None
    precision: str = "no"
    device: str | None = None
    skip_bad: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        for name in ("root", "out", "speech", "noise", "labels", "manifests"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(path))
        for what, given, known in (
            ("data set", (self.data,), DATA),
            ("condition", self.conditions, tuple(CONDITIONS)),
            ("space", self.spaces, ("stft", "mel", "waveform")),
            ("network", (self.network,), tuple(NETWORKS)),
        ):
            if not given or len(set(given)) < len(given):
                raise ConfigError(f"{what}s {tuple(given)!r} must name at least one, each once")
            for name in given:
                if name not in known:
                    raise ConfigError(f"{what} {name!r} is not known; the nearest are {nearest(str(name), known)}")
        choose_methods(self.methods)
        if self.prompt_clips < 0:
            raise ConfigError(f"prompt_clips={self.prompt_clips!r} must not be negative")
        for what in ("seeds", "clips", "budget", "workers"):
            number = getattr(self, what)
            if number is not None and number <= 0:
                raise ConfigError(f"{what}={number!r} must be positive")
