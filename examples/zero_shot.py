"""Explanations by prompt, measured: which sound a prompt keeps, and whether masks follow the prompt at all.

    python examples/zero_shot.py --data ESC-50-folder --out runs/zero-shot

Fits LMAC-ZS to the shipped compact CLAP, or to that of ``--clap``, on ESC-10's folds 1 to 3 and synthetic events.
Then, for it and for other methods:

1. Mixtures of two sounds, synthetic events and clips of fold 5, each sound prompted in turn: gain in
   signal-to-interference ratio over the mixture's own, and the mask's mean against that of prompts for absent sounds.
2. Prompt sensitivity on the clips of fold 5: mask mean against similarity, wrong prompts, randomised text.

The tables are printed and written to ``OUT/zero-shot.md``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from clap import RATE, SECONDS, TRAINED, pairs
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.classifiers.saving import load_classifier
from audioxai.data import ESC50, EVENTS, SceneDataset
from audioxai.data.captions import concept_of
from audioxai.metrics import PROMPT_FIGURES, Case, prompt_figures
from audioxai.metrics.functional import mask_mean
from audioxai.support.files import write_bytes
from audioxai.training.contrastive import TEMPLATE

BATCH = 16
WHERE = {"space": "stft", "scale": "magnitude"}


@dataclass(frozen=True)
class Mixed:
    """Mixtures (B, T) of two named sounds (B, 2, T), with the names of both, and of one that is absent."""

    waveform: Tensor
    stems: Tensor
    inside: list[tuple[str, str]]
    absent: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--clap", type=Path, help="folder of the CLAP, from examples/clap.py; default the shipped one")
    parser.add_argument("--out", type=Path, default=Path("runs/zero-shot"), help="where fit and tables are kept")
    parser.add_argument("--epochs", type=int, default=20, help="passes of LMAC-ZS's fit")
    parser.add_argument("--events", type=int, default=240, help="synthetic events in the fit")
    parser.add_argument("--mixtures", type=int, default=200)
    parser.add_argument("--device", help="default the GPU, if there is one")
    args = parser.parse_args()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    train = ESC50(args.data, folds=TRAINED, esc10=True, sample_rate=RATE, seconds=SECONDS)
    test = ESC50(args.data, folds=(5,), esc10=True, sample_rate=RATE, seconds=SECONDS)
    names = list(dict.fromkeys([*train.labels, *map(concept_of, EVENTS)]))
    classifier = (load_classifier(args.clap) if args.clap else ax.load_pretrained("esc10-clap")).to(device)
    classifier.set_prompts(names, template=TEMPLATE)
    start = time.perf_counter()
    fitted = ax.LMACZS(classifier, **WHERE).fit(
        loader(train, names, args.events), epochs=args.epochs, checkpoint=args.out / "lmac-zs-checkpoint.safetensors"
    )
    minutes = (time.perf_counter() - start) / 60
    fitted.save_pretrained(args.out / "lmac-zs")
    methods: dict[str, ax.Explainer] = {
        "LMAC-ZS": fitted,
        "GradCAM": ax.GradCAM(classifier, **WHERE),
        "GradCAM++": ax.GradCAMPlusPlus(classifier, **WHERE),
        "input x gradient": ax.InputXGradient(classifier, **WHERE),
        "loudest 16 %": ax.EnergyMask(classifier, **WHERE),
    }
    last = ", ".join(f"{name} {value:.3f}" for name, value in fitted.history_[-1].items())
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    text = [
        "# Explanations by prompt\n",
        f"LMAC-ZS fitted in {minutes:.1f} minutes on {where}, last pass: {last}. Prompts: `{TEMPLATE}`.\n",
        *followed("scenes of two synthetic events", methods, scenes(args.mixtures)),
        *followed("mixtures of two clips of fold 5 at equal level", methods, mixtures(test, args.mixtures)),
        *sensitivity(methods, test),
    ]
    write_bytes(args.out / "zero-shot.md", "\n".join(text).encode())
    print("\n".join(text))
    print(f"written: {args.out / 'zero-shot.md'}")


def loader(train: ESC50, names: list[str], events: int) -> DataLoader[tuple[Tensor, ...]]:
    """Clips and synthetic events with the place of each one's name."""
    clips, classes = train.tensors()
    data = SceneDataset(events, seconds=SECONDS, sample_rate=RATE, seed=1)
    made = [data.scene(i) for i in range(events)]
    sounds = torch.cat([clips, *(scene.waveform[None] for scene in made)])
    labels = [train.labels[k] for k in classes.tolist()] + [scene.names[0] for scene in made]
    places = torch.tensor([names.index(concept_of(label)) for label in labels])
    return DataLoader(TensorDataset(sounds, places), batch_size=BATCH, shuffle=True, drop_last=True)


