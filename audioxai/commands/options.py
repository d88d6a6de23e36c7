"""Options that several commands share, as typer reads them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from audioxai.commands.jobs import METHODS

__all__ = [
    "FITTED", "ExplainMethod", "Method", "Model", "Out", "Overwrite", "Own", "Scale", "ScaleName", "Space", "SpaceName",
    "Wanted",
]  # fmt: skip

Method = StrEnum("Method", {name.replace("-", "_"): name for name in METHODS})  # type: ignore[misc]  # one list
FITTED = Method("lmac")


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
ExplainMethod = Annotated[
    Method, typer.Option("--method", help="How to explain; lmac is what was fitted, or is shipped.")
]
Space = Annotated[
    Optional[SpaceName],  # noqa: UP045
    typer.Option("--space", help="Where the mask lives; default stft, for lmac as fitted."),
]
Scale = Annotated[
    Optional[ScaleName],  # noqa: UP045
    typer.Option("--scale", help="What the mask multiplies; default magnitude, for lmac as fitted."),
]
