"""Do explanations look at the network, and do they name what it decides by? Three checks on ESC-10.

    python examples/sanity.py --data ESC-50-folder --out runs/esc10

Cascading randomisation: the compact network's layers are randomised one after the other, from the logits down and from
the input up, and each explanation is compared with that of the trained network; a picture of each order. F-Fidelity: a
copy of the network is trained on with random cells missing, then a few cells inside, or outside, each mask are taken
away. With --random-labels also the control of a network that has learnt shuffled labels by heart.

The network and L-MAC's fit are those of examples/compare.py: made if need be, kept in --out and reused.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from esc10 import a_classifier
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.data import ESC50
from audioxai.metrics import cascading_randomisation, evaluate, f_fidelity_metrics, random_labels, robust_copy
from audioxai.metrics.plot import plot_randomisation
from audioxai.report.plot import figure_png
from audioxai.training.recipes import accuracy

WHERE = {"space": "stft", "scale": "magnitude"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--out", type=Path, default=Path("runs/esc10"), help="where weights and pictures go")
    parser.add_argument("--fold", type=int, default=5, choices=[4, 5], help="fold whose clips are explained")
    parser.add_argument("--clips", type=int, default=40, help="how many of them, spread evenly")
    parser.add_argument("--classifier-epochs", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=20, help="passes of L-MAC's fit")
    parser.add_argument("--random-labels", action="store_true", help="also the random-label control; trains a network")
    args = parser.parse_args()

    train = ESC50(args.data, folds=(1, 2, 3), esc10=True)
    test = ESC50(args.data, folds=(args.fold,), esc10=True)
    fit = DataLoader(TensorDataset(*train.tensors()), batch_size=16, shuffle=True, drop_last=True)
    held_out = DataLoader(TensorDataset(*test.tensors()), batch_size=16)
    clips = test.tensors()[0]
    clips = clips[:: max(1, len(clips) // args.clips)][: args.clips]
    classifier = a_classifier(0, fit, held_out, args, train.labels)
    methods: dict[str, ax.Explainer] = {
        "L-MAC": ax.LMAC(classifier, **WHERE, decoder_name="evidence").fit(
            fit, epochs=args.epochs, checkpoint=args.out / "lmac-stft-magnitude-0.safetensors"
        ),
        "GradCAM": ax.GradCAM(classifier, **WHERE),
        "GuidedBackprop": ax.GuidedBackprop(classifier, **WHERE),
        "Saliency": ax.Saliency(classifier, **WHERE),
        "loudest 16 %": ax.EnergyMask(classifier, **WHERE),
    }
    print(f"\n{len(clips)} clips of fold {args.fold}")
    for order in ("top_down", "bottom_up"):
        cascade(methods, clips, order, args.out)
    removal(methods, classifier, fit, held_out, clips)
    if args.random_labels:
        shuffled(classifier, fit, clips)


def cascade(methods: dict[str, ax.Explainer], clips: torch.Tensor, order: str, out: Path) -> None:
    found = {name: cascading_randomisation(method, clips, order=order) for name, method in methods.items()}
    picture = out / f"randomisation-{order}.png"
    picture.write_bytes(figure_png(plot_randomisation(found)))
    print(f"\nRandomised {order.replace('_', ' ')}; picture: {picture}\n")
    layers = next(iter(found.values())).layers
    for measure in ("SSIM", "Spearman"):
        print(f"| {measure} | " + " | ".join(layers) + " | undefined |")
        print("|---|" + "---:|" * (len(layers) + 1))
        for name, one in found.items():
            means = " | ".join(f"{mean:.2f}" for mean, _, _ in one.curve(measure)[1:])
            print(f"| {name} | {means} | {int(one.similarity[measure].isnan().sum())} |")
        print(flush=True)


def removal(
    methods: dict[str, ax.Explainer],
    classifier: ax.AudioClassifier,
    fit: DataLoader,
    held_out: DataLoader,
    clips: torch.Tensor,
) -> None:
    robust = robust_copy(classifier, fit)
    print(f"F-Fidelity; the robust copy is right on {100 * accuracy(robust, held_out):.1f} % of the fold\n")
    controls = {"random 16 %": ax.RandomMask(classifier, **WHERE)}
    results = evaluate(controls | methods, [clips[i : i + 8] for i in range(0, len(clips), 8)],
                       metrics=["FF", *f_fidelity_metrics(robust)])  # fmt: skip
    print(f"{results}\n\n95 % intervals: " + "; ".join(
        f"{name} {metric} {low:.3f} to {high:.3f}"
        for name in methods
        for metric in ("FFid+", "FFid-")
        for low, high in [results.interval(name, metric)]
    ), flush=True)  # fmt: skip


def shuffled(classifier: ax.AudioClassifier, fit: DataLoader, clips: torch.Tensor) -> None:
    def similarity(make: object) -> str:
        found, learnt = random_labels(make, classifier, batches, clips, epochs=60)
        return f"{found['SSIM'].nanmean():.2f} | {found['Spearman'].nanmean():.2f} | {100 * learnt:.0f} %"

    batches = list(fit)
    print("\n| random labels | SSIM | Spearman | labels learnt |\n|---|---:|---:|---:|")
    for make in (ax.GradCAM, ax.GuidedBackprop, ax.Saliency):
        print(f"| {make.__name__} | {similarity(lambda network, make=make: make(network, **WHERE))} |", flush=True)


if __name__ == "__main__":
    main()
