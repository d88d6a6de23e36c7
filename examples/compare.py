"""Every explainer on the same real clips: one table per space, and one picture of all masks.

    python examples/compare.py --data ESC-50-folder --out runs/esc10

explains the clips of fold 5 of ESC-10 with every method at its defaults, but for the scale, beside the published
settings where there are any. The classifier, and L-MAC with ``--lmac``, are those of examples/esc10.py: made if need
be, kept in --out and reused.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from esc10 import a_classifier
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.data import ESC50
from audioxai.metrics import evaluate
from audioxai.report.plot import figure_png, plot_methods

TRAINING_FREE = (
    ax.AllOnes, ax.RandomMask, ax.EnergyMask, ax.Saliency, ax.InputXGradient, ax.SmoothGrad, ax.IntegratedGradients,
    ax.GuidedBackprop, ax.GradCAM, ax.GradCAMPlusPlus, ax.GuidedGradCAM, ax.ScoreCAM, ax.GScoreCAM, ax.GradientSHAP,
    ax.DeepSHAP, ax.KernelSHAP, ax.Occlusion, ax.LIME,
)  # fmt: skip
PUBLISHED = (
    ax.Saliency, ax.SmoothGrad, ax.IntegratedGradients, ax.GradCAM, ax.GuidedGradCAM, ax.GuidedBackprop, ax.GradientSHAP
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--out", type=Path, default=Path("runs/esc10"), help="where weights, tables and pictures go")
    parser.add_argument("--spaces", nargs="+", default=["stft", "mel"], choices=["stft", "mel", "waveform"])
    parser.add_argument("--scale", default="magnitude", choices=["magnitude", "log1p"])
    parser.add_argument("--fold", type=int, default=5, choices=[4, 5], help="fold that is explained")
    parser.add_argument("--classifier-epochs", type=int, default=50)
    parser.add_argument("--clips", type=int, help="explain the first few clips only")
    parser.add_argument("--picture", type=int, nargs="+", default=[0], help="clips to draw")
    parser.add_argument("--only-pictures", action="store_true", help="draw, and print no table")
    parser.add_argument("--lmac", action="store_true", help="fit L-MAC too, or load it from --out")
    parser.add_argument("--epochs", type=int, default=20, help="passes of L-MAC's fit")
    args = parser.parse_args()

    train = ESC50(args.data, folds=(1, 2, 3), esc10=True)
    test = ESC50(args.data, folds=(args.fold,), esc10=True)
    fit = DataLoader(TensorDataset(*train.tensors()), batch_size=16, shuffle=True, drop_last=True)
    clips, classes = (part[: args.clips] for part in test.tensors())
    loader = DataLoader(TensorDataset(clips, classes), batch_size=16)
    if not all(-len(clips) <= i < len(clips) for i in args.picture):
        parser.error(f"--picture {args.picture}: there are {len(clips)} clips, numbered from 0")
    classifier = a_classifier(0, fit, loader, args, train.labels)
    for space in args.spaces:
        where = {"space": space, "scale": args.scale}
        methods: dict[str, ax.Explainer] = {method.__name__: method(classifier, **where) for method in TRAINING_FREE}
        if args.lmac:
            methods["L-MAC"] = ax.LMAC(classifier, **where, decoder_name="evidence").fit(
                fit, epochs=args.epochs, checkpoint=args.out / f"lmac-{space}-{args.scale}-0.safetensors"
            )
        args.out.mkdir(parents=True, exist_ok=True)
        for i in args.picture:
            drawn = [method.explain(clips[i], names=[test.files[i].name]) for method in methods.values()]
            picture = args.out / f"methods-{space}-{args.scale}-{args.fold}-{i}.png"
            picture.write_bytes(figure_png(plot_methods(drawn)))
            print(f"picture: {picture}")
        if args.only_pictures:
            continue
        methods |= {f"{method.__name__}, published": method.reference(classifier, space=space) for method in PUBLISHED}
        start = time.perf_counter()
        table = evaluate(methods, loader).to_markdown()
        seconds = time.perf_counter() - start
        head = f"Fold {args.fold}, {space} masks, scale {args.scale} (published settings: log1p), {seconds:.0f} s"
        print(f"\n{head}\n\n{table}\n", flush=True)
        (args.out / f"methods-{space}-{args.scale}-{args.fold}.md").write_text(f"{head}\n\n{table}\n")


if __name__ == "__main__":
    main()
