"""The command line: demo, fit, explain, explain-dataset, benchmark, listening-test, listening-results, doctor.

Results go to stdout; errors, each one line that starts with ``error:``, and progress go to stderr. Exit codes: 0 all
done, 1 something failed, 2 wrong usage, 130 interrupted. ``AUDIOXAI_DEBUG=1`` shows the traceback of an error.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

from audioxai.commands.benchmark import benchmark
from audioxai.commands.explain_dataset import explain_dataset
from audioxai.commands.jobs import (
    RATE,
    check_method,
    choose,
    explain_all,
    find_inputs,
    fresh_classifier,
    own_classifier,
    train_or_load,
)
from audioxai.commands.listening import listening_results, listening_test
from audioxai.commands.options import (
    FITTED,
    ExplainMethod,
    Model,
    Out,
    Overwrite,
    Own,
    Scale,
    ScaleName,
    Space,
    SpaceName,
    Wanted,
)
from audioxai.commands.output_folders import FitRun, output_folder
from audioxai.errors import AudioXAIError, ConfigError, TargetError
from audioxai.support.terminal import on_terminal, say, tell
from audioxai.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    help="Explain audio classifiers so that people can hear it.", add_completion=False, pretty_exceptions_enable=False
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point: every error becomes one line and an exit code.

    Args:
        arguments: default those of the process.
    """
    warnings.showwarning = lambda message, *_args, **_kwargs: tell(f"warning: {message}")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # temporary files are removed on the way out
    try:
        code = app(None if arguments is None else list(arguments), prog_name="audioxai", standalone_mode=False)
        if code == 130:
            tell("interrupted")
        sys.exit(code if isinstance(code, int) else 0)
    except (KeyboardInterrupt, typer.Abort):
        tell("interrupted")
        sys.exit(130)
    except Exception as error:
        _fail(error)
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(error: Exception) -> NoReturn:
    if os.environ.get("AUDIOXAI_DEBUG"):
        traceback.print_exception(error)
    if hasattr(error, "format_message"):  # usage: typer brings click under several names
        context = getattr(error, "ctx", None)
        where = "audioxai" if context is None else context.command_path
        dashed = [word for word in sys.argv[1:] if word.startswith("-") and os.path.exists(word)]
        hint = f"; for the file write ./{dashed[0]}" if dashed else ""
        tell(f"error: {error.format_message()}{hint}\nsee: {where} --help")
        sys.exit(2)
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    if isinstance(error, AudioXAIError):
        full = getattr(error.__cause__, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        tell(f"error: {error}{notes}{'; make room, then run it again' if full else ''}")
        sys.exit(2 if isinstance(error, ConfigError | TargetError) else 1)
    if isinstance(error, MemoryError):
        tell(f"error: out of memory; use shorter or fewer clips{notes}")
    else:
        tell(f"error: {type(error).__name__}: {error}{notes} (AUDIOXAI_DEBUG=1 shows where)")
    sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"audioxai {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(2)


@app.command()
def demo(out: Out = Path("audioxai-demo"), overwrite: Overwrite = False) -> None:
    """Train on synthetic scenes, fit L-MAC, explain held-out mixtures: a table and a page to listen to."""
    with output_folder(out, overwrite=overwrite):
        from audioxai.commands.demo import run

        run(out, say=say)


@app.command()
def fit(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of clips, in one subfolder per class.")],
    out: Out = Path("audioxai-model"),
    labels: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="CSV", help="Labels instead of subfolders: columns file (below DATA) and label."),
    ] = None,
    classifier: Own = None,
    space: Annotated[SpaceName, typer.Option(help="Where the mask lives.")] = SpaceName.stft,
    scale: Annotated[ScaleName, typer.Option(help="What the mask multiplies.")] = ScaleName.magnitude,
    seconds: Annotated[
        float, typer.Option(min=0.05, max=600, help="Clips are cut or padded with silence to this length.")
    ] = 5.0,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of L-MAC over the clips.")] = 20,
    classifier_epochs: Annotated[
        int, typer.Option(min=1, help="Passes of the network over the clips, when one is trained.")
    ] = 45,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same model.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --out.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Fit L-MAC to a classifier on a folder of clips.

    Without --classifier, a compact network is trained first.

    An interrupted run goes on with --resume and the same options.
    """
    if resume and overwrite:
        raise ConfigError("--resume goes on with a run, --overwrite starts anew; choose one")
    if classifier is not None and labels is not None:
        raise ConfigError("--labels is for training a network; leave it out with --classifier")
    run = FitRun(out)
    if resume:
        run.require_interrupted()
    with output_folder(out, overwrite=overwrite or resume):
        from audioxai.data.folder import clips_of, labelled_clips_of, loader_of
        from audioxai.explainers import LMAC

        if classifier is not None:
            model = own_classifier(classifier)
            clips, bad = clips_of(data, model.sample_rate, seconds)
            classes = None
        else:
            clips, classes, names, bad = labelled_clips_of(data, RATE, seconds, labels)
            model = fresh_classifier(names, seed)
        explainer = LMAC(model, space=space.value, scale=scale.value, seed=seed)
        options = {
            "clips": len(clips),
            "labels": None if model.labels is None else list(model.labels),
            "classifier": classifier,
            "space": space.value,
            "scale": scale.value,
            "seconds": seconds,
            "epochs": epochs,
            "classifier_epochs": None if classes is None else classifier_epochs,
            "seed": seed,
        }
        for line in bad:
            tell(f"error: {line}")
        run.start(options, resume=resume)
        quiet: dict[str, Any] = {"seed": seed, "progress": on_terminal()}
        try:
            if classes is not None:
                train_or_load(model, loader_of(clips, classes), run, epochs=classifier_epochs, **quiet)
            if not run.finished:
                say(f"fitting L-MAC on {len(clips)} clips")
                explainer.fit(loader_of(clips), epochs=epochs, checkpoint=run.explainer_checkpoint, **quiet)
                explainer.save_pretrained(out)
        except (KeyboardInterrupt, SystemExit):
            tell("stopped; the same command with --resume goes on")
            raise
        run.finish()
    own = "" if classifier is None else f" --classifier {classifier}"
    say(f"saved in {out}; explain with: audioxai explain CLIP --model {out}{own} --out explained")
    if bad:
        raise typer.Exit(1)


@app.command()
def explain(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP", help="Audio files, or folders of them.")],
    model: Model = None,
    out: Out = Path("explained"),
    classifier: Own = None,
    target: Wanted = None,
    method: ExplainMethod = FITTED,
    space: Space = None,
    scale: Scale = None,
    overwrite: Overwrite = False,
) -> None:
    """Explain clips: mask, sounds, picture and scores for each, and a page to listen to.

    Without --model and --classifier, it explains the small network that the package ships, which knows ten sounds.
    """
    check_method(method.value, model, classifier)
    with output_folder(out, overwrite=overwrite):
        files, failed = find_inputs(clips, out)
        for line in failed:
            tell(f"error: {line}")
        explainer, wanted = choose(
            method.value, model, classifier, space and space.value, scale and scale.value, target
        )
        lost, pages = explain_all(files, explainer, wanted, out)
    total = len(files) + len(failed)
    say(f"explained {len(files) - lost} of {total} clip(s)" + (f"; listen: {', '.join(pages)}" if pages else ""))
    if failed or lost:
        raise typer.Exit(1)


app.command()(benchmark)
app.command()(explain_dataset)
app.command()(listening_test)
app.command()(listening_results)


@app.command()
def doctor() -> None:
    """Check the installation and say how to mend it."""
    from audioxai.commands.doctor import examine

    broken = 0
    for finding in examine():
        say(f"{'ok ' if finding.ok else 'BAD'} {finding.name:14} {finding.seen}")
        if not finding.ok:
            say(f"    {'fix' if finding.required else 'optional; fix'}: {finding.remedy}")
            broken += finding.required
    if broken:
        raise typer.Exit(1)