def scenes(count: int) -> Mixed:
    data = SceneDataset(count, events=2, seconds=SECONDS, sample_rate=RATE, seed=1000)
    made = [data.scene(i) for i in range(count)]
    return Mixed(
        torch.stack([scene.waveform for scene in made]),
        torch.stack([scene.stems for scene in made]),
        [(scene.names[0], scene.names[1]) for scene in made],
        [absent(scene.names, EVENTS, i) for i, scene in enumerate(made)],
    )


def mixtures(test: ESC50, count: int) -> Mixed:
    clips, classes = test.tensors()
    first, second = pairs(classes, count)
    level = clips.norm(dim=1, keepdim=True)
    unit = clips / level
    stems = torch.stack([unit[first], unit[second]], 1) * level[first][:, None] / 2**0.5
    inside = [(test.labels[a], test.labels[b]) for a, b in zip(classes[first], classes[second], strict=True)]
    return Mixed(stems.sum(1), stems, inside, [absent(both, test.labels, i) for i, both in enumerate(inside)])


def absent(inside: tuple[str, ...], known: tuple[str, ...], number: int) -> str:
    """One of the known sounds that is not inside, each in turn."""
    others = [name for name in known if name not in inside]
    return others[number % len(others)]


def followed(what: str, methods: dict[str, ax.Explainer], mixed: Mixed) -> list[str]:
    """A table: each sound of each mixture prompted, and one that is absent."""
    lines = [
        f"## {what[0].upper()}{what[1:]}: each sound prompted in turn\n",
        f"{len(mixed.waveform)} mixtures. SIR gain, medians: of both prompts of a mixture, and with the other sound's "
        "prompt (wrong); masks: mean for prompts of what is there, of what is absent, and the ratio.\n",
        "| | SIR gain, dB | wrong, dB | kept | right masks | absent | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, method in methods.items():
        waveform, stems = (x.to(method.classifier.device) for x in (mixed.waveform, mixed.stems))
        made = [method.explain(waveform, [concept_of(both[i]) for both in mixed.inside]) for i in (0, 1)]
        none = mask_mean(method.explain(waveform, [concept_of(sound) for sound in mixed.absent]).mask).mean()
        own = [Case(made[i], method, stems[:, i]).interference for i in (0, 1)]
        gain, kept = (torch.cat(several).nanmedian() for several in zip(*own, strict=True))
        wrong = torch.cat([Case(made[1 - i], method, stems[:, i]).interference[0] for i in (0, 1)]).nanmedian()
        mean = torch.cat([mask_mean(one.mask) for one in made]).mean()
        lines.append(
            f"| {name} | {gain:.1f} | {wrong:.1f} | {kept:.2f} | {mean:.3f} | {none:.3f} | {none / mean:.2f} |"
        )
    return [*lines, ""]


def sensitivity(methods: dict[str, ax.Explainer], test: ESC50) -> list[str]:
    """A table: mask mean against similarity, wrong prompts, randomised text."""
    clips, classes = test.tensors()
    labels = test.labels
    right = [labels[k] for k in classes.tolist()]
    wrong = [absent((name,), labels, i) for i, name in enumerate(right)]
    lines = [
        "## Prompt sensitivity on the clips of fold 5\n",
        f"{len(clips)} clips, {len(labels)} prompts each. Rank correlation of mask mean and similarity, over all pairs "
        "and within each clip; mask mean of a wrong prompt over that of the right one, and Spearman of both masks; "
        "Spearman to the masks when the text tower's weights, or the prompts' embeddings, are random.\n",
        "| | " + " | ".join(PROMPT_FIGURES) + " |",
        "|---|" + "---:|" * len(PROMPT_FIGURES),
    ]
    for name, method in methods.items():
        figures = prompt_figures(method, clips, right, wrong, labels)
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in figures.values()) + " |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
