"""The second stage of L-MAC on real recordings: what it gives in sound, and what it costs.

    python examples/finetuning.py --data ESC-50-folder --out runs/finetuning

The shipped L-MAC is fine-tuned on folds 1 to 3 of ESC-10, clips mixed with one another, and explains fold 5: the clips
alone, and in mixtures with a clip of another class from fold 4 at equal level, where the clip itself is known. Nothing
is chosen on fold 5. Fine-tuned decoders are kept in --out and reused.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.data import ESC50
from audioxai.metrics import evaluate
from audioxai.report.plot import figure_png, plot_methods

ALONE = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "MM")
MIXED = ("AI", "AD", "SIR gain", "kept", "SI-SDR")
STAGES = {
    "norm, weight 4, CTH 0.6": {"guidance": "norm", "lambda_g": 4.0, "cth": 0.6},
    "norm, weight 16, CTH 0.6": {"guidance": "norm", "lambda_g": 16.0, "cth": 0.6},
    "norm, weight 4, CTH 0.7": {"guidance": "norm", "lambda_g": 4.0, "cth": 0.7},
    "binary, weight 4, CTH 0.6": {"guidance": "binary", "lambda_g": 4.0, "cth": 0.6},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--out", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--epochs", type=int, default=5, help="passes of each fine-tuning")
    parser.add_argument("--picture", type=int, default=24, help="which mixture to draw")
    args = parser.parse_args()
    sets = {fold: ESC50(args.data, folds=folds, esc10=True) for fold, folds in ((0, (1, 2, 3)), (4, (4,)), (5, (5,)))}
    fit = DataLoader(TensorDataset(*sets[0].tensors()), batch_size=16, shuffle=True, drop_last=True)
    clips, classes = sets[5].tensors()
    mixtures = clips + _partners(clips, classes, *sets[4].tensors())
    alone = list(clips.split(16))
    mixed = [
        {"waveform": m, "target": c, "stem": s}
        for m, c, s in zip(mixtures.split(16), classes.split(16), clips.split(16), strict=True)
    ]
    first = ax.load_pretrained("esc10-compact")
    methods = {"first stage": first}
    for name, stage in STAGES.items():
        methods[name] = _finetuned(first, fit, args, name, stage)

    text = []
    for title, loader, metrics in (("The clips alone", alone, ALONE), ("Mixtures at equal level", mixed, MIXED)):
        results = evaluate(methods, loader, metrics=metrics)
        text += [f"{title}, {len(clips)} clips:", "", results.to_markdown(), ""]
        for metric in ("AI", "AD") if loader is alone else ("SI-SDR",):
            for name in STAGES:
                found = results.difference(name, "first stage", metric)
                text.append(f"- {metric}, {name}, less first stage: {found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})")
        text.append("")
    for name in STAGES:
        last = methods[name].history_[-1]
        text.append(
            f"- {name}: {100 * last['selected']:.0f} % selected in the last pass, mean cosine {last['cosine']:.2f}"
        )
    print("\n".join(text))
    (args.out / "finetuning.md").write_text("\n".join(text))
    i = args.picture % len(clips)
    name = f"{sets[5].names[i]} in a mixture"
    drawn = [
        replace(explainer.explain(mixtures[i], classes[i : i + 1]), method=stage, names=[name])
        for stage, explainer in methods.items()
    ]
    (args.out / "finetuning.png").write_bytes(figure_png(plot_methods(drawn, columns=3)))


def _partners(clips: Tensor, classes: Tensor, others: Tensor, their_classes: Tensor) -> Tensor:
    """For each clip one of another class, at its level."""
    generator = torch.Generator().manual_seed(0)
    chosen = []
    for k in classes:
        places = (their_classes != k).nonzero()[:, 0]
        chosen.append(int(places[torch.randint(len(places), (), generator=generator)]))
    added = others[chosen]
    return added * clips.norm(dim=1, keepdim=True) / added.norm(dim=1, keepdim=True).clamp(min=1e-6)


def _finetuned(first: ax.LMAC, fit: DataLoader, args: argparse.Namespace, name: str, stage: dict) -> ax.LMAC:
    folder = args.out / name.replace(", ", "-").replace(" ", "-")
    if (folder / "explainer.json").exists():
        return ax.LMAC.from_pretrained(folder, classifier=first.classifier)
    first.save_pretrained(args.out / "first")
    explainer = ax.LMAC.from_pretrained(args.out / "first", classifier=first.classifier)
    explainer.finetune(fit, epochs=args.epochs, lr=1e-3, **stage)
    explainer.save_pretrained(folder)
    return explainer


if __name__ == "__main__":
    main()
