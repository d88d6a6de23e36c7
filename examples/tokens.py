"""L-MAC on a transformer beside L-MAC on a CNN: is the named sound kept as well where latents are tokens?

    python examples/tokens.py

The compact CNN of examples/scenes.py, and an Audio Spectrogram Transformer made small (transformers' own model, with
the 128 bands and the overlapping patches of the public ones, wrapped by ``from_huggingface``), learn the same scenes of
one sound. L-MAC is fitted on each as it comes, and with the decoder for coarse maps, in smaller batches and for longer.
Then scenes of two sounds over background noise, each sound's class as target in turn: by how much does the mask raise
the named sound over everything else?
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import torch

import audioxai as ax
from audioxai.commands.demo import (
    RATE,
    SECONDS,
    DemoSizes,
    Mixtures,
    mixtures,
    scene_classifier,
    scene_explainer,
    scene_loader,
)
from audioxai.data import EVENTS
from audioxai.metrics import Results, evaluate
from audioxai.training.recipes import accuracy, train_classifier

CNN, AST = "L-MAC on the CNN", "L-MAC on the AST"
SOUND = ", sound decoder"
MEASURES = ["SIR gain", "kept"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixtures", type=int, default=100)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="one network of each kind, and its fits, for each"
    )
    parser.add_argument("--scenes", type=int, default=640, help="that networks and fits learn from")
    parser.add_argument("--epochs", type=int, default=30, help="passes in which the transformer learns")
    parser.add_argument("--passes", type=int, default=14, help="of the fit with the sound decoder")
    args = parser.parse_args()
    mixed = mixtures(args.mixtures, seed=100)
    found = []
    for seed in args.seeds:
        found.append(compare(mixed, DemoSizes(args.scenes), seed, args.epochs, args.passes))
        print(f"\nseed {seed}, {args.mixtures} mixtures, both sounds of each:\n\n{table(found[-1])}\n", flush=True)
    if len(found) > 1:
        gaps = torch.tensor([one.difference(AST + SOUND, CNN, "SIR gain")[0] for one in found])
        print(f"{AST + SOUND} minus {CNN} over seeds: {gaps.mean():.1f} dB, {gaps.min():.1f} to {gaps.max():.1f}")


def compare(mixed: Mixtures, sizes: DemoSizes, seed: int, epochs: int, passes: int) -> Results:
    """Both networks, trained, explained and measured on the same mixtures."""
    held_out = scene_loader(200, seed=2)
    methods: dict[str, ax.Explainer] = {}
    for name in (CNN, AST):
        start = time.perf_counter()
        classifier = scene_classifier(sizes, seed) if name == CNN else token_classifier(sizes, seed, epochs)
        trained = time.perf_counter()
        methods[name] = scene_explainer(classifier, sizes, seed)
        fitted = time.perf_counter()
        methods[name + SOUND] = sound_explainer(classifier, sizes, seed, passes)
        seconds = [f"{end - begin:.0f} s" for begin, end in pairwise([start, trained, fitted, time.perf_counter()])]
        right = f"right on {100 * accuracy(classifier, held_out):.0f} %"
        print(f"{name}: network in {seconds[0]}, {right}; fits in {seconds[1]} and {seconds[2]}", flush=True)
        methods[f"loudest 16 %, {name.split()[-1]}"] = ax.EnergyMask(classifier, space="stft", scale="magnitude")
    return evaluate(methods, mixed.batches(), metrics=MEASURES)


def sound_explainer(classifier: ax.AudioClassifier, sizes: DemoSizes, seed: int, passes: int) -> ax.LMAC:
    """L-MAC as tokens need it: their evidence is spread out, so that more of what is learnt comes from mixtures."""
    explainer = ax.LMAC(classifier, scale="magnitude", seed=seed, decoder_name="sound", mixing=0.8)
    return explainer.fit(scene_loader(sizes.scenes, seed=1, batch_size=4), epochs=passes)


def token_classifier(sizes: DemoSizes, seed: int, epochs: int) -> ax.AudioClassifier:
    """An AST of 0.17 M parameters, trained on the scenes that the CNN learns: 12 by 19 patches of 16 by 16."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    frames, bands = 1 + int(SECONDS * 100 - 2.5), 128  # of 25 ms, one every 10 ms
    torch.manual_seed(seed)
    config = ASTConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, max_length=frames, num_mel_bins=bands, frequency_stride=10, time_stride=10,
        id2label=dict(enumerate(EVENTS)),
    )  # fmt: skip
    extractor = ASTFeatureExtractor(sampling_rate=RATE, max_length=frames, num_mel_bins=bands)
    classifier = ax.from_huggingface(ASTForAudioClassification(config).eval(), extractor)
    train_classifier(classifier, scene_loader(sizes.scenes, seed=1), epochs=epochs, lr=2e-3, seed=seed)
    return classifier


def table(results: Results) -> str:
    """Mean with 95 % bootstrap interval over the explained sounds, medians, and differences pair by pair."""
    lines = ["| | SIR gain, dB | median | kept, median |", "|---|---:|---:|---:|"]
    for name, scores in results.scores.items():
        gain, kept = scores["SIR gain"], scores["kept"]
        low, high = results.interval(name, "SIR gain")
        mean = results.mean(name, "SIR gain")
        lines.append(f"| {name} | {mean:.1f} ({low:.1f} to {high:.1f}) | {gain.median():.1f} | {kept.median():.2f} |")
    lines.append("")
    for other in (CNN, CNN + SOUND, AST):
        mean, low, high = results.difference(AST + SOUND, other, "SIR gain")
        lines.append(f"{AST + SOUND} minus {other}: {mean:.1f} dB ({low:.1f} to {high:.1f})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
