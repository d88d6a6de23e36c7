"""Known parts: does an explanation of a given class keep that sound and drop the other?

    python examples/scenes.py

Scenes of two sounds over background noise, each sound's class as target in turn. The mask is applied to the parts one
by one. "Swapped" names the other sound than the one that is measured.
"""

from __future__ import annotations

import argparse

import torch

import audioxai as ax
from audioxai.demo import DemoSizes, mixtures, scene_classifier, scene_explainer
from audioxai.metrics import follow


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
    rows = [
        ("loudest 16 %", ax.EnergyMask(classifier, scale="magnitude"), False),
        ("GradCAM", ax.GradCAM(classifier, scale="magnitude"), False),
        ("L-MAC, latents alone (explains the predicted class)", plain, False),
        ("L-MAC", lmac, False),
        ("L-MAC, swapped", lmac, True),
    ]
    print("| | SIR gain, dB (median) | energy kept of the named sound (median) | at least half kept |")
    print("|---|---:|---:|---:|")
    for name, explainer, swapped in rows:
        scores = []
        for i in (0, 1):
            target = None if explainer is plain else mixed.classes[:, 1 - i if swapped else i]
            scores.append(follow(explainer, mixed.waveform, mixed.stems[:, i], target))
        gain, kept = (torch.cat(part) for part in zip(*scores, strict=True))
        print(f"| {name} | {gain.median():.1f} | {kept.median():.2f} | {(kept >= 0.5).float().mean():.2f} |")


if __name__ == "__main__":
    main()
