"""Answers to a listening test: read the exports against the key, screen the listeners, and say what became of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audioxai.errors import InputError, OutputError
from audioxai.listening.page import ANSWERS_FORMAT, KEY_FORMAT, SCALES
from audioxai.listening.stimuli import ANCHOR, REFERENCE
from audioxai.support.files import PathLike

__all__ = ["Answers", "Rating", "Ratings", "read_ratings"]

_LOWEST, _MOST_LOW = 90, 0.15  # BS.1534-3: the hidden reference is rated below 90 in more than 15 % of the trials


@dataclass(frozen=True)
class Rating:
    """What one listener said of one sound, and what that sound was."""

    trial: str
    clip: str
    target: str
    kind: str
    method: str
    position: int
    plays: int
    relevance: int
    quality: int


@dataclass(frozen=True)
class Answers:
    """The complete trials of one listener, in the order in which they were heard.

    ``low_references`` of ``trials`` complete ones rated the hidden reference's quality below 90.
    """

    listener: str
    file: str
    trials: int
    low_references: int
    ratings: list[Rating]

    @property
    def screened(self) -> bool:
        """Out by BS.1534's rule: the hidden reference was not heard as such in too many trials."""
        return self.low_references > _MOST_LOW * self.trials


@dataclass(frozen=True)
class Ratings:
    """All listeners of a test.

    Attributes:
        test: id of the test.
        methods: reference, methods in their own order, anchor.
        clips: number of trials.
        used: listeners whose ratings count.
        screened: listeners that were left out by the rule on the hidden reference.
        notes: what became of every export that is not used whole, in sentences.
    """

    test: str
    methods: list[str]
    clips: int
    used: list[Answers] = field(default_factory=list)
    screened: list[Answers] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_ratings(
    exports: Iterable[PathLike], key: PathLike, *, screen: bool = True, complete_only: bool = False
) -> Ratings:
    """Read the exports of a listening test.

    A trial counts if every sound in it was played and has both ratings; the complete trials of an unfinished export
    are used. Of several exports of one session, the latest counts. Nothing is left out without a note.

    Args:
        exports: JSON files as downloaded from the page, and folders of them.
        key: the file that :func:`audioxai.listening.listening_test` wrote beside the page.
        screen: leave out listeners who rate the hidden reference's quality below 90 in more than 15 % of the trials
            (ITU-R BS.1534-3). With ``False`` they are used, and still named.
        complete_only: leave out listeners who have not finished.

    Raises:
        OutputError: a file that cannot be read, or is no export or no key.
        InputError: an export of another test; two sessions under one listener id; nobody is left.
    """
    test, methods, sounds = _read_key(Path(key))
    files = _files(exports, Path(key))
    notes: list[str] = []
    answers = []
    for file, facts in _sessions([(file, _read_export(file, test, sounds)) for file in files], notes):
        found = _answers(str(facts["listener"]), file, facts, sounds)
        if found.trials < len(sounds):
            unused = "left out" if complete_only or not found.trials else "these are used"
            notes.append(
                f"{_who(found.listener)} is unfinished, {found.trials} of {len(sounds)} trials are complete: {unused}."
            )
            if unused == "left out":
                continue
        answers.append(found)
    low = [a for a in answers if a.screened]
    if low:
        listed = ", ".join(f"{_who(a.listener)} ({a.low_references} of {a.trials})" for a in low)
        notes.append(
            f"{len(low)} of {len(answers)} listener(s) {'screened out' if screen else 'kept against the rule'}, hidden "
            f"reference below {_LOWEST} in quality in more than {100 * _MOST_LOW:g} % of the trials (ITU-R BS.1534-3): "
            f"{listed}."
        )
    used = [a for a in answers if not (screen and a.screened)]
    if not used:
        raise InputError(
            f"no listener is left of {len(files)} export(s). {' '.join(notes)} Collect more answers, or look at them "
            "with screen=False (--no-screening)"
        )
    return Ratings(test, [REFERENCE, *methods, ANCHOR], len(sounds), used, low if screen else [], notes)


def _read(path: Path, what: str) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{str(path)!r} cannot be read as {what}: {error}") from error
    expected = KEY_FORMAT if what == "a key" else ANSWERS_FORMAT
    if not isinstance(facts, dict) or facts.get("format") != expected:
        found = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
        raise OutputError(f"{str(path)!r} is not {what} of a listening test: its format is {found!r}, not {expected!r}")
    return facts


_Sounds = Mapping[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]]  # trial to its facts and its stimuli


