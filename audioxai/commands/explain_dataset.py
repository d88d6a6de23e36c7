"""The command ``audioxai explain-dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from audioxai.commands.loading import FITTED, load_explainer
from audioxai.commands.options import Model, Out, Own, Scale, Space, Wanted, method_option

__all__ = ["explain_dataset"]


def explain_dataset(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder of audio files, or a saved Hugging Face data set.")
    ],
    out: Out,
    model: Model = None,
    classifier: Own = None,
    target: Wanted = None,
    method: Annotated[str, method_option()] = FITTED,
    space: Space = None,
    scale: Scale = None,
    shard_size: Annotated[
        int, typer.Option(min=1, help="Clips in a file of results; 1 for recordings of hours.")
    ] = 100,
    longest: Annotated[
        float, typer.Option(min=0.05, help="Longer recordings, in s, are explained window by window.")
    ] = 60.0,
    window: Annotated[float, typer.Option(min=0.05, help="Length of such a window in s.")] = 10.0,
    overlap: Annotated[float, typer.Option(min=0, help="What two windows share, in s.")] = 1.0,
    device: Annotated[Optional[str], typer.Option(help="Default the GPU, if there is one.")] = None,  # noqa: UP045
) -> None:
    """Explain a data set into shards of sounds and masks, and an index.

    The same command goes on with a run that was stopped. Several processes share the work when it is started by
    'accelerate launch -m audioxai explain-dataset ...' or torchrun, or more than once.
    """
    from audioxai.bulk.dataset import explain_dataset as explain
    from audioxai.explainers.learned import LearnedExplainer
    from audioxai.support.processes import device_of, launched
    from audioxai.support.terminal import on_terminal, say, tell

    number, _ = launched()
    explainer, wanted = load_explainer(method, model, classifier, space, scale, target, quiet=number > 0)
    if isinstance(explainer, LearnedExplainer):
        explainer.to(device_of(device, number))
    else:
        explainer.classifier.to(device_of(device, number))
    report = explain(
        explainer, root, out, target=wanted, shard_size=shard_size, longest=longest, window=window, overlap=overlap,
        progress=number == 0 and on_terminal(),
    )  # fmt: skip
    if number > 0:  # one process tells; and a launcher stops all when one fails
        return
    for name, reason in report.failed:
        tell(f"error: {reason if name in reason else f'{name}: {reason}'}")
    say(f"explained {report.clips - len(report.failed)} of {report.clips} clip(s); index: {report.index}")
    if report.failed:
        raise typer.Exit(1)
