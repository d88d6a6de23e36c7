"""The command ``audioxai benchmark``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["benchmark"]


def benchmark(
    data: Annotated[str, typer.Argument(metavar="DATA", help="esc50, esc10, us8k, or folder: clips of your own.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results; a second run there goes on.")] = Path(
        "benchmark"
    ),
    conditions: Annotated[
        str, typer.Option(help="Test sets, with commas: id, mixtures, speech, white-noise, noise.")
    ] = "id,mixtures,white-noise",
    spaces: Annotated[str, typer.Option(help="Where masks live, with commas: stft, mel, waveform.")] = "stft",
    methods: Annotated[
        str, typer.Option(help="Methods, with commas, such as lmac,gradcam,saliency/published.")
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Fits of each learned method.")] = 1,
    network: Annotated[str, typer.Option(help="Network to train: compact, cnn14 or clap.")] = "compact",
    classifier: Annotated[
        Optional[str],  # noqa: UP045 (typer reads the annotation at run time)
        typer.Option(metavar="MODULE:NAME", help="A network of your own, in place of a trained one."),
    ] = None,
    labels: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="CSV", help="For a folder: columns file and label, in place of subfolders."),
    ] = None,
    speech: Annotated[Optional[Path], typer.Option(help="Folder of speech recordings.")] = None,  # noqa: UP045
    noise: Annotated[Optional[Path], typer.Option(help="Folder of noise recordings.")] = None,  # noqa: UP045
    manifests: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of frozen test sets, CONDITION.json, whose hashes are checked."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of each fit.")] = 20,
    classifier_epochs: Annotated[int, typer.Option(min=1, help="Passes of each network's training.")] = 50,
    clips: Annotated[Optional[int], typer.Option(min=1, help="Explain only so many of each test set.")] = None,  # noqa: UP045
    per_clip: Annotated[int, typer.Option(min=1, help="Contaminated items of each clip.")] = 1,
    exclude_same_class: Annotated[
        bool, typer.Option("--exclude-same-class", help="In mixtures, no clip meets one of its own class.")
    ] = False,
    prompt_clips: Annotated[int, typer.Option(min=0, help="For prompt sensitivity of a CLAP, of each test set.")] = 20,
    seconds: Annotated[float, typer.Option(min=0.05, max=600, help="Length that clips are cut or padded to.")] = 5.0,
    budget: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="MINUTES", help="Take fewer clips, then fewer methods, to keep to it; the tables say so."),
    ] = None,
    precision: Annotated[str, typer.Option(help="Of training: no, bf16 or fp16.")] = "no",
    device: Annotated[Optional[str], typer.Option(help="Default the GPU, if there is one.")] = None,  # noqa: UP045
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work; GPUs go round.")] = 1,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out clips that cannot be read.")] = False,
) -> None:
    """Compare explainers: train or load networks, fit, contaminate, explain, score; tables and a page.

    Whatever is made is kept in --out and never done twice.
    """
    from audioxai.benchmark.report import write_report
    from audioxai.benchmark.run import run
    from audioxai.benchmark.settings import Settings
    from audioxai.commands.loading import own_classifier
    from audioxai.support.terminal import say, tell

    settings = Settings(
        data=data, root=root, out=out, conditions=_names(conditions), spaces=_names(spaces), methods=_names(methods),
        seeds=seeds, network=network, classifier=None if classifier is None else own_classifier(classifier),
        labels=labels, speech=speech, noise=noise, manifests=manifests, epochs=epochs,
        classifier_epochs=classifier_epochs, clips=clips, per_clip=per_clip, exclude_same_class=exclude_same_class,
        prompt_clips=prompt_clips, seconds=seconds,
        budget=budget, precision=precision, device=device, skip_bad=skip_bad, workers=workers,
    )  # fmt: skip
    report = run(settings, tell, command=" ".join(["audioxai", *map(shlex.quote, sys.argv[1:])]))
    if report is None:  # another process of the same run writes
        return
    written = write_report(report)
    for table in report.tables:
        say(f"\n{table.title}\n\n{table.results.to_markdown()}")
    say("")
    for key, value in report.facts.items():
        say(f"{key}: {value}")
    say(f"listen: {written[-1]}; all tables: {written[0]}")


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())
