"""Do explanations change when the network does? Cascading randomisation of the ESC-10 network, as a picture.

    python examples/randomisation.py --data ESC-50-folder --out runs/esc10

The compact network's layers are randomised one after the other, from the logits down and from the input up; each
explanation is compared with that of the trained network. The network and L-MAC's fit are those of examples/compare.py:
made if need be, kept in --out and reused.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from esc10 import a_classifier
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.data import ESC50
from audioxai.metrics import cascading_randomisation
from audioxai.plot import figure_png
from audioxai.plot_metrics import plot_randomisation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--out", type=Path, default=Path("runs/esc10"), help="where weights and pictures go")
    parser.add_argument("--fold", type=int, default=5, choices=[4, 5], help="fold whose clips are explained")
    parser.add_argument("--clips", type=int, default=40, help="how many of them, spread evenly")
    parser.add_argument("--classifier-epochs", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=20, help="passes of L-MAC's fit")
    args = parser.parse_args()

    train = ESC50(args.data, folds=(1, 2, 3), esc10=True)
    test = ESC50(args.data, folds=(args.fold,), esc10=True)
    fit = DataLoader(TensorDataset(*train.tensors()), batch_size=16, shuffle=True, drop_last=True)
    clips, _ = test.tensors()
    step = max(1, len(clips) // args.clips)
    clips = clips[::step][: args.clips]
    loader = DataLoader(TensorDataset(*test.tensors()), batch_size=16)
    classifier = a_classifier(0, fit, loader, args, train.labels)
    where = {"space": "stft", "scale": "magnitude"}
    methods: dict[str, ax.Explainer] = {
        "L-MAC": ax.LMAC(classifier, **where).fit(
            fit, epochs=args.epochs, checkpoint=args.out / "lmac-stft-magnitude-0.safetensors"
        ),
        "GradCAM": ax.GradCAM(classifier, **where),
        "GuidedBackprop": ax.GuidedBackprop(classifier, **where),
        "Saliency": ax.Saliency(classifier, **where),
        "loudest 16 %": ax.EnergyMask(classifier, **where),
    }
    for order in ("top_down", "bottom_up"):
        found = {name: cascading_randomisation(method, clips, order=order) for name, method in methods.items()}
        picture = args.out / f"randomisation-{order}.png"
        picture.write_bytes(figure_png(plot_randomisation(found)))
        print(f"\n{order}, {len(clips)} clips of fold {args.fold}; picture: {picture}\n")
        layers = next(iter(found.values())).layers
        for measure in ("SSIM", "Spearman"):
            print(f"| {measure} | " + " | ".join(layers) + " | undefined |")
            print("|---|" + "---:|" * (len(layers) + 1))
            for name, one in found.items():
                means = " | ".join(f"{mean:.2f}" for mean, _, _ in one.curve(measure)[1:])
                print(f"| {name} | {means} | {int(one.similarity[measure].isnan().sum())} |")
            print()


if __name__ == "__main__":
    main()
