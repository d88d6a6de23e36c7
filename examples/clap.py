"""A compact CLAP on everyday sounds and synthetic scenes: trained, measured, and written as the package ships it.

    python examples/clap.py --data ESC-50-folder --out runs/clap

Trains an audio and a text tower on ESC-10's folds 1 to 3, on the events of audioxai.data.scenes and on mixtures of any
two, with sentences made from their labels (audioxai.data.captions). The audio tower starts from esc10-compact, which
saw the same clips. A minute or two on a GPU, an hour on one core; there ``--epochs 24 --batch 24 --seconds 3`` will
do. ``OUT/esc10-clap`` is what the package ships: every number of its card is measured here, on what was written and
loaded again.
"""

from __future__ import annotations

import argparse
import itertools
import platform
from collections import Counter
from pathlib import Path

import torch
from pretrained import LICENCES, as_csv, attribution, size
from torch import Tensor

import audioxai as ax
from audioxai.classifiers.saving import load_classifier, save_classifier
from audioxai.data import ESC50, EVENTS, SceneDataset
from audioxai.support.files import write_bytes
from audioxai.training.contrastive import TEMPLATE, train_zero_shot

NAME = "esc10-clap"
RATE, SECONDS = 16000, 5.0
TRAINED, CHECKED = (1, 2, 3), 5

#: Ways to name the ten sounds that no sentence of the training has.
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

