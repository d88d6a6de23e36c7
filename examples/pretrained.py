"""The weights that the package ships: a compact network and its L-MAC on ESC-10, with their card.

    python examples/pretrained.py --data ESC-50-folder --out runs/esc10

Folds 1 to 3 train. Network and L-MAC are those of examples/compare.py --lmac: made if need be, kept in --out and
reused. Every number of the card is measured here, on what was written and loaded again. Where the data lacks
``meta/attribution.csv``, the attribution that is already shipped, of the same clips, is copied.
"""

from __future__ import annotations

import argparse
import csv
import io
import platform
from collections import Counter
from pathlib import Path

import torch
from esc10 import RATE, a_classifier
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.classifiers.saving import load_classifier, save_classifier
from audioxai.data import ESC50
from audioxai.metrics import Results, evaluate
from audioxai.pretrained import DEFAULT, pretrained_folder
from audioxai.support.files import write_bytes
from audioxai.training.recipes import accuracy

TRAINED, CHECKED = (1, 2, 3), (4, 5)
METRICS = ("AI", "AD", "AG", "FF", "Fid-In", "MM")
COLUMNS = ("filename", "source_title", "source_url", "author", "licence", "licence_url")
CHECKPOINT = "lmac-stft-magnitude-0.safetensors"

#: What each licence asks; a clip under another one stops the script.
LICENCES = {
    "CC0": "no conditions",
    "CC-BY": "name the author, say what was changed; commercial use is allowed",
    "CC-Sampling+": "name the author; transformed works may be commercial, but must not advertise anything but "
    "themselves; whole copies of the recording may be passed on for non-commercial purposes only",
}


