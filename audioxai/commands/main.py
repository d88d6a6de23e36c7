"""The command line: the list of its commands, and what becomes of their errors.

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
from typing import Annotated, NoReturn

import typer

from audioxai.commands.benchmark import benchmark
from audioxai.commands.demo import demo
from audioxai.commands.doctor import doctor
from audioxai.commands.explain import explain
from audioxai.commands.explain_dataset import explain_dataset
from audioxai.commands.fit import fit
from audioxai.commands.listening import listening_results, listening_test
from audioxai.commands.options import name_methods
from audioxai.errors import AudioXAIError, ConfigError, TargetError
from audioxai.support.terminal import say, tell
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
    name_methods()
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


for command in (
    demo, fit, explain, explain_dataset, benchmark, listening_test, listening_results, doctor,
):  # fmt: skip
    app.command()(command)