CARD = """\
# {name}

A compact CLAP: an audio and a text tower that map sounds and sentences into one space. It is there to try the
explainers of zero-shot classifiers, and to test them, without a download:

    classifier = audioxai.load_pretrained("{name}")
    audioxai.GradCAM(classifier).explain("my.wav", "a puppy barks")

- **Prompts**: `{template}` for each of {labels}; `set_prompts` takes any others.
- **Audio tower**: {audio} on {frontend}, {rate} Hz, {audio_size:,} parameters, started from `esc10-compact`.
- **Text tower**: {text}, {text_size:,} parameters: words and character n-grams by hashing; the order of words plays no
  part. It knows about 180 phrases and the words in them.
- **Files**: `classifier.*` as written by `audioxai.classifiers.saving.save_classifier`, weights in float16; nothing is
  pickled. They are licensed as the package is.

## Data

ESC-10, the ten-class subset of ESC-50 (K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM
Multimedia 2015, https://github.com/karolpiczak/ESC-50): the {clips} clips of {seconds:g} seconds in folds {trained};
{events} synthetic events of `audioxai.data.scenes`; mixtures of any two; and sentences that `audioxai.data.captions`
makes from the labels. Nothing else was used, no captions written by people among it. The weights hold no recording, and
the package ships none.

The clips are cut from recordings on Freesound. `attribution.csv` names source, author and licence for each training
clip. The authors do not endorse this package. What each licence asks, and what is not settled about weights made from
recordings, stands in the card of `esc10-compact`, which learnt from the same clips.

| licence | training clips | asks | text |
|---|---:|---|---|
{licences}

## How well it does

On clips, mixtures and scenes that it was not trained on; mixtures are of two clips of different classes at equal level:

| what | right | chance |
|---|---:|---:|
{scores}

Right on fold {fold}, by class:

| {columns} |
|{rule}
| {recall} |

One seed, and few clips.

## How it was made

    {command}

{epochs} passes of {pieces} pieces, {minutes:.1f} minutes on {device}; loss {first:.2f} to {last:.2f}, temperature
{temperature:.1f}. The command wrote this card with audioxai {version}, torch {torch}, Python {python}. Another machine
or version of torch trains slightly different weights.

## What it must not be used for

- **Not a general CLAP.** It knows the eighteen kinds of sound that it was trained on, and words like those in its
  sentences. Whatever else it hears or reads, it gives a similarity all the same. For real use wrap a public checkpoint:
  `audioxai.from_clap`.
- **Not a detector**, and nothing that matters: no safety, security, medical, legal or surveillance use, and no decision
  about people, animals or machines. Silence: {silence}; white noise: {noise}.
- **Not a benchmark of methods.** For that train several seeds: `audioxai benchmark esc10 --network clap`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--out", type=Path, default=Path("runs/clap"), help="where weights and checkpoint are kept")
    parser.add_argument("--epochs", type=int, default=100, help="passes over clips and events")
    parser.add_argument("--batch", type=int, default=32, help="pieces in a batch")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of the pieces that are heard at once")
    parser.add_argument("--events", type=int, default=240, help="synthetic events to train on")
    parser.add_argument("--mixtures", type=int, default=200, help="mixtures and scenes to measure on")
    parser.add_argument("--device", help="default the GPU, if there is one")
    args = parser.parse_args()

    train = ESC50(args.data, folds=TRAINED, esc10=True, sample_rate=RATE, seconds=SECONDS)
    test = ESC50(args.data, folds=(CHECKED,), esc10=True, sample_rate=RATE, seconds=SECONDS)
    sources = attribution(args.data, train)
    clips, classes = train.tensors()
    made, history = train_zero_shot(
        clips,
        classes,
        train.labels,
        sample_rate=RATE,
        scenes=args.events,
        start=ax.load_pretrained("esc10-compact").classifier.network,
        seconds=args.seconds,
        epochs=args.epochs,
        batch=args.batch,
        device=args.device,
        checkpoint=args.out / "clap-checkpoint.safetensors",
    )
    folder = save_classifier(made, args.out / NAME, half=True)
    write_bytes(folder / "attribution.csv", as_csv(sources))
    text = card(load_classifier(folder).to(made.device), train, test, sources, history, args)
    write_bytes(folder / "CARD.md", text.encode())
    print(f"{text}\nwritten: {folder}, {sum(f.stat().st_size for f in folder.iterdir()) / 1e6:.2f} MB")


def asked(classifier: ax.ZeroShotClassifier, prompts: object, template: str, waveform: Tensor) -> Tensor:
    """Logits (B, K) of K prompts, on the CPU."""
    classifier.set_prompts(prompts, template=template)
    with torch.no_grad():
        return torch.cat([classifier(part.to(classifier.device)).cpu() for part in waveform.split(16)])


def best_two(scores: Tensor) -> Tensor:
    return scores.topk(2, dim=1).indices.sort(1).values


def measure(classifier: ax.ZeroShotClassifier, test: ESC50, count: int) -> list[str]:
    """A row each: what was asked, share of right answers, and that of guessing, in percent."""
    clips, classes = test.tensors()
    labels = test.labels
    rows = []

    def row(what: str, right: Tensor, chance: float) -> None:
        rows.append(f"| {what} | {100 * right.float().mean():.1f} % of {len(right)} | {100 * chance:.1f} % |")

    for template in (TEMPLATE, "{}", "this is a sound of {}."):
        right = asked(classifier, labels, template, clips).argmax(1) == classes
        row(f"fold {CHECKED}, one of ten labels, `{template}`", right, 0.1)
    unheard = [UNHEARD[label] for label in labels]
    right = asked(classifier, unheard, "{}", clips).argmax(1) == classes
    row(f"fold {CHECKED}, one of ten sentences unlike those of the training, such as “{unheard[0]}”", right, 0.1)

    first, second = pairs(classes, count)
    level = clips.norm(dim=1, keepdim=True)
    mixtures = (clips[first] / level[first] + clips[second] / level[second]) * level[first] / 2**0.5
    both = torch.stack([classes[first], classes[second]], 1).sort(1).values
    scores = asked(classifier, labels, TEMPLATE, mixtures)
    what = f"mixtures of two clips of fold {CHECKED}"
    row(f"{what}: the best label is in it", (scores.argmax(1)[:, None] == both).any(1), 0.2)
    row(f"{what}: the best two labels", (best_two(scores) == both).all(1), 1 / 45)
    couples = list(itertools.combinations(range(10), 2))
    sentences = [f"{labels[a]} and {labels[b]}" for a, b in couples]
    best = torch.tensor(couples)[asked(classifier, sentences, "{}", mixtures).argmax(1)]
    row(f"{what}: the best of 45 sentences, such as “{sentences[0]}”", (best == both).all(1), 1 / 45)

    scenes = SceneDataset(count, events=2, seconds=SECONDS, sample_rate=RATE, seed=1000)
    items = [scenes.scene(i) for i in range(count)]
    inside = torch.tensor([scene.classes for scene in items]).sort(1).values
    scores = asked(classifier, EVENTS, TEMPLATE, torch.stack([scene.waveform for scene in items]))
    row("scenes of two of ten events: the best two", (best_two(scores) == inside).all(1), 1 / 45)
    classifier.set_prompts(labels, template=TEMPLATE)
    return rows


def pairs(classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Places of clips of two different classes, for the mixtures."""
    generator = torch.Generator().manual_seed(0)
    found: list[tuple[int, int]] = []
    while len(found) < count:
        a, b = torch.randint(len(classes), (2,), generator=generator).tolist()
        if classes[a] != classes[b]:
            found.append((a, b))
    first, second = torch.tensor(found).T
    return first, second


