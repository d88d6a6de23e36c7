"""L-MAC without fitting: one decoder, fitted over a zoo of networks, explains a network that it never met.

    python examples/general_decoder.py --data FOLDER --out runs/general
    python examples/general_decoder.py --data FOLDER --out runs/general --leave-out tokens --evaluate

FOLDER holds ESC-50's layout in esc50/ and esc10/, UrbanSound8K's in us8k/, and readings in speech/. Networks, clips and
fits are kept in --out and reused; a run that was stopped goes on where it was. Nothing is fitted on ESC-50's fold 5 or
UrbanSound8K's fold 10, on which --evaluate explains networks that had no part in the fit: the shipped one, and the
members that were left out.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import ZOO, Clips, Data, Member, trained

import audioxai as ax
from audioxai.classifiers.targets import Target
from audioxai.data import ESC50
from audioxai.explainers.general import FORMAT, load_general
from audioxai.explainers.planes import PLANES, band_weights, depths_of, read_planes
from audioxai.masking.spaces import Analysis
from audioxai.metrics import cascading_randomisation, evaluate
from audioxai.nn.general_decoder import GeneralDecoder
from audioxai.support.files import write_bytes
from audioxai.training.loop import TrainingOptions, train

METRICS = ("AI", "AD", "AG", "FF", "Fid-In", "MM")
WHERE = {"space": "stft", "scale": "magnitude"}
SPACES = (("stft", "magnitude"), ("stft", "log1p"), ("mel", "magnitude"), ("waveform", "magnitude"))
SHARES = (0.7, 0.1, 0.1, 0.1)  # of the steps
HIDDEN = 0.05  # share of the clips without each kind of evidence
FAINT = 0.1  # mask where evidence says nothing: everything, 20 dB down
PER_EPOCH = 40  # steps between two checkpoints


class Learner(ax.LMAC):
    """L-MAC on a member of the zoo, whose decoder is that of all members.

    Args:
        classifier: the member.
        decoder: being fitted.
        nothing: weight of what is answered to evidence that means nothing.
        **base: see :class:`audioxai.LMAC`.
    """

    def __init__(
        self, classifier: ax.AudioClassifier, decoder: GeneralDecoder, *, nothing: float = 0.0, **base: Any
    ) -> None:
        super().__init__(classifier, **base)
        self.decoder_ = decoder
        self.nothing = nothing
        self.stranger: ax.AudioClassifier | None = None  # the network with random weights
        with classifier.frozen():
            self.depths = depths_of(classifier)
        self.rows = band_weights(self.space, classifier.device)

    def _draw(self, analysis: Analysis, targets: Sequence[Target]) -> tuple[Tensor, list[tuple[Target, Tensor]]]:
        logits, [read] = read_planes(self.classifier, self.space, analysis, targets, layers=self.depths)
        drawn = self.decoder(hide(read.stack), analysis.values, self.rows)
        self.last = analysis, drawn.detach(), logits
        return logits, [(read.target, drawn)]

    def training_step(self, waveform: Tensor) -> dict[str, Tensor]:
        losses = super().training_step(waveform)
        if self.nothing:
            analysis, drawn, logits = self.last
            few = slice(0, -(-len(waveform) // 2))
            with torch.no_grad():
                stack, aim = self._meaningless(analysis.rows(few), logits[few])
            found = self.decoder(stack, analysis.values[few], self.rows).float()
            losses["nothing"] = F.binary_cross_entropy_with_logits(found, torch.full_like(found, aim))
            flat = [x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (found, drawn[few].float())]
            losses["alike"] = F.cosine_similarity(*flat, dim=1, eps=1e-3).square().mean()
            losses["loss"] = losses["loss"] + self.nothing * (losses["nothing"] + losses["alike"])
        return losses

    def _meaningless(self, analysis: Analysis, logits: Tensor) -> tuple[Tensor, float]:
        """Planes (B, P, G, N) that say nothing about the clips, of one of three kinds, and the mask to answer with.

        What a class that is not there keeps is nothing. What a network keeps that knows nothing is everything, faintly:
        an empty mask would be as like the trained network's as that one is empty.
        """
        kind = int(torch.randint(3, ()))
        if kind == 0:
            draw = logits - 1e4 * (logits > logits.median(1, keepdim=True).values)
            return self._planes(self.classifier, analysis, Target(classes=draw.softmax(1).multinomial(1)[:, 0])), 0.0
        if kind == 1:
            self.stranger = self.stranger or copy.deepcopy(self.classifier)
            randomise(self.stranger.network)
            return self._planes(self.stranger, analysis, Target(predicted=True)), FAINT
        stack = self._planes(self.classifier, analysis, Target(predicted=True))
        stack[:, :-2] = stack[:, :-2].roll(1, 0)[:, :, torch.randperm(stack.shape[2])]  # of another clip, rows shuffled
        return stack, FAINT

    def _planes(self, classifier: ax.AudioClassifier, analysis: Analysis, target: Target) -> Tensor:
        return read_planes(classifier, self.space.bind(classifier), analysis, [target], layers=self.depths)[1][0].stack


def hide(stack: Tensor) -> Tensor:
    """Some clips without the evidence at the values, or without that at the depths, as networks may lack either."""
    stack, drawn = stack.clone(), torch.rand(len(stack))
    stack[drawn < HIDDEN, :2] = 0
    stack[drawn > 1 - HIDDEN, 2:-2] = 0
    return stack


def randomise(network: nn.Module) -> None:
    """Xavier-uniform weights, biases of 0.01, normalisation as it is: as in cascading randomisation."""
    for module in network.modules():
        if not isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._NormBase):
            for parameter in module.parameters(recurse=False):
                nn.init.xavier_uniform_(parameter) if parameter.ndim > 1 else nn.init.constant_(parameter, 0.01)


class Turns:
    """Batches for a step of each member in turn, over and over.

    Args:
        explainers: of each member, one for each space.
        clips: of each member.
        size: clips in a batch.
        until: time at which to stop, with the checkpoint of the last epoch.
    """

    def __init__(self, explainers: list[list[Learner]], clips: list[Clips], size: int, until: float) -> None:
        self.explainers, self.clips, self.size, self.until = explainers, clips, size, until

    def __len__(self) -> int:
        return PER_EPOCH

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order: list[int] = []
        for _ in range(PER_EPOCH):
            if time.time() > self.until:
                raise TimeoutError
            order = order or torch.randperm(len(self.clips)).tolist()
            number = order.pop()
            clips = self.clips[number]
            space = int(torch.multinomial(torch.tensor(SHARES), 1))
            index = torch.randint(len(clips.classes), (self.size,))
            yield {"waveform": clips.crops(index), "explainer": self.explainers[number][space]}


def fit(members: list[Member], data: Data, args: argparse.Namespace, file: Path) -> GeneralDecoder:
    """The general decoder of these members, fitted or read from ``file``."""
    if file.exists():
        return load_general(file)
    torch.manual_seed(args.seed)
    decoder = GeneralDecoder(PLANES)
    networks = [trained(member, data, args.out / "networks") for member in members]
    explainers = [
        [Learner(network, decoder, space=space, scale=scale, nothing=args.nothing) for space, scale in SPACES]
        for network in networks
    ]
    turns = Turns(explainers, [data(m.data, m.rate) for m in members], args.batch, time.time() + 60 * args.minutes)
    options = TrainingOptions(
        epochs=max(1, args.steps // PER_EPOCH), lr=2e-3, seed=args.seed, checkpoint=file.with_suffix(".checkpoint"),
        checkpoint_seconds=60, progress=sys.stderr.isatty(),
    )  # fmt: skip
    identity = {"members": [m.name for m in members], "nothing": args.nothing, "batch": args.batch}
    seen: list[dict[str, float]] = []

    def step(batch: dict[str, Any]) -> dict[str, Tensor]:
        losses = batch["explainer"].training_step(batch["waveform"])
        seen.append({name: float(value.detach()) for name, value in losses.items()})
        if len(seen) % PER_EPOCH == 0:
            names = dict.fromkeys(name for one in seen for name in one)
            means = {name: [one[name] for one in seen if name in one] for name in names}
            print(time.strftime("%H:%M:%S"), len(seen), {k: round(sum(v) / len(v), 3) for k, v in means.items()},
                  flush=True)  # fmt: skip
            seen[:] = []
        return {"loss": losses["loss"]}

    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(network.frozen())
        train(decoder, step, turns, options, name="general decoder", identity=identity)
    weights = {k: v.detach().contiguous() for k, v in decoder.state_dict().items()}
    write_bytes(file, save(weights, {"format": FORMAT}))
    return load_general(file)


def explained(classifier: ax.AudioClassifier, decoder: GeneralDecoder) -> ax.LMAC:
    """L-MAC with this decoder, not fitted to the classifier."""
    explainer = ax.LMAC(classifier, **WHERE)
    explainer.decoder_ = decoder
    return explainer


def compare(name: str, classifier: ax.AudioClassifier, decoder: GeneralDecoder, clips: Tensor, extra: dict) -> None:
    """Metrics of the decoder beside those of training-free methods, on clips (B, T)."""
    methods = {"general": explained(classifier, decoder), **extra}
    methods |= {kind.__name__: kind(classifier, **WHERE) for kind in (ax.GradCAM, ax.GradCAMPlusPlus, ax.ScoreCAM)}
    results = evaluate(methods, [clips[i : i + 8] for i in range(0, len(clips), 8)], metrics=METRICS)
    print(f"\n{name}: {len(clips)} clips, 95 % intervals\n\n| | {' | '.join(METRICS)} | s/clip |")
    print("|---|" + "---:|" * (len(METRICS) + 1))
    for method in methods:
        cells = [
            "{:.2f} ({:.2f} to {:.2f})".format(results.mean(method, m), *results.interval(method, m)) for m in METRICS
        ]
        print(f"| {method} | {' | '.join(cells)} | {results.seconds[method] / len(clips):.2f} |", flush=True)


def sanity(classifier: ax.AudioClassifier, decoder: GeneralDecoder, clips: Tensor, extra: dict) -> None:
    """How like the masks are when all layers are random, and what an absent class keeps."""
    general = explained(classifier, decoder)
    print("\n| all layers random | SSIM | Spearman |\n|---|---:|---:|")
    for name, method in {"general": general, **extra, "GradCAM": ax.GradCAM(classifier, **WHERE)}.items():
        found = cascading_randomisation(method, clips)
        cells = ["{:.2f} ({:.2f} to {:.2f})".format(*found.curve(m)[-1]) for m in ("SSIM", "Spearman")]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    with torch.no_grad():
        least = classifier(clips).argmin(1)
    absent = general.explain(clips, least)
    kept = absent.waveform.square().sum(1) / clips.square().sum(1)
    print(
        f"\nthe least probable class keeps {100 * kept.mean():.1f} % of the energy, mean mask {absent.mask.mean():.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with esc50, esc10, us8k and speech")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/general"), help="where networks, clips and fits are kept"
    )
    parser.add_argument("--only", nargs="*", metavar="NAME", help="members of the zoo; default all")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="KIND",
                        help="families, rates, data sets or multilabel that have no part in the fit")  # fmt: skip
    parser.add_argument("--zoo", action="store_true", help="train the networks and stop")
    parser.add_argument("--evaluate", action="store_true", help="explain networks that had no part in the fit")
    parser.add_argument("--clips", type=int, default=80, help="at most so many of each network are explained")
    parser.add_argument("--steps", type=int, default=3200, help="of the fit")
    parser.add_argument("--batch", type=int, default=8, help="clips in a step")
    parser.add_argument("--nothing", type=float, default=0.0, help="weight of the answer to meaningless evidence")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after these; the next run goes on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="general", help="of the fit's files")
    args = parser.parse_args()
    data = Data({name: args.data / name for name in ("esc50", "esc10", "us8k", "speech")}, args.out / "clips")
    members = [m for m in ZOO if not args.only or m.name in args.only]
    left = [m for m in members if m.kinds & set(args.leave_out)]
    members = [m for m in members if m not in left]
    if args.zoo:
        for member in [*members, *left]:
            trained(member, data, args.out / "networks")
        return
    name = "-".join([args.name, *(f"without-{kind}" for kind in args.leave_out), str(args.seed)])
    try:
        decoder = fit(members, data, args, args.out / f"{name}.safetensors")
    except TimeoutError:
        print(f"stopped after {args.minutes:g} minutes; the same command goes on")
        return
    if args.evaluate:
        shipped = ax.load_pretrained("esc10-compact")
        shown = ESC50(args.data / "esc10", folds=(5,), esc10=True).tensors()[0]
        shown = shown[:: max(1, len(shown) // args.clips)][: args.clips]
        compare("shipped ESC-10 network, fold 5", shipped.classifier, decoder, shown, {"L-MAC, fitted": shipped})
        sanity(shipped.classifier, decoder, shown[:40], {"L-MAC, fitted": shipped})
        for member in left:
            torch.manual_seed(0)
            test = data(member.data, member.rate, "test")
            shown = test.crops(torch.randperm(len(test.classes))[: args.clips])
            compare(member.name, trained(member, data, args.out / "networks"), decoder, shown, {})


if __name__ == "__main__":
    main()
