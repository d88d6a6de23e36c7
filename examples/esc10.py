"""Real recordings: train a compact classifier on ESC-10, fit L-MAC, and score its explanations on unseen clips.

    python examples/esc10.py --data ESC-50-folder --out runs/esc10

Folds 1 to 3 train, fold 4 is for choosing settings, fold 5 is explained. A second classifier, trained from another
seed, had no part in the fitting and judges the same masks. Classifiers and explainers are kept in --out and reused.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.data import ESC50
from audioxai.metrics import Results, evaluate, follow
from audioxai.nn import CompactCNN
from audioxai.training.recipes import accuracy, train_classifier

RATE = 16000
PLAIN = "L-MAC, latents alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--out", type=Path, default=Path("runs/esc10"), help="where weights, tables and the page go")
    parser.add_argument("--seeds", type=int, default=3, help="fits of L-MAC")
    parser.add_argument("--epochs", type=int, default=20, help="passes of each fit")
    parser.add_argument("--classifier-epochs", type=int, default=50)
    parser.add_argument("--space", default="stft", choices=["stft", "mel"])
    parser.add_argument("--scale", default="magnitude", choices=["magnitude", "log1p"])
    parser.add_argument("--fold", type=int, default=5, choices=[4, 5], help="fold that is explained")
    parser.add_argument("--pairs", type=int, default=100, help="two-clip mixtures for the target-following measure")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="other options of LMAC, as JSON values"
    )
    args = parser.parse_args()
    options = {name: json.loads(value) for name, value in (item.split("=", 1) for item in args.set)}

    sets = {
        name: ESC50(args.data, folds=folds, esc10=True) for name, folds in (("fit", (1, 2, 3)), ("test", (args.fold,)))
    }
    tensors = {name: TensorDataset(*data.tensors()) for name, data in sets.items()}
    fit = DataLoader(tensors["fit"], batch_size=16, shuffle=True, drop_last=True)
    test = DataLoader(tensors["test"], batch_size=16)
    classifier, judge = (a_classifier(seed, fit, test, args, sets["fit"].labels) for seed in (0, 1))

    where = {"space": args.space, "scale": args.scale}
    methods: dict[str, ax.Explainer] = {
        "all-ones": ax.AllOnes(classifier, **where),
        "random 16 %": ax.RandomMask(classifier, **where),
        "loudest 16 %": ax.EnergyMask(classifier, **where),
        "GradCAM": ax.GradCAM(classifier, **where),
        PLAIN: ax.LMAC(classifier, **where, evidence=False, mixing=0.0),
    }
    methods |= {
        f"L-MAC, seed {seed}": ax.LMAC(classifier, **where, seed=seed, **{"decoder_name": "evidence", **options})
        for seed in range(args.seeds)
    }
    learned = [name for name in methods if name.startswith("L-MAC, seed")]
    for name in (PLAIN, *learned):
        file = "-".join(["lmac", *where.values(), name.split()[-1]]) + ".safetensors"
        methods[name].fit(fit, epochs=args.epochs, checkpoint=args.out / file)
    seconds = [sum(epoch["seconds"] for epoch in methods[name].history_) for name in learned]

    results = evaluate(methods, test, judges=[judge])
    # Seeds are averaged per clip before the bootstrap: the same clips three times are not three times as many.
    mean = f"L-MAC, mean of {len(learned)}"
    together = {
        key: torch.stack([results.scores[name][key] for name in learned]).nanmean(0)
        for key in results.scores[learned[0]]
    }
    results = Results({**results.scores, mean: together}, runs={mean: len(learned)})
    text = [
        f"Fold {args.fold}, {args.space} masks, scale {args.scale}; fitting took {max(seconds):.0f} s a seed at most."
    ]
    text += ["", results.to_markdown(), "", "95 % bootstrap intervals of the last row:"]
    text += ["; ".join("{} {:.2f} to {:.2f}".format(key, *results.interval(mean, key)) for key in together)]
    text += ["", "Two-clip mixtures at equal level, each clip's class as target:", ""]
    text += following(
        {name: methods[name] for name in ("loudest 16 %", "GradCAM", PLAIN, *learned)}, tensors["test"], args.pairs
    )
    print("\n".join(text))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text("\n".join(text) + "\n")
    clips, classes = tensors["test"].tensors
    shown = [int((classes == k).nonzero()[0]) for k in range(0, 10, 3)]
    names = [sets["test"].files[i].name for i in shown]
    shown = methods[learned[0]].explain(clips[shown], names=names)
    page = shown.to_html(args.out / "page.html", title="L-MAC on ESC-10")
    print(f"\npage: {page}")


def a_classifier(
    seed: int, fit: DataLoader, test: DataLoader, args: argparse.Namespace, labels: tuple[str, ...]
) -> ax.AudioClassifier:
    torch.manual_seed(seed)
    classifier = ax.AudioClassifier(CompactCNN(len(labels)), sample_rate=RATE, frontend=ax.LogMel(RATE), labels=labels)
    weights = args.out / f"classifier-{seed}.safetensors"
    if weights.exists():
        classifier.network.load_state_dict(load_file(weights))
        classifier.eval()
    else:
        start = time.perf_counter()
        train_classifier(classifier, fit, epochs=args.classifier_epochs, seed=seed)
        weights.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in classifier.network.state_dict().items()}, weights)
        print(f"classifier {seed}: {time.perf_counter() - start:.0f} s")
    print(f"classifier {seed}: accuracy on fold {args.fold} {accuracy(classifier, test):.3f}")
    return classifier


def following(methods: dict[str, ax.Explainer], data: TensorDataset, pairs: int) -> list[str]:
    """Explain both classes of mixtures of two clips of different classes at equal level."""
    clips, classes = data.tensors
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(len(clips), (pairs,), generator=generator)
    second = torch.stack(
        [
            others[torch.randint(len(others), (1,), generator=generator)[0]]
            for others in ((classes != classes[i]).nonzero()[:, 0] for i in first)
        ]
    )
    level = 0.05 * clips.shape[1] ** 0.5
    stems = torch.stack(
        [clips[index] / clips[index].norm(dim=1, keepdim=True).clamp(min=1e-6) * level for index in (first, second)]
    )
    rows = [
        "| | SIR gain, dB (median) | kept of the named clip (median) | at least half kept |",
        "|---|---:|---:|---:|",
    ]
    for name, explainer in methods.items():
        scores = [
            follow(explainer, stems.sum(0), stem, None if name == PLAIN else classes[index])
            for stem, index in zip(stems, (first, second), strict=True)
        ]
        gain, kept = (torch.cat(part) for part in zip(*scores, strict=True))
        rows.append(f"| {name} | {gain.median():.1f} | {kept.median():.2f} | {(kept >= 0.5).float().mean():.2f} |")
    return rows


if __name__ == "__main__":
    main()
