"""Options that several commands share, as typer reads them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from audioxai.explainers.registry import EXPLAINERS

__all__ = [
    "Method", "Model", "Out", "Overwrite", "Own", "Scale", "ScaleName", "Space", "SpaceName", "Wanted", "name_methods",
]  # fmt: skip


class SpaceName(StrEnum):
    stft, mel, waveform = "stft", "mel", "waveform"


class ScaleName(StrEnum):
    magnitude, log1p = "magnitude", "log1p"


Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write into a folder that already holds files.")]
Own = Annotated[
    Optional[str],  # noqa: UP045 (typer reads the annotation at run time)
    typer.Option(
        "--classifier",
        metavar="MODULE:NAME",
        help="A network of your own: an AudioClassifier, or a function that returns one.",
    ),
]
Model = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--model",
        metavar="FOLDER",
        help="What 'fit' or 'demo' wrote; default, without --classifier, the shipped network of ten sounds.",
    ),
]
Wanted = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--target", metavar="LABEL", help="Label or class number to explain; default the predicted class."),
]
Space = Annotated[
    Optional[SpaceName],  # noqa: UP045
    typer.Option("--space", help="Where the mask lives; default stft, for learned methods as fitted."),
]
Scale = Annotated[
    Optional[ScaleName],  # noqa: UP045
    typer.Option("--scale", help="What the mask multiplies; default magnitude, for learned methods as fitted."),
]

_METHOD = typer.Option("--method", metavar="NAME", help="How to explain.")
Method = Annotated[str, _METHOD]


def name_methods() -> None:
    """Put the explainers that are registered by now into the help of ``--method``, before the commands run."""
    _METHOD.help = f"How to explain: {', '.join(EXPLAINERS)}. Learned ones are read from --model; an lmac is shipped."
