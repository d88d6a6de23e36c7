"""LMAC-TD beside L-MAC: is what is heard more faithful, and closer to the sound that is explained?

    python examples/time_domain.py --data ESC-50-folder --out runs/time-domain
    python examples/time_domain.py --epochs 8 --pairs 100 --out runs/time-domain-scenes

On real recordings the network and L-MAC are those that the package ships, and LMAC-TD is fitted to that network on
folds 1 to 3 of ESC-10, once for each alpha. Without --data, the network and both explainers learn the synthetic scenes
of the demo. In domain, the predicted class of every held-out clip is explained; on mixtures of two sounds, the class of
each in turn, and what is kept is compared with that sound. The scores of L-MAC are
those of its masked spectrogram, as usual, and in the rows "as heard" those of its sounds, like LMAC-TD's. Fits are kept
in --out and reused, and go on where they were stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.classifiers.saving import load_classifier, save_classifier
from audioxai.commands.demo import RATE, SECONDS, DemoSizes, scene_classifier, scene_explainer, scene_loader
from audioxai.commands.demo import mixtures as scene_mixtures
from audioxai.data import ESC50, SceneDataset
from audioxai.metrics import SOUND, Results, evaluate

OURS, THEIRS = "LMAC-TD, alpha 0.75", "L-MAC"
IN_DOMAIN = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP", "MM", *SOUND)
MIXTURES = (*IN_DOMAIN, "SIR gain", "SI-SDR", "SI-SAR")
COMPARED = ("AI", "AD", "FF", "Fid-In")


@dataclass(frozen=True)
class Material:
    """What is fitted on and explained: a title, L-MAC and its loader, single clips (B, T), mixtures with stems."""

    title: str
    lmac: ax.LMAC
    fit: DataLoader
    clips: torch.Tensor
    mixed: list[dict[str, torch.Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of ESC-50 or its ten-class subset; without it, scenes")
    parser.add_argument("--out", type=Path, default=Path("runs/time-domain"), help="where fits, sounds and tables go")
    parser.add_argument("--epochs", type=int, default=20, help="passes of each fit")
    parser.add_argument("--alphas", type=float, nargs="*", default=[0.0, 0.75, 1.0])
    parser.add_argument("--filterbank", default="fourier", choices=["fourier", "learned"])
    parser.add_argument("--finetune", type=int, default=5, help="passes of L-MAC's second stage; 0: no such row")
    parser.add_argument("--fold", type=int, default=5, choices=[4, 5], help="fold that is explained")
    parser.add_argument("--pairs", type=int, default=60, help="mixtures of two sounds")
    parser.add_argument("--clips", type=int, help="explain the first few clips only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    material = recordings(args) if args.data else scenes(args)
    methods, mixed = explainers(args, material), material.mixed

    text = [f"{material.title}, {len(material.clips)} clips, predicted class:", ""]
    results = evaluate(methods, list(material.clips.split(16)), metrics=IN_DOMAIN)
    text += [results.to_markdown(costs=True), "", *differences(results, methods, COMPARED), ""]
    text += [f"{args.pairs} mixtures of two sounds, the class of each in turn:", ""]
    results = Results()
    for name, method in methods.items():
        asked = mixed if follows(method) else [{**batch, "target": None} for batch in mixed]
        one = evaluate({name: method}, asked, metrics=MIXTURES)
        results.scores.update(one.scores)
    text += [results.to_markdown(), "", *differences(results, methods, (*COMPARED, "SI-SDR", "SI-SAR"))]
    if deaf := [name for name, method in methods.items() if not follows(method)]:
        text += ["", f"Which sound is asked for is not heard by {', '.join(deaf)}: the predicted class is explained."]
    print("\n".join(text))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"table-{material.title.replace(' ', '-').lower()}.md").write_text("\n".join(text) + "\n")
    for name in (THEIRS, *(n for n in methods if n.startswith("LMAC-TD"))):
        first = mixed[0]
        target = first["target"][:4] if follows(methods[name]) else None
        saved = methods[name].explain(first["waveform"][:4], target, names=[f"{name} {i}" for i in range(4)])
        saved.save(args.out / "sounds")


def recordings(args: argparse.Namespace) -> Material:
    """The shipped network and its L-MAC; ESC-10's folds."""
    train = ESC50(args.data, folds=(1, 2, 3), esc10=True)
    fit = DataLoader(TensorDataset(*train.tensors()), batch_size=16, shuffle=True, drop_last=True)
    clips, classes = (part[: args.clips] for part in ESC50(args.data, folds=(args.fold,), esc10=True).tensors())
    lmac = ax.load_pretrained("esc10-compact").to(args.device)
    return Material(f"Fold {args.fold}", lmac, fit, clips, mixtures(clips, classes, args.pairs))


