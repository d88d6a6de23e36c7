"""Errors of the toolkit: each quotes what the caller gave and names the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AudioFileError", "AudioXAIError", "ClassifierError", "ConfigError", "InputError", "LabelsError",
    "MissingDependencyError", "NotFittedError", "OutputError", "TargetError", "nearest",
]  # fmt: skip


class AudioXAIError(Exception):
    """Root of every error that the toolkit raises on purpose."""


class InputError(AudioXAIError, ValueError):
    """A waveform, mask or batch that cannot be used as given."""


class TargetError(AudioXAIError, ValueError):
    """A target that names no class, or not one per clip."""


class ConfigError(AudioXAIError, ValueError):
    """An option outside its range, or options that contradict each other."""


class ClassifierError(AudioXAIError, RuntimeError):
    """A network that does not behave as a classifier, or failed on an input."""


class LabelsError(ClassifierError):
    """More or fewer labels than the network has outputs."""


class AudioFileError(AudioXAIError, OSError):
    """An audio file that is missing, empty, truncated or not audio."""


class OutputError(AudioXAIError, OSError):
    """A result that could not be written, or a saved one that cannot be read."""


class NotFittedError(AudioXAIError, ValueError, AttributeError):
    """A learned explainer that is used before ``fit``."""


class MissingDependencyError(AudioXAIError, ImportError):
    """A package that is needed and absent or broken."""


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """The ``n`` known names closest to ``name``, quoted and joined for an error message."""
    asked = name.casefold()
    ranked = sorted(known, key=lambda one: difflib.SequenceMatcher(None, one.casefold(), asked).ratio(), reverse=True)
    return ", ".join(map(repr, ranked[:n]))
