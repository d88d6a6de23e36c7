"""A compact CLAP on everyday sounds and synthetic scenes, and how well it hears what it is asked about.

    python examples/clap.py --data ESC-50-folder --out runs/clap

Trains an audio and a text tower on ESC-10's folds 1 to 3, on the events of audioxai.data.scenes and on mixtures of any
two, with sentences made from their labels (audioxai.data.captions): about ten minutes on one core. The audio tower
starts from esc10-compact, which saw the same clips. Then it prints how often it is right on clips, mixtures, scenes and
prompts that had no part in the training.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch
from torch import Tensor

import audioxai as ax
from audioxai.contrastive import train_clap
from audioxai.data import ESC50, EVENTS, SceneDataset
from audioxai.data.captions import MixtureCaptions
from audioxai.nn.clap import CompactCLAP
from audioxai.store import save_classifier

RATE, SECONDS = 16000, 5.0
PIECE = 3.0  # seconds of a clip that are heard at once in training
TRAINED = (1, 2, 3)
SCENES = 240  # single events to train on, as many as clips
TEMPLATE = "the sound of {}"

#: Ways to name the ten sounds that no sentence in the training has.
UNHEARD = {
    "chainsaw": "chainsawing logs",
    "clock_tick": "clockwork that ticks loudly",
    "crackling_fire": "firewood crackles in flames",
    "crying_baby": "some babies cry at night",
    "dog": "angry dogs bark loudly",
    "helicopter": "two helicopters in the sky",
    "rain": "a rainstorm, raining cats",
    "rooster": "roosters crow at dawn",
    "sea_waves": "waves wash the seashore",
    "sneezing": "he sneezed and sneezed",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--out", type=Path, default=Path("runs/clap"), help="where weights and checkpoint are kept")
    parser.add_argument("--epochs", type=int, default=25, help="passes of 20 batches of 24 pieces of clips")
    args = parser.parse_args()

    train = ESC50(args.data, folds=TRAINED, esc10=True, sample_rate=RATE, seconds=SECONDS)
    classifier = a_clap(train, args)
    save_classifier(classifier, args.out)
    test = ESC50(args.data, folds=(5,), esc10=True, sample_rate=RATE, seconds=SECONDS)
    print("\n".join(["| what | right | chance |", "|---|---:|---:|", *(measure(classifier, test))]))
    print(f"written: {args.out}")


def a_clap(train: ESC50, args: argparse.Namespace) -> ax.ZeroShotClassifier:
    """Both towers, trained, as a classifier whose labels are those of ESC-10."""
    torch.manual_seed(0)
    clap, frontend = CompactCLAP(), ax.LogMel(RATE)
    trunk = ax.load_pretrained("esc10-compact").classifier.network.state_dict()
    clap.audio.load_state_dict({k: v for k, v in trunk.items() if not k.startswith("head.")}, strict=False)
    clips, classes = train.tensors()
    scenes = SceneDataset(SCENES, seconds=SECONDS, sample_rate=RATE, seed=1)
    events = [scenes.scene(i) for i in range(SCENES)]
    labels = [train.labels[k] for k in classes.tolist()] + [name for scene in events for name in scene.names]
    sounds = torch.cat([clips, torch.stack([scene.waveform for scene in events])])
    loader = MixtureCaptions(sounds, labels, batch=24, samples=round(PIECE * RATE))
    history = train_clap(
        clap, frontend, loader, epochs=args.epochs, checkpoint=args.out / "clap-checkpoint.safetensors"
    )
    print(f"trained {args.epochs} passes in {sum(e['seconds'] for e in history) / 60:.1f} minutes, ", end="")
    print(f"loss {history[0]['loss']:.2f} to {history[-1]['loss']:.2f}, temperature {clap.temperature:.1f}")
    return ax.ZeroShotClassifier(
        clap.audio,
        clap.text,
        sample_rate=RATE,
        prompts=train.labels,
        frontend=frontend,
        template=TEMPLATE,
        temperature=clap.temperature,
    ).eval()


def measure(classifier: ax.ZeroShotClassifier, test: ESC50) -> list[str]:
    """A row each: what was asked, share of right answers, and that of guessing, in percent."""
    clips, classes = test.tensors()
    labels = test.labels
    rows = []

    def asked(prompts: object, template: str, waveform: Tensor) -> Tensor:
        classifier.set_prompts(prompts, template=template)
        with torch.no_grad():
            return torch.cat([classifier(part) for part in waveform.split(16)])

    def row(what: str, right: Tensor, chance: float) -> None:
        rows.append(f"| {what} | {100 * right.float().mean():.1f} % of {len(right)} | {100 * chance:.1f} % |")

    for template in (TEMPLATE, "{}", "this is a sound of {}."):
        row(f"fold 5, one of ten labels, `{template}`", asked(labels, template, clips).argmax(1) == classes, 0.1)
    unheard = [UNHEARD[label] for label in labels]
    row("fold 5, one of ten prompts with unseen words", asked(unheard, "{}", clips).argmax(1) == classes, 0.1)

    first, second = pairs(classes)
    level = clips.norm(dim=1, keepdim=True)
    mixtures = (clips[first] / level[first] + clips[second] / level[second]) * level[first] / 2**0.5
    both = torch.stack([classes[first], classes[second]], 1)
    scores = asked(labels, TEMPLATE, mixtures)
    top = scores.topk(2, dim=1).indices.sort(1).values
    row("mixtures of two clips of fold 5: the best label is in it", (scores.argmax(1)[:, None] == both).any(1), 0.2)
    row("mixtures of two clips of fold 5: the best two labels", (top == both.sort(1).values).all(1), 1 / 45)
    couples = list(itertools.combinations(range(10), 2))
    sentences = [f"{labels[a]} and {labels[b]}" for a, b in couples]
    best = torch.tensor(couples)[asked(sentences, "{}", mixtures).argmax(1)]
    row("mixtures of two clips of fold 5: the best of 45 sentences", (best == both.sort(1).values).all(1), 1 / 45)

    scenes = SceneDataset(200, events=2, seconds=SECONDS, sample_rate=RATE, seed=2)
    items = [scenes.scene(i) for i in range(200)]
    inside = torch.tensor([scene.classes for scene in items]).sort(1).values
    scores = asked(EVENTS, TEMPLATE, torch.stack([scene.waveform for scene in items]))
    row(
        "scenes of two events: the best two of ten", (scores.topk(2, 1).indices.sort(1).values == inside).all(1), 1 / 45
    )
    classifier.set_prompts(labels, template=TEMPLATE)
    return rows


def pairs(classes: Tensor, count: int = 200) -> tuple[Tensor, Tensor]:
    """Places of clips of two different classes, for so many mixtures."""
    generator = torch.Generator().manual_seed(0)
    found: list[tuple[int, int]] = []
    while len(found) < count:
        a, b = torch.randint(len(classes), (2,), generator=generator).tolist()
        if classes[a] != classes[b]:
            found.append((a, b))
    first, second = torch.tensor(found).T
    return first, second


if __name__ == "__main__":
    main()