def scenes(args: argparse.Namespace) -> Material:
    """The demo's network and its L-MAC, made once and kept; single sounds, and two over background noise."""
    sizes, place = DemoSizes(), args.out / "model"
    fit = scene_loader(sizes.scenes, seed=1)
    if (place / "explainer.json").is_file():
        lmac = ax.LMAC.from_pretrained(place, classifier=load_classifier(place))
    else:
        lmac = scene_explainer(scene_classifier(sizes), sizes)
        save_classifier(lmac.classifier, place)
        lmac.save_pretrained(place)
    lmac = lmac.to(args.device)
    data = SceneDataset(args.clips or 80, seconds=SECONDS, sample_rate=RATE, seed=2)
    clips = torch.stack([data[i][0] for i in range(len(data))])
    return Material("Scenes", lmac, fit, clips, scene_mixtures(args.pairs, seed=3).batches())


def explainers(args: argparse.Namespace, material: Material) -> dict[str, ax.Explainer]:
    """L-MAC, the same as heard and fine-tuned, controls, and LMAC-TD with each alpha."""
    lmac, fit = material.lmac, material.fit
    classifier, where = lmac.classifier, {"scale": lmac.space.scale}
    methods: dict[str, ax.Explainer] = {
        "all-ones": ax.AllOnes(classifier, **where),
        "random 16 %": ax.RandomMask(classifier, **where),
        THEIRS: lmac,
        f"{THEIRS}, as heard": as_heard(lmac),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    if args.finetune:
        tuned = copy(lmac)
        tuned.decoder_ = deepcopy(lmac.decoder)
        tuned.finetune(fit, epochs=args.finetune, checkpoint=args.out / f"finetuned-{args.finetune}.safetensors")
        methods |= {f"{THEIRS}, fine-tuned": tuned, f"{THEIRS}, fine-tuned, as heard": as_heard(tuned)}
    for alpha in args.alphas:
        # What cannot be told which of two sounds is meant cannot learn from mixtures.
        options = {"mixing": 0.0} if alpha == 0 else {}
        explainer = ax.LMACTD(classifier, alpha=alpha, filterbank=args.filterbank, **options)
        start = time.perf_counter()
        place = args.out / f"lmac-td-{args.filterbank}-{alpha:g}-{args.epochs}.safetensors"
        explainer.fit(fit, epochs=args.epochs, checkpoint=place)
        fitted = sum(epoch["seconds"] for epoch in explainer.history_)
        print(f"LMAC-TD, alpha {alpha:g}: {fitted:.0f} s of fitting, {time.perf_counter() - start:.0f} s of them now")
        methods[f"LMAC-TD, alpha {alpha:g}"] = explainer
    return methods


def as_heard(lmac: ax.LMAC) -> ax.LMAC:
    """The same masks, with the scores of their sounds, as LMAC-TD has."""
    heard = copy(lmac)
    heard.heard = True
    return heard


def follows(method: ax.Explainer) -> bool:
    """Whether it can be told what to explain."""
    return getattr(method, "alpha", 1.0) > 0


def mixtures(clips: torch.Tensor, classes: torch.Tensor, count: int) -> list[dict[str, torch.Tensor]]:
    """Batches of pairs of clips of different classes at equal level, each pair twice: for each of its clips."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(len(clips), (count,), generator=generator)
    others = [(classes != classes[i]).nonzero()[:, 0] for i in first]
    second = torch.stack([o[torch.randint(len(o), (1,), generator=generator)[0]] for o in others])
    level = 0.05 * clips.shape[1] ** 0.5
    stems = [clips[i] / clips[i].norm(dim=1, keepdim=True).clamp(min=1e-6) * level for i in (first, second)]
    batches = []
    for stem, index in zip(stems, (first, second), strict=True):
        parts = zip((stems[0] + stems[1]).split(16), stem.split(16), classes[index].split(16), strict=True)
        batches += [{"waveform": waveform, "stem": part, "target": target} for waveform, part, target in parts]
    return batches


def differences(results: Results, methods: dict[str, ax.Explainer], metrics: Sequence[str]) -> list[str]:
    """Our row minus others, clip by clip, with 95 % bootstrap intervals."""
    if OURS not in methods:
        return []
    lines = [f"{OURS} minus another, clip by clip, with 95 % intervals:", ""]
    lines += ["| | " + " | ".join(metrics) + " |", "|---|" + "---:|" * len(metrics)]
    for name in methods:
        if name.startswith("L") and name != OURS:
            cells = ["{:.2f} ({:.2f} to {:.2f})".format(*results.difference(OURS, name, m)) for m in metrics]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