CARD = """\
# {name}

A small network that tells ten everyday sounds apart, and the L-MAC explainer fitted to it. They are there to try the
toolkit on a sound of your own without training anything:

    audioxai explain my.wav

    explainer = audioxai.load_pretrained("{name}")
    explainer.explain("my.wav")

- **Labels**: {labels}.
- **Network**: {network}, {rate} Hz, {network_size:,} parameters.
- **Explainer**: LMAC, {space} masks, scale `{scale}`, decoder with {decoder_size:,} parameters. Any label can be the
  target.
- **Files**: `classifier.*` as written by `audioxai.classifiers.saving.save_classifier`, `decoder.safetensors` and
  `explainer.json` as written by `save_pretrained`. Floating-point weights are float32; nothing is
  pickled. They are licensed as the package is.

## Data

ESC-10, the ten-class subset of ESC-50 (K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM
Multimedia 2015, https://github.com/karolpiczak/ESC-50): the {clips} clips of {seconds:g} seconds in folds {trained},
read from {formats} files. The network and L-MAC were trained on these and on nothing else. The weights hold no
recording, and the package ships none.

The clips are cut from recordings on Freesound. `attribution.csv` names source, author and licence for each training
clip. The authors do not endorse this package.

| licence | training clips | asks | text |
|---|---:|---|---|
{licences}

Training clips under a licence that forbids commercial use of works made from them: {noncommercial}. ESC-10 as a data
set is under CC BY 3.0; ESC-50 as a whole, of which nothing else was used, is under CC BY-NC 3.0. Whoever passes the
recordings on is bound by the conditions on whole copies. Whether weights are a work made from the clips behind them is
not settled everywhere: pass `attribution.csv` on with the weights, so that the authors are named either way.

## How well it does

Network, on clips that it was not trained on: {accuracies}. Fold 4 is also where
settings are chosen. Right on fold {fold}, by class:

| {columns} |
|{rule}
| {recall} |

Explainer, on the {tested} clips of fold {fold}, predicted class, by `audioxai.evaluate`: AI average increase, AD
average drop, AG average gain (%), FF faithfulness, Fid-In input fidelity, MM mask mean. The other rows are controls,
which explain nothing:

{scores}

One seed each of network and explainer, and few clips.

## How it was made

    {command}

{classifier_epochs} epochs for the network, {epochs} for L-MAC ({minutes:.0f} minutes), seed 0, defaults otherwise. The
command reuses the checkpoints that it or `examples/compare.py --lmac` has left in `--out`. It wrote this card, measured
on the saved files with audioxai {version}, torch {torch}, Python {python} and {threads} thread(s). Another version of
torch or another number of threads trains slightly different weights.

## What it must not be used for

- **Not a detector.** It answers with one of its ten sounds whatever it hears. Silence: {silence}; white
  noise: {noise}. Its probabilities are not calibrated.
- **Nothing that matters**: no safety, security, medical, legal or surveillance use, and no decision about people,
  animals or machines. It has heard {per_class} clips of each sound.
- **Not proof of what is in a recording.** An explanation shows what this network relied on, not what another network or
  a listener would.
- **Not a benchmark of methods.** For that train several seeds, see `examples/esc10.py` and `examples/compare.py`.
- Several sounds at once, clips much longer than {seconds:g} seconds and other microphones are unlike what it was
  trained on.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--out", type=Path, default=Path("runs/esc10"), help="where checkpoints are kept")
    parser.add_argument("--folder", type=Path, help=f"where the weights go; default {DEFAULT} in --out")
    parser.add_argument("--classifier-epochs", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=20, help="passes of L-MAC's fit")
    args = parser.parse_args()
    args.fold = CHECKED[-1]  # of which a_classifier tells the accuracy
    folder = args.folder or args.out / DEFAULT

    train = ESC50(args.data, folds=TRAINED, esc10=True, sample_rate=RATE)
    sources = attribution(args.data, train)
    fit = DataLoader(TensorDataset(*train.tensors()), batch_size=16, shuffle=True, drop_last=True)
    checks = {
        fold: DataLoader(TensorDataset(*ESC50(args.data, folds=(fold,), esc10=True).tensors()), batch_size=16)
        for fold in CHECKED
    }
    made = a_classifier(0, fit, checks[args.fold], args, train.labels)
    fitted = ax.LMAC(made, space="stft", scale="magnitude", decoder_name="evidence").fit(
        fit, epochs=args.epochs, checkpoint=args.out / CHECKPOINT
    )
    save_classifier(made, folder)
    fitted.save_pretrained(folder)
    write_bytes(folder / "attribution.csv", as_csv(sources))

    explainer = ax.LMAC.from_pretrained(folder, classifier=load_classifier(folder))
    classifier = explainer.classifier
    controls = [make(classifier, scale="magnitude") for make in (ax.AllOnes, ax.RandomMask, ax.EnergyMask)]
    results = evaluate({"L-MAC": explainer} | {c.name: c for c in controls}, checks[args.fold], metrics=METRICS)
    text = card(explainer, train, sources, checks, results, args)
    write_bytes(folder / "CARD.md", text.encode())
    print(f"\n{text}\nwritten: {folder}, {sum(f.stat().st_size for f in folder.iterdir()) / 1e6:.2f} MB")


def attribution(data: Path, train: ESC50) -> list[dict[str, str]]:
    """A row of COLUMNS for each training clip, in their order."""
    table = data / "meta" / "attribution.csv"
    if not table.is_file():
        table = pretrained_folder() / "attribution.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = {Path(row["filename"]).stem: row for row in csv.DictReader(file)}
    if lacking := [f.name for f in train.files if f.stem not in rows]:
        raise SystemExit(f"{table} names no source of {lacking[:3]} and {len(lacking)} clip(s) in all; add their rows")
    if other := {rows[f.stem]["licence"] for f in train.files} - set(LICENCES):
        raise SystemExit(f"{table} has the licences {sorted(other)}; say in LICENCES what they ask")
    return [{name: rows[f.stem][name] for name in COLUMNS} for f in train.files]


def as_csv(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def recall(classifier: ax.AudioClassifier, loader: DataLoader) -> str:
    """Right and all clips of each class, as a row of a table."""
    right, total = Counter(), Counter()
    with torch.no_grad():
        for clips, classes in loader:
            total.update(classes.tolist())
            right.update(classes[classifier(clips).argmax(1) == classes].tolist())
    return " | ".join(f"{right[k]} of {total[k]}" for k in range(len(classifier.labels)))


def scores(results: Results) -> str:
    lines = [f"| | {' | '.join(METRICS)} |", f"|---|{'---:|' * len(METRICS)}"]
    for row in results.rows():
        lines.append(f"| {next(iter(row.values()))} | {' | '.join(row[name] for name in METRICS)} |")
    between = ("{} {:.2f} to {:.2f}".format(name, *results.interval("L-MAC", name)) for name in METRICS)
    return "\n".join([*lines, "", f"95 % bootstrap intervals of L-MAC over the clips: {'; '.join(between)}."])


def card(
    explainer: ax.LMAC,
    train: ESC50,
    sources: list[dict[str, str]],
    checks: dict[int, DataLoader],
    results: Results,
    args: argparse.Namespace,
) -> str:
    classifier = explainer.classifier
    sizes = {fold: len(loader.dataset) for fold, loader in checks.items()}
    licences = Counter((row["licence"], row["licence_url"]) for row in sources)
    noise = torch.randn(train.samples, generator=torch.Generator().manual_seed(0))
    return CARD.format(
        name=DEFAULT,
        labels=", ".join(classifier.labels),
        network=f"{type(classifier.network).__name__} on {type(classifier.frontend).__name__}",
        rate=classifier.sample_rate,
        network_size=size(classifier.network),
        decoder_size=size(explainer.decoder),
        space=explainer.space.name,
        scale=explainer.space.scale,
        clips=len(sources),
        seconds=train.samples / RATE,
        trained=f"{TRAINED[0]} to {TRAINED[-1]}",
        formats=", ".join(sorted({f.suffix.removeprefix(".").upper() for f in train.files})),
        licences="\n".join(f"| {name} | {n} | {LICENCES[name]} | {url} |" for (name, url), n in licences.most_common()),
        noncommercial=sum("NC" in row["licence"] for row in sources) or "none",
        accuracies="; ".join(
            f"fold {fold}, {100 * accuracy(classifier, loader):.1f} % of {sizes[fold]}"
            for fold, loader in checks.items()
        ),
        fold=args.fold,
        columns=" | ".join(classifier.labels),
        rule="---|" * len(classifier.labels),
        recall=recall(classifier, checks[args.fold]),
        tested=sizes[args.fold],
        scores=scores(results),
        command=f"python examples/pretrained.py --data ESC-50-FOLDER --out {args.out}"
        + (f" --folder {args.folder}" if args.folder else ""),
        classifier_epochs=args.classifier_epochs,
        epochs=len(explainer.history_),
        minutes=sum(epoch["seconds"] for epoch in explainer.history_) / 60,
        version=ax.__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        threads=torch.get_num_threads(),
        silence=answer(classifier, torch.zeros(train.samples)),
        noise=answer(classifier, 0.1 * noise),
        per_class=len(sources) // len(classifier.labels),
    )


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def answer(classifier: ax.AudioClassifier, clip: torch.Tensor) -> str:
    """What the network says to a clip (T,), and its probability."""
    with torch.no_grad():
        share, label = classifier.probabilities(classifier(clip[None]))[0].max(0)
    return f"{classifier.labels[label]}, {share:.2f}"


if __name__ == "__main__":
    main()
