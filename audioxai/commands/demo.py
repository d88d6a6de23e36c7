"""The command ``audioxai demo``: train on synthetic scenes, fit L-MAC, explain held-out mixtures, show and measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.saving import save_classifier
from audioxai.commands.options import Out, Overwrite
from audioxai.commands.output_folders import output_folder
from audioxai.data.scenes import EVENTS, SceneDataset
from audioxai.explainers import LMAC, AllOnes, EnergyMask, Explainer, RandomMask
from audioxai.explainers.explanation import Explanation
from audioxai.metrics import evaluate, follow
from audioxai.nn import CompactCNN
from audioxai.report import write_page
from audioxai.report.plot import figure_png
from audioxai.sound.frontends import LogMel
from audioxai.support.files import write_bytes
from audioxai.support.terminal import say
from audioxai.training.recipes import accuracy, train_classifier

__all__ = ["DemoSizes", "Mixtures", "demo", "mixtures", "run", "scene_classifier", "scene_explainer", "scene_loader"]

RATE, SECONDS = 16000, 2.0


def demo(out: Out = Path("audioxai-demo"), overwrite: Overwrite = False) -> None:
    """Train on synthetic scenes, fit L-MAC, explain held-out mixtures: a table and a page to listen to."""
    with output_folder(out, overwrite=overwrite):
        run(out, say=say)


@dataclass(frozen=True)
class DemoSizes:
    """How much the demo does. Scenes are made on the fly, so every epoch sees the same ``scenes`` scenes."""

    scenes: int = 640
    classifier_epochs: int = 10
    lmac_epochs: int = 6
    held_out: int = 40
    shown: int = 4


@dataclass(frozen=True)
class Mixtures:
    """Scenes of two events: mixtures (B, T), stems (B, 2, T), classes (B, 2)."""

    waveform: Tensor
    stems: Tensor
    classes: Tensor

    def batches(self, size: int = 16) -> list[dict[str, Tensor]]:
        """For :func:`audioxai.metrics.evaluate`: every mixture twice, with each of its sounds as stem and target."""
        parts = [slice(start, start + size) for start in range(0, len(self.waveform), size)]
        return [
            {"waveform": self.waveform[part], "stem": self.stems[part, i], "target": self.classes[part, i]}
            for i in (0, 1)
            for part in parts
        ]


def mixtures(count: int, *, seed: int) -> Mixtures:
    """Held-out scenes of two events over background noise."""
    data = SceneDataset(count, events=2, seconds=SECONDS, sample_rate=RATE, seed=seed)
    scenes = [data.scene(i) for i in range(count)]
    return Mixtures(
        torch.stack([s.waveform for s in scenes]),
        torch.stack([s.stems for s in scenes]),
        torch.tensor([s.classes for s in scenes]),
    )


def scene_classifier(sizes: DemoSizes, seed: int = 0) -> AudioClassifier:
    """The compact network, trained on scenes of one event."""
    torch.manual_seed(seed)
    classifier = AudioClassifier(CompactCNN(len(EVENTS)), sample_rate=RATE, frontend=LogMel(RATE), labels=EVENTS)
    train_classifier(classifier, scene_loader(sizes.scenes, seed=1), epochs=sizes.classifier_epochs, seed=seed)
    return classifier


def scene_explainer(classifier: AudioClassifier, sizes: DemoSizes, seed: int = 0, **options: Any) -> LMAC:
    """L-MAC on linear magnitudes, fitted on scenes of one event and mixtures of them made on the way."""
    explainer = LMAC(classifier, scale="magnitude", seed=seed, **options)
    return explainer.fit(scene_loader(sizes.scenes, seed=1), epochs=sizes.lmac_epochs)


def scene_loader(scenes: int, *, seed: int, batch_size: int = 16) -> DataLoader[tuple[Tensor, ...]]:
    """Batches of scenes of one event with their classes, shuffled."""
    data = SceneDataset(scenes, seconds=SECONDS, sample_rate=RATE, seed=seed)
    items = [data[i] for i in range(len(data))]
    waveforms, classes = torch.stack([w for w, _ in items]), torch.tensor([k for _, k in items])
    kept = torch.utils.data.TensorDataset(waveforms, classes)
    return DataLoader(kept, batch_size=batch_size, shuffle=True, drop_last=True)


def run(out: Path, sizes: DemoSizes | None = None, say: Callable[[str], None] = print) -> Path:
    """Run the demo and write the page, the classifier and the explainer below ``out``; returns the page's path."""
    sizes = sizes or DemoSizes()
    start = time.perf_counter()
    say(f"1. Train a small network on synthetic scenes of {len(EVENTS)} sounds: {', '.join(EVENTS)}.")
    classifier = scene_classifier(sizes)
    held_out = scene_loader(200, seed=2)
    say(f"   Accuracy on held-out scenes of one sound: {100 * accuracy(classifier, held_out):.0f} %")
    say("2. Fit L-MAC: a decoder learns which part of a clip the network's decision rests on.")
    explainer = scene_explainer(classifier, sizes)
    say(f"3. Explain {sizes.held_out} held-out mixtures of two sounds, and compare with masks that know nothing.")
    mixed = mixtures(sizes.held_out, seed=3)
    say("")
    say(table(explainer, mixed))
    say("")
    page = out / "index.html"
    shown = _shown(explainer, mixed, sizes.shown)
    write_bytes(out / "picture.png", figure_png(shown.plot()))
    write_page([shown], page, title="audioxai demo: which part of the sound was it?")
    save_classifier(classifier, out / "model")
    explainer.save_pretrained(out / "model")
    say(f"Done in {time.perf_counter() - start:.0f} s. Listen: {page}")
    say(f"Explain a file of yours with this model: audioxai explain FILE --model {out / 'model'} --out explained")
    return page


def table(explainer: LMAC, mixed: Mixtures) -> str:
    """L-MAC beside the controls: metrics of the predicted class, and how well a given target is followed."""
    classifier, scale = explainer.classifier, explainer.space.scale
    methods: dict[str, Explainer] = {
        "all-ones": AllOnes(classifier, scale=scale),
        "random 16 %": RandomMask(classifier, scale=scale),
        "loudest 16 %": EnergyMask(classifier, scale=scale),
        "L-MAC": explainer,
    }
    results = evaluate(methods, [mixed.waveform[i : i + 16] for i in range(0, len(mixed.waveform), 16)])
    columns = ("AI", "AD", "AG", "FF", "Fid-In", "MM")
    lines = [f"{'':14}" + "".join(f"{c:>8}" for c in columns) + "   SIR gain of the named sound"]
    for name, method in methods.items():
        values = "".join(f"{results.mean(name, c):8.2f}" for c in columns)
        gains = [follow(method, mixed.waveform, mixed.stems[:, i], mixed.classes[:, i])[0] for i in (0, 1)]
        lines.append(f"{name:14}{values}   {torch.cat(gains).median():6.1f} dB")
    return "\n".join(lines)


def _shown(explainer: LMAC, mixed: Mixtures, count: int) -> Explanation:
    """The first mixtures, each explained twice: once for each of its two sounds."""
    order = torch.arange(min(count, len(mixed.waveform))).repeat_interleave(2)
    targets = mixed.classes[: len(order) // 2].flatten()
    names = []
    for i, k in zip(order.tolist(), targets.tolist(), strict=True):
        both = " + ".join(EVENTS[int(c)] for c in mixed.classes[i])
        names.append(f"{both}: {EVENTS[k]} asked for")
    return explainer.explain(mixed.waveform[order], targets, names=names)
