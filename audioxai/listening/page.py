"""A blind listening test as one self-contained page, and the key to it in a file of its own."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from audioxai.errors import ConfigError, OutputError
from audioxai.listening.stimuli import Trial, make_trials
from audioxai.report.parts import audio_address, page_text, templates
from audioxai.report.plot import Heard
from audioxai.support.files import write_bytes

__all__ = ["ANSWERS_FORMAT", "KEY_FORMAT", "SCALES", "ListeningTest", "listening_test"]

KEY_FORMAT, ANSWERS_FORMAT = "audioxai listening key 1", "audioxai listening answers 1"
SCALES = ("relevance", "quality")


class ListeningTest(NamedTuple):
    """What :func:`listening_test` wrote: the page for the listeners, and the key, which they must not see."""

    page: Path
    key: Path


def listening_test(
    explanations: Mapping[str, Heard | Sequence[Heard]],
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    title: str = "Listening test",
    instructions: str | None = None,
    overwrite: bool = False,
) -> ListeningTest:
    """Write a page on which listeners rate explanations without knowing the methods, in the manner of MUSHRA.

    Each clip is a trial: the explanation of every method, the clip itself (hidden reference) and a low anchor, each
    rated from 0 to 100 for relevance and for quality. The page holds opaque ids in place of names; the key beside it,
    ``NAME-key.json`` for a page ``NAME.html``, says what they stand for. ``docs/listening-test.md`` says how anchors
    are made and loudness is matched, and why.

    Args:
        explanations: name of the method to its explanation, or to several in the order of the clips; each method must
            have explained the same clips, in the same order, for the same targets. Targets are shown to listeners.
        path: the HTML file; its folder is created.
        seed: the same seed and sounds give the same page. Orders are drawn from it for each listener.
        title: heading of the page.
        instructions: plain text in place of the first paragraphs; an empty line begins a paragraph.
        overwrite: replace the key of another test, whose answers can then be read no more.

    Returns:
        Paths of page and key.

    Raises:
        ConfigError: fewer than two methods or more than ten; a method is named in ``title`` or ``instructions``.
        InputError: explanations of different clips, targets or rates; a silent clip; NaN or infinite samples.
        OutputError: the key of another test is there, or a file could not be written.

    Example:
        >>> methods = {"L-MAC": explainer, "GradCAM": GradCAM(classifier)}
        >>> listening_test({name: method.explain(clips) for name, method in methods.items()}, "listening.html")
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"seed={seed!r} must be a whole number")
    for name in explanations:
        for what, given in (("title", title), ("instructions", instructions or "")):
            if re.search(rf"(?<!\w){re.escape(str(name))}(?!\w)", given, re.IGNORECASE):
                raise ConfigError(f"the {what} names the method {name!r}, but listeners must not know it; reword it")
    path = Path(path)
    test, trials, notes = make_trials(explanations, seed=seed)
    key = path.with_name(f"{path.stem}-key.json")
    if not overwrite:
        _refuse_other_key(key, test)
    facts = _key(test, title, list(explanations), trials, notes)
    write_bytes(key, json.dumps(facts, indent=1).encode())
    write_bytes(path, _page(test, title, instructions, trials).encode())
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return ListeningTest(path, key)


def _page(test: str, title: str, instructions: str | None, trials: list[Trial]) -> str:
    shown = [
        {
            "id": trial.id,
            "target": page_text(trial.target).replace("_", " "),
            "reference": audio_address(trial.reference, trial.sample_rate),
            "stimuli": [(s.id, audio_address(s.wave, trial.sample_rate)) for s in trial.stimuli],
        }
        for trial in trials
    ]
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", page_text(instructions or "")) if part.strip()]
    page = templates("audioxai.listening").get_template("listening.html")
    return page.render(test=test, title=page_text(title), paragraphs=paragraphs, trials=shown, format=ANSWERS_FORMAT)


def _key(test: str, title: str, methods: list[str], trials: list[Trial], notes: list[str]) -> dict[str, Any]:
    return {
        "format": KEY_FORMAT,
        "test": test,
        "title": title,
        "methods": methods,
        "trials": {
            trial.id: {
                "clip": trial.clip,
                "target": trial.target,
                "sample_rate": trial.sample_rate,
                "loudness_lufs": round(trial.level, 2),
                "anchor_made_of": trial.anchor,
                "stimuli": {
                    s.id: {"kind": s.kind, "method": s.method, "gain_db": round(s.gain, 2)} for s in trial.stimuli
                },
            }
            for trial in trials
        },
        "notes": notes,
    }


def _refuse_other_key(key: Path, test: str) -> None:
    """Answers to a test can be read only with its key, so the key of another one is not replaced unasked."""
    if not key.exists():
        return
    try:
        found = json.loads(key.read_text()).get("test")
    except (OSError, ValueError, AttributeError):
        found = None
    if found != test:
        raise OutputError(
            f"{str(key)!r} is the key of another test, whose answers could be read no more; choose another name or "
            "pass overwrite (--overwrite)"
        )
