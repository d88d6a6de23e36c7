"""Known parts: does an explanation of a given class keep that sound and drop the other?

    python examples/scenes.py

Scenes of two sounds over background noise, each sound's class as target in turn, so that every scene is explained
twice. Every mask is measured against the named sound and everything else. "Swapped" names the other sound than the one
that is measured.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import audioxai as ax
from audioxai.commands.demo import DemoSizes, mixtures, scene_classifier, scene_explainer
from audioxai.metrics import GROUND_TRUTH, METRICS, Results, evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixtures", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sizes = DemoSizes()
    classifier = scene_classifier(sizes, args.seed)
    lmac = scene_explainer(classifier, sizes, args.seed)
    plain = scene_explainer(classifier, sizes, args.seed, evidence=False, mixing=0.0)
    mixed = mixtures(args.mixtures, seed=100 + args.seed)
    where = {"space": "stft", "scale": "magnitude"}
    methods: dict[str, ax.Explainer] = {
        "all-ones": ax.AllOnes(classifier, **where),
        "random 16 %": ax.RandomMask(classifier, **where),
        "loudest 16 %": ax.EnergyMask(classifier, **where),
        "Integrated gradients": ax.IntegratedGradients(classifier, **where),
        "GradCAM": ax.GradCAM(classifier, **where),
        "L-MAC": lmac,
    }
    asked = mixed.batches()
    given = evaluate(methods, asked, metrics=GROUND_TRUTH)
    other = replace(mixed, classes=mixed.classes.flip(1)).batches()
    predicted = [{**batch, "target": None} for batch in asked]
    # The published decoder follows no target: it explains the predicted class, whichever sound is measured.
    others = {
        "L-MAC, swapped": evaluate({"": lmac}, other, metrics=GROUND_TRUTH),
        "L-MAC, latents alone": evaluate({"": plain}, predicted, metrics=GROUND_TRUTH),
    }
    results = Results(given.scores | {name: one.scores[""] for name, one in others.items()})
    print(results.to_markdown())
    print("\nMedians:\n\n| | SIR gain, dB | kept | at least half kept |\n|---|---:|---:|---:|")
    for name, scores in results.scores.items():
        gain, kept = scores["SIR gain"], scores["kept"]
        print(f"| {name} | {gain.median():.1f} | {kept.median():.2f} | {(kept >= 0.5).float().mean():.2f} |")
    print("\nL-MAC minus another, scene by scene, with 95 % bootstrap intervals:\n")
    print("| | " + " | ".join(GROUND_TRUTH) + " |\n|---|" + "---:|" * len(GROUND_TRUTH))
    for name in ("loudest 16 %", "Integrated gradients", "GradCAM"):
        print(f"| {name} | " + " | ".join(difference(results, name, metric) for metric in GROUND_TRUTH) + " |")


def difference(results: Results, name: str, metric: str) -> str:
    mean, low, high = results.difference("L-MAC", name, metric)
    digits = METRICS[metric].digits
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