def _read_key(path: Path) -> tuple[str, list[str], _Sounds]:
    facts = _read(path, "a key")
    try:
        methods = [str(name) for name in facts["methods"]]
        sounds = {str(trial): (dict(value), dict(value["stimuli"])) for trial, value in facts["trials"].items()}
        expected = sorted([REFERENCE, ANCHOR, *methods])
        whole = all(sorted(s["method"] for s in stimuli.values()) == expected for _, stimuli in sounds.values())
        if not (sounds and whole):
            raise ValueError("its trials do not hold each method once")
        return str(facts["test"]), methods, sounds
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise OutputError(
            f"the key {str(path)!r} is damaged: {error!r}; make the test again with the same seed"
        ) from error


def _files(exports: Iterable[PathLike], key: Path) -> list[Path]:
    files: dict[Path, Path] = {}
    for given in map(Path, exports):
        inside = sorted(given.glob("*.json")) if given.is_dir() else [given]
        inside = [file for file in inside if not given.is_dir() or file.resolve() != key.resolve()]
        if not inside:
            raise OutputError(f"no export (*.json) in {str(given)!r}")
        files |= {file.resolve(): file for file in inside}
    if not files:
        raise InputError("there is no export to read; give the JSON files that listeners downloaded")
    return list(files.values())


def _read_export(file: Path, test: str, sounds: _Sounds) -> dict[str, Any]:
    """One export; everything that is used of it later has been checked here."""
    facts = _read(file, "the answers")
    if facts.get("test") != test:
        raise InputError(
            f"{str(file)!r} answers the test {facts.get('test')!r}, but the key is that of {test!r}; "
            "give the key that was written with that page"
        )
    try:
        for name in ("listener", "session", "exported"):
            if not isinstance(facts[name], str) or not facts[name].strip():
                raise ValueError(f"{name} is {facts[name]!r}")
        if sorted(entry["trial"] for entry in facts["trials"]) != sorted(sounds):
            raise ValueError("its trials are not those of the test")
        for entry in facts["trials"]:
            stimuli = sounds[entry["trial"]][1]
            if sorted(entry["order"]) != sorted(stimuli) or not set(entry["ratings"]) <= set(stimuli):
                raise ValueError(f"trial {entry['trial']!r} holds other sounds than the test")
            for rating in entry["ratings"].values():
                for scale in SCALES:
                    value = rating.get(scale)
                    if value is not None and (type(value) is not int or not 0 <= value <= 100):
                        raise ValueError(f"a {scale} of {value!r} is not a whole number from 0 to 100")
                if type(rating.get("plays", 0)) is not int:
                    raise ValueError(f"plays is {rating['plays']!r}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise OutputError(
            f"the answers {str(file)!r} are damaged: {error!r}; ask the listener to export again"
        ) from error
    return facts


def _sessions(exports: list[tuple[Path, dict[str, Any]]], notes: list[str]) -> list[tuple[Path, dict[str, Any]]]:
    """One export a listener: the latest of a session."""
    latest: dict[str, tuple[Path, dict[str, Any]]] = {}
    owners: dict[str, str] = {}
    for file, facts in sorted(exports, key=lambda pair: str(pair[1]["exported"])):
        listener, session = facts["listener"].strip().casefold(), facts["session"]
        if owners.setdefault(session, listener) != listener:
            raise InputError(
                f"the session of {str(file)!r} is also there under another listener id, so that one listener would "
                "count twice; leave one out"
            )
        if listener in latest:
            earlier, before = latest[listener]
            if before["session"] != session:
                raise InputError(
                    f"two sessions have the listener id {facts['listener']!r}: {str(earlier)!r} and {str(file)!r}; if "
                    "these are two people, change the id in one of the files, else leave one out"
                )
            notes.append(f"{_who(facts['listener'])} exported more than once; the latest, {file.name!r}, is used.")
        latest[listener] = file, facts
    return sorted(latest.values(), key=lambda pair: str(pair[1]["listener"]).casefold())


def _answers(listener: str, file: Path, facts: dict[str, Any], sounds: _Sounds) -> Answers:
    ratings: list[Rating] = []
    trials = low = 0
    for entry in facts["trials"]:
        about, stimuli = sounds[entry["trial"]]
        given = entry["ratings"]
        said_all = [given.get(sound, {}) for sound in stimuli]
        if any(not said.get("plays") or any(said.get(scale) is None for scale in SCALES) for said in said_all):
            continue
        trials += 1
        for position, sound in enumerate(entry["order"], start=1):
            what, said = stimuli[sound], given[sound]
            low += what["kind"] == "reference" and said["quality"] < _LOWEST
            ratings.append(
                Rating(
                    entry["trial"], str(about["clip"]), str(about["target"]), what["kind"], what["method"], position,
                    said["plays"], said["relevance"], said["quality"],
                )
            )  # fmt: skip
    return Answers(listener, str(file), trials, low, ratings)


def _who(listener: str) -> str:
    return f"listener {listener!r}"