def card(
    classifier: ax.ZeroShotClassifier,
    train: ESC50,
    test: ESC50,
    sources: list[dict[str, str]],
    history: list[dict[str, float]],
    args: argparse.Namespace,
) -> str:
    labels, device = train.labels, classifier.device
    clips, classes = test.tensors()
    predicted = asked(classifier, labels, TEMPLATE, clips).argmax(1)
    right, total = Counter(classes[predicted == classes].tolist()), Counter(classes.tolist())
    licences = Counter((row["licence"], row["licence_url"]) for row in sources)
    noise = 0.1 * torch.randn(train.samples, generator=torch.Generator().manual_seed(0))
    audio = classifier.network.encoder
    return CARD.format(
        name=NAME,
        template=TEMPLATE,
        labels=", ".join(labels),
        audio=type(audio).__name__,
        frontend=type(classifier.frontend).__name__,
        rate=RATE,
        audio_size=size(audio),
        text=type(classifier.text_encoder).__name__,
        text_size=size(classifier.text_encoder),
        clips=len(sources),
        seconds=SECONDS,
        trained=f"{TRAINED[0]} to {TRAINED[-1]}",
        events=args.events,
        licences="\n".join(f"| {name} | {n} | {LICENCES[name]} | {url} |" for (name, url), n in licences.most_common()),
        scores="\n".join(measure(classifier, test, args.mixtures)),
        fold=CHECKED,
        columns=" | ".join(labels),
        rule="---|" * len(labels),
        recall=" | ".join(f"{right[k]} of {total[k]}" for k in range(len(labels))),
        command=f"python examples/clap.py --data ESC-50-FOLDER --out {args.out}"
        + "".join(f" --{name} {getattr(args, name):g}" for name in ("epochs", "batch", "seconds", "events")),
        epochs=len(history),
        pieces=len(sources) + args.events,
        minutes=sum(epoch["seconds"] for epoch in history) / 60,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} core(s)",
        first=history[0]["loss"],
        last=history[-1]["loss"],
        temperature=classifier.temperature,
        version=ax.__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        silence=answer(classifier, torch.zeros(train.samples)),
        noise=answer(classifier, noise),
    )


def answer(classifier: ax.ZeroShotClassifier, clip: Tensor) -> str:
    """The label for a clip (T,), and its share."""
    with torch.no_grad():
        share, label = classifier.probabilities(classifier(clip[None].to(classifier.device)))[0].max(0)
    return f"{classifier.labels[label]}, {share:.2f}"


if __name__ == "__main__":
    main()
