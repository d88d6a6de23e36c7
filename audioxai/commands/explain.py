"""The command ``audioxai explain``."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audioxai.commands.loading import FITTED, load_explainer
from audioxai.commands.options import Model, Out, Overwrite, Own, Scale, Space, Wanted, method_option
from audioxai.commands.output_folders import distinct_names, output_folder, save_clip
from audioxai.errors import AudioFileError, AudioXAIError, OutputError
from audioxai.support.terminal import on_terminal, say, tell

if TYPE_CHECKING:
    from audioxai.explainers import Explainer
    from audioxai.explainers.explanation import Explanation

__all__ = ["explain"]

_CLIPS_PER_PAGE = 24


def explain(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP", help="Audio files, or folders of them.")],
    model: Model = None,
    out: Out = Path("explained"),
    classifier: Own = None,
    target: Wanted = None,
    method: Annotated[str, method_option()] = FITTED,
    space: Space = None,
    scale: Scale = None,
    overwrite: Overwrite = False,
) -> None:
    """Explain clips: mask, sounds, picture and scores for each, and a page to listen to.

    Without --model and --classifier, it explains the small network that the package ships, which knows ten sounds.
    """
    with output_folder(out, overwrite=overwrite):
        files, failed = _find_inputs(clips, out)
        for line in failed:
            tell(f"error: {line}")
        explainer, wanted = load_explainer(method, model, classifier, space, scale, target)
        lost, pages = _explain_all(files, explainer, wanted, out)
    total = len(files) + len(failed)
    say(f"explained {len(files) - lost} of {total} clip(s)" + (f"; listen: {', '.join(pages)}" if pages else ""))
    if failed or lost:
        raise typer.Exit(1)


def _find_inputs(paths: list[Path], out: Path) -> tuple[list[Path], list[str]]:
    """The clips to explain, each once and none of the results, and a line for each path that gives none."""
    from audioxai.sound.files import find_audio

    files: dict[Path, Path] = {}
    failed = []
    for path in paths:
        try:
            found = find_audio([path])
        except AudioFileError as error:
            failed.append(str(error))
            continue
        if path.resolve() in out.resolve().parents:
            found = [file for file in found if out.resolve() not in file.resolve().parents]
            if not found:
                failed.append(f"no audio file below {str(path)!r} besides the results in {str(out)!r}")
        for file in found:
            files.setdefault(file.resolve(), file)
    return list(files.values()), failed


def _explain_all(files: list[Path], explainer: Explainer, target: str | int | None, out: Path) -> tuple[int, list[str]]:
    """Explain and write clip by clip; returns how many failed, and the pages. An interruption keeps what is done."""
    from tqdm.auto import tqdm

    from audioxai.report import write_page

    done: list[Explanation] = []
    pages: list[str] = []
    lost = 0

    def turn_page() -> None:
        if done:
            page = out / ("index.html" if not pages else f"index-{len(pages) + 1}.html")
            write_page(done, page)
            pages.append(str(page))
            done.clear()

    work = list(zip(files, distinct_names(files), strict=True))
    made = 0
    try:
        for file, name in tqdm(work, desc="explain", disable=len(work) < 2 or not on_terminal()):
            try:
                explanation = explainer.explain(file, target, names=[name])
                save_clip(explanation, out)
            except OutputError:  # the next clip would not fit either
                raise
            except Exception as error:  # whatever is wrong with one clip must not lose the others
                lost += 1
                tqdm.write(f"error: {_about(file, error)}", file=sys.stderr)
                continue
            made += 1
            done.append(explanation)
            if len(done) == _CLIPS_PER_PAGE:
                turn_page()
    except (KeyboardInterrupt, SystemExit, OutputError):
        with suppress(OutputError):
            turn_page()
        tell(f"stopped after {made} of {len(work)} clip(s)" + (f"; listen: {', '.join(pages)}" if pages else ""))
        raise
    turn_page()
    return lost, pages


def _about(file: Path, error: Exception) -> str:
    """What went wrong with a file, on one line that names it."""
    if os.environ.get("AUDIOXAI_DEBUG"):
        traceback.print_exception(error)
    what = str(error) if isinstance(error, AudioXAIError) else f"{type(error).__name__}: {error}"
    return what if repr(str(file)) in what else f"{str(file)!r}: {what}"
