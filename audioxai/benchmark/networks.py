"""The classifiers of a benchmark: trained or loaded, checked against the data."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, TensorDataset

from audioxai.benchmark.protocol import BenchmarkData
from audioxai.benchmark.run_files import Store, key_of
from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.saving import load_classifier, save_classifier
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.data import ManifestDataset
from audioxai.data.download import sha256_of
from audioxai.errors import ConfigError, nearest
from audioxai.nn import CNN14, CompactCNN
from audioxai.sound.frontends import LogMel
from audioxai.training.contrastive import train_zero_shot
from audioxai.training.recipes import train_classifier
from audioxai.version import __version__

T = TypeVar("T")

#: Seconds of training or fitting that a killed run may lose.
SAVE_EVERY = 20.0

__all__ = [
    "NETWORKS",
    "SAVE_EVERY",
    "check_labels",
    "halving",
    "predict",
    "trained_network",
    "training_identity",
    "training_loader",
]


def _supervised(
    build: Callable[..., torch.nn.Module], data: BenchmarkData, device: torch.device, batch: int, seed: int,
    **training: Any,
) -> AudioClassifier:  # fmt: skip
    """A network with one output for each label."""
    torch.manual_seed(seed)
    labels, rate = data.train.labels, data.train.sample_rate
    model = AudioClassifier(build(len(labels)), sample_rate=rate, frontend=LogMel(rate), labels=labels)
    train_classifier(model.to(device), training_loader(data, device, batch), seed=seed, **training)
    return model


def _contrastive(
    data: BenchmarkData, device: torch.device, batch: int, seed: int, **training: Any
) -> ZeroShotClassifier:
    """A compact CLAP whose prompts are the labels."""
    clips, classes = data.train.tensors()
    model, _ = train_zero_shot(
        clips, classes, data.train.labels, sample_rate=data.train.sample_rate, batch=2 * batch, seed=seed,
        device=device, **training,
    )  # fmt: skip
    return model


#: Networks by name on the command line: how they are trained, and their peak learning rates.
NETWORKS: dict[str, tuple[Callable[..., AudioClassifier], float]] = {
    "compact": (partial(_supervised, CompactCNN), 3e-3),
    "cnn14": (partial(_supervised, CNN14), 5e-4),
    "clap": (_contrastive, 3e-3),
}


def trained_network(
    store: Store,
    data: BenchmarkData,
    name: str,
    seed: int,
    *,
    epochs: int,
    device: torch.device,
    trained_on: str,
    precision: str = "no",
    batch: int = 16,
    say: Callable[[str], None] = print,
    wait: bool = True,
) -> AudioClassifier:
    """A network trained on the data, or the one that an earlier run has trained."""
    make, lr = NETWORKS[name]
    inputs = {
        "network": name, "seed": seed, "epochs": epochs, "lr": lr, "data": trained_on, "precision": precision,
        "version": __version__,
    }  # fmt: skip

    def train(place: Path) -> dict[str, Any]:
        say(f"training {name}, seed {seed}, on {len(data.train)} clips")

        def attempt(batch: int) -> AudioClassifier:
            checkpoint = place.with_suffix(f".checkpoint-{batch}.safetensors")
            model = make(
                data, device, batch, seed, epochs=epochs, lr=lr, precision=precision, checkpoint=checkpoint,
                checkpoint_seconds=SAVE_EVERY, progress=False,
            )  # fmt: skip
            save_classifier(model, place)
            checkpoint.unlink(missing_ok=True)
            return model

        halving(attempt, batch, say)
        return {}

    place, _ = store.make("networks", f"train {name}, seed {seed}", inputs, train, wait=wait)
    return load_classifier(place).to(device)


def training_identity(data: BenchmarkData) -> str:
    """A key of the clips that are learnt from: their files and classes in order, rate and length."""
    clips = data.train
    files = [
        [n, sha256_of(f), clips.labels[k]] for n, f, k in zip(clips.names, clips.files, clips.classes, strict=True)
    ]
    return key_of({"clips": files, "labels": clips.labels, "rate": clips.sample_rate, "samples": clips.samples})


def training_loader(data: BenchmarkData, device: torch.device, batch: int = 16) -> DataLoader[Any]:
    """Shuffled batches of (waveform, class), all of it on the device: no batch waits for a disk."""
    clips, classes = data.train.tensors()
    last = len(clips) > batch  # a small last batch makes noisy statistics, but the only one is kept
    return DataLoader(TensorDataset(clips.to(device), classes.to(device)), batch, shuffle=True, drop_last=last)


def halving(attempt: Callable[[int], T], batch: int, say: Callable[[str], None]) -> T:
    """Call ``attempt(batch)``, with half the batch for as long as the device runs out of memory; said once."""
    told = False
    while True:
        try:
            return attempt(batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            if not told:
                say("out of memory on the device: batches are halved")
                told = True
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@torch.no_grad()
def predict(classifier: AudioClassifier, test: ManifestDataset, batch: int = 16) -> list[int]:
    """The predicted class of every item, numbered as ``test.labels``."""
    numbers = check_labels(classifier, test.labels)
    clips, _ = test.tensors()
    with classifier.frozen():
        found = [classifier(part.to(classifier.device)).argmax(1).cpu() for part in torch.split(clips, batch)]
    place = {number: i for i, number in enumerate(numbers)}
    return [place.get(k, -1) for k in torch.cat(found).tolist()]


def check_labels(classifier: AudioClassifier, labels: tuple[str, ...]) -> list[int]:
    """The classifier's number of each of the data's labels.

    Raises:
        ConfigError: a class that the classifier does not know.
    """
    if classifier.labels is None:
        raise ConfigError("the classifier needs labels=[...], so that its classes can be matched to those of the data")
    for label in labels:
        if label not in classifier.labels:
            raise ConfigError(
                f"the data has a class {label!r}, the classifier has not; nearest: {nearest(label, classifier.labels)}"
            )
    return [classifier.labels.index(label) for label in labels]
