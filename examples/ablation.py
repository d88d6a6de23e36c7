"""Which parts of L-MAC matter: each choice against the default, on ESC-10 validation clips, several seeds.

    python examples/ablation.py --data ESC-50-folder --network runs/esc10/classifier-0.safetensors --out runs/ablation

Networks and explainers learn from folds 1 to 3; fold 4 is explained, alone and in mixtures with fold 3 at equal level.
Each variant is a small change of the class below, so that what does not help stays out of the library. Fits and scores
are kept in --out; a second run goes on, and several runs may share the work with --only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax
from audioxai.classifiers.targets import Target
from audioxai.data import ESC50
from audioxai.explainers.evidence import Reading
from audioxai.masking.spaces import Analysis
from audioxai.metrics import evaluate
from audioxai.nn import CompactCNN
from audioxai.nn.decoder import EvidenceDecoder

COLUMNS = ("AI", "AD", "AG", "FF", "Fid-In", "MM", "SIR gain", "SI-SDR")


class Rivals(ax.LMAC):
    """Evidence of the target's lead over the runner-up, in place of the target's own score."""

    def _read(self, features: Tensor, targets: Sequence[Target]) -> Reading:
        with torch.no_grad():
            logits = self.classifier.classify(features)
        resolved = [target.resolve(logits, self.classifier.labels) for target in targets]
        logits, maps, read = super()._read(features, [Target(function=_lead(target)) for target in resolved])
        return logits, maps, [(target, found) for target, (_, found) in zip(resolved, read, strict=True)]


def _lead(target: Target) -> Callable[[Tensor], Tensor]:
    def lead(logits: Tensor) -> Tensor:
        own = torch.nn.functional.one_hot(target.classes, logits.shape[1]).bool()
        return target.score(logits) - logits.masked_fill(own, float("-inf")).amax(1)

    return lead


class Deepest(ax.LMAC):
    """Evidence at the deepest level only."""

    def _read(self, features: Tensor, targets: Sequence[Target]) -> Reading:
        logits, maps, read = super()._read(features, targets)
        return logits, maps, [(t, [*(torch.zeros_like(e) for e in found[:-1]), found[-1]]) for t, found in read]


class EvidenceAlone(ax.LMAC):
    """Evidence without the latents themselves."""

    def _read(self, features: Tensor, targets: Sequence[Target]) -> Reading:
        logits, maps, read = super()._read(features, targets)
        return logits, [torch.zeros_like(m) for m in maps], read


class Changed(ax.LMAC):
    """Another decoder."""

    decoder_class = EvidenceDecoder

    def _build(self) -> nn.Module:
        shapes, grid = self._map_shapes(), self.space.grid
        return self.decoder_class(shapes, self.space.rows, grid=grid, width=self.width, evidence=self.evidence)


class _NoLevels(EvidenceDecoder):
    def forward(self, latents: Any, evidence: Any, values: Tensor) -> Tensor:
        return super().forward(latents, evidence, torch.ones_like(values))


class NoLevels(Changed):
    """The mask's logit is the decoder's offset alone: it cannot see the spectrogram."""

    decoder_class = _NoLevels


class _Linear(EvidenceDecoder):
    def scaled(self, evidence: Tensor) -> Tensor:
        return evidence / evidence.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)


class LinearEvidence(Changed):
    """Evidence over its mean magnitude, its tails as they are."""

    decoder_class = _Linear


class _Sharp(EvidenceDecoder):
    def forward(self, latents: Any, evidence: Any, values: Tensor) -> Tensor:
        return 2 * super().forward(latents, evidence, values)


class Sharp(Changed):
    """Temperature 1/2: logits twice as steep."""

    decoder_class = _Sharp


class NoNorm(ax.LMAC):
    """No normalisation in the decoder."""

    def _build(self) -> nn.Module:
        decoder = super()._build()
        for block in decoder.blocks:
            block.norm = nn.Identity()
        return decoder


class Smooth(ax.LMAC):
    """Total variation of the mask, weight 1."""

    def _losses(self, mask: Tensor, analysis: Analysis, target: Target) -> dict[str, Tensor]:
        losses = super()._losses(mask, analysis, target)
        change = sum(mask.diff(dim=axis).abs().mean((1, 2)) for axis in (1, 2))
        return losses | {"mask": losses["mask"] + change / self.lambda_s}


class Binary(ax.LMAC):
    """A penalty on undecided cells, mean 4 M (1 - M), weight 1."""

    def _losses(self, mask: Tensor, analysis: Analysis, target: Target) -> dict[str, Tensor]:
        losses = super()._losses(mask, analysis, target)
        return losses | {"mask": losses["mask"] + 4 * (mask * (1 - mask)).mean((1, 2)) / self.lambda_s}


VARIANTS: dict[str, tuple[type[ax.LMAC], dict[str, Any]]] = {
    "default": (ax.LMAC, {}),
    "latents alone": (ax.LMAC, {"evidence": False, "mixing": 0.0}),
    "no mixtures": (ax.LMAC, {"mixing": 0.0}),
    "blind to levels": (NoLevels, {}),
    "deepest evidence only": (Deepest, {}),
    "rivals' evidence": (Rivals, {}),
    "published mask-out loss": (ax.LMAC, {"bounded": False, "lambda_out": 0.2}),
    "width 16": (ax.LMAC, {"width": 16}),
    "width 64": (ax.LMAC, {"width": 64}),
    "total variation": (Smooth, {}),
    "binary penalty": (Binary, {}),
    "temperature 1/2": (Sharp, {}),
    "evidence alone": (EvidenceAlone, {}),
    "linear evidence": (LinearEvidence, {}),
    "no normalisation": (NoNorm, {}),
    "no guidance by stems": (ax.LMAC, {"lambda_g": 0.0}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of ESC-50 or its ten-class subset")
    parser.add_argument("--network", type=Path, required=True, help="weights of the compact network, by esc10.py")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5, help="passes of each fit")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    args = parser.parse_args()
    sets = {name: ESC50(args.data, folds=folds, esc10=True) for name, folds in (("fit", (1, 2, 3)), ("val", (4,)))}
    labels = sets["fit"].labels
    network = CompactCNN(len(labels))
    network.load_state_dict(load_file(args.network))
    classifier = ax.AudioClassifier(network.eval(), sample_rate=16000, frontend=ax.LogMel(16000), labels=labels)
    fit = DataLoader(TensorDataset(*sets["fit"].tensors()), batch_size=16, shuffle=True, drop_last=True)
    clips, classes = sets["val"].tensors()
    # Every second clip, and each of them with a clip of another class at equal level.
    chosen = torch.arange(0, len(clips), 2)
    stems = clips[chosen]
    partners = torch.stack([torch.roll((classes != classes[i]).nonzero()[:, 0], -3 * int(i))[0] for i in chosen])
    level = stems.norm(dim=1, keepdim=True) / clips[partners].norm(dim=1, keepdim=True).clamp(min=1e-6)
    mixtures = stems + level * clips[partners]
    alone = list(stems.split(16))
    together = [
        {"waveform": m, "target": c, "stem": s}
        for m, c, s in zip(mixtures.split(16), classes[chosen].split(16), stems.split(16), strict=True)
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):
        for name in args.only:
            file = args.out / _file(name, str(seed), args.epochs)
            if file.exists():
                continue
            kind, options = VARIANTS[name]
            explainer = kind(classifier, scale="magnitude", seed=seed, **{"decoder_name": "evidence", **options})
            explainer.fit(fit, epochs=args.epochs, progress=False)
            scores = _scores(explainer, alone, together)
            scores["seconds"] = sum(epoch["seconds"] for epoch in explainer.history_)
            file.write_text(json.dumps(scores))
            print(
                name, seed, {k: round(sum(v) / len(v), 2) for k, v in scores.items() if isinstance(v, list)}, flush=True
            )
    table = _table(args)
    print(table)
    (args.out / "ablation.md").write_text(table + "\n")


def _file(name: str, seed: str, epochs: int) -> str:
    return f"{name.replace('/', ' in ')}-{seed}-{epochs}.json"


def _scores(explainer: ax.LMAC, alone: list[Any], together: list[Any]) -> dict[str, Any]:
    """Per-clip scores of the clips alone, and, where the explainer follows a target, of the mixtures."""
    found = evaluate([explainer], alone).scores[explainer.name]
    scores = {column: found[column].tolist() for column in COLUMNS if column in found}
    if explainer.evidence:
        found = evaluate([explainer], together, metrics=["SIR gain", "SI-SDR"]).scores[explainer.name]
        scores |= {column: found[column].tolist() for column in ("SIR gain", "SI-SDR")}
    return scores


def _table(args: argparse.Namespace) -> str:
    """Means over clips and seeds; against the default, clip by clip, with a 95 % bootstrap interval over clips."""
    runs = {}
    for name in VARIANTS:
        files = sorted(args.out.glob(_file(name, "?", args.epochs)))
        if files:
            runs[name] = [json.loads(file.read_text()) for file in files]
    means = {
        name: {c: torch.tensor([run[c] for run in found]).nanmean(0) for c in COLUMNS if c in found[0]}
        for name, found in runs.items()
    }
    rows = [
        f"{args.epochs} passes, mean of the seeds; in brackets the gain over the default, clip by clip, with its 95 % "
        "interval where it excludes 0.",
        "",
        "| | seeds | " + " | ".join(COLUMNS) + " |",
        "|---|---:" + "|---:" * len(COLUMNS) + "|",
    ]
    for name, found in means.items():
        cells = []
        for column in COLUMNS:
            if column not in found:
                cells.append("")
                continue
            text = f"{found[column].nanmean():.2f}"
            if name != "default" and "default" in means:
                difference = found[column] - means["default"][column]
                low, high = _interval(difference)
                if low > 0 or high < 0:
                    text += f" ({difference.nanmean():+.2f}: {low:+.2f} to {high:+.2f})"
            cells.append(text)
        rows.append(f"| {name} | {len(runs[name])} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _interval(values: Tensor) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randint(len(values), (2000, len(values)), generator=generator)
    low, high = torch.quantile(values[draws].nanmean(1), torch.tensor([0.025, 0.975])).tolist()
    return low, high


if __name__ == "__main__":
    main()
