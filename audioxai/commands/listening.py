"""The commands ``audioxai listening-test`` and ``audioxai listening-results``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from audioxai.commands.options import Overwrite
from audioxai.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from audioxai.explainers.explanation import Explanation

__all__ = ["listening_results", "listening_test"]


def listening_test(
    methods: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FOLDER",
            help="What 'audioxai explain' wrote, one folder for each method; NAME is default the method's.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page and its key.")] = Path("listening"),
    seed: Annotated[int, typer.Option(min=0, help="The same seed and sounds give the same page.")] = 0,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Listening test",
    instructions: Annotated[
        Optional[Path],  # noqa: UP045 (typer reads the annotation at run time)
        typer.Option(metavar="FILE", help="Text in place of the first paragraphs; an empty line begins a paragraph."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a folder that holds files, over another test's key too.")
    ] = False,
) -> None:
    """Make a blind listening test: one page for the listeners, and a key for you.

    Each clip is rated with every method's explanation, the clip itself and a low anchor, for relevance and for quality.
    """
    from audioxai.commands.output_folders import output_folder
    from audioxai.listening.page import listening_test as write_test
    from audioxai.support.terminal import say

    with output_folder(out, overwrite=overwrite):
        explanations = _load_methods(methods)
        text = None if instructions is None else _text_of(instructions)
        page, key = write_test(
            explanations, out / "listening.html", seed=seed, title=title, instructions=text, overwrite=overwrite
        )
    clips = len(next(iter(explanations.values())))
    say(f"{clips} clip(s), {len(explanations)} methods, hidden reference and low anchor")
    say(f"give to listeners: {page}")
    say(f"keep to yourself:  {key}")
    say(f"with their answers: audioxai listening-results ANSWERS --key {key}")


def listening_results(
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS", help="Files that listeners sent, or folders.")],
    key: Annotated[Path, typer.Option(help="The key that was written beside the page.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="Folder for the tables as Markdown, CSV and JSON."),
    ] = None,
    screening: Annotated[
        bool, typer.Option(help="Leave out listeners who rate the hidden reference below 90 too often (BS.1534-3).")
    ] = True,
    complete_only: Annotated[
        bool, typer.Option("--complete-only", help="Leave out unfinished listeners, complete trials and all.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Turn the answers to a listening test into means with intervals and paired tests."""
    from contextlib import nullcontext

    from audioxai.commands.output_folders import output_folder
    from audioxai.listening.tables import listening_results as read_results
    from audioxai.support.terminal import say

    with nullcontext() if out is None else output_folder(out, overwrite=overwrite):
        results = read_results(answers, key, screen=screening, complete_only=complete_only)
        say(results.to_markdown())
        if out is not None:
            say(f"\nwritten: {', '.join(map(str, results.save(out)))}")


def _load_methods(given: list[str]) -> dict[str, list[Explanation]]:
    """Name to the explanations below its folder, sorted by clip and target."""
    found: dict[str, list[Explanation]] = {}
    for argument in given:
        name, equals, rest = argument.partition("=")
        named = bool(equals) and not Path(argument).is_dir()
        clips = _load_clips(Path(rest if named else argument))
        if not named:
            name = clips[0].method
        if not name or name in found:
            raise ConfigError(
                f"{argument!r}: {f'two folders are named {name!r}' if name else 'the name is empty'}; "
                "give each a name of its own, NAME=FOLDER"
            )
        found[name] = clips
    return found


def _load_clips(folder: Path) -> list[Explanation]:
    """The saved explanations of one method, clip by clip, so that their lengths may differ."""
    from audioxai.explainers.explanation import Explanation

    places = (
        [folder] if (folder / "explanation.json").is_file() else [p.parent for p in folder.glob("*/explanation.json")]
    )
    if not places:
        raise OutputError(f"no saved explanation in {str(folder)!r}: give a folder that 'audioxai explain' wrote")
    clips = sorted((Explanation.load(p) for p in places), key=lambda clip: (clip.names[0], clip.target_names[0]))
    if len(methods := sorted({clip.method for clip in clips})) > 1:
        raise ConfigError(f"{str(folder)!r} holds explanations by {' and '.join(methods)}; give each method a folder")
    return clips


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--instructions {str(file)!r} cannot be read as text: {error}") from error
