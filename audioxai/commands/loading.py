"""From the options of a command to the network, the explainer and the target that they name."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from audioxai.errors import ConfigError, nearest
from audioxai.explainers import Explainer, LearnedExplainer
from audioxai.explainers.registry import EXPLAINERS
from audioxai.pretrained import DEFAULT, pretrained_folder
from audioxai.support.terminal import say

if TYPE_CHECKING:
    from audioxai.classifiers.base import AudioClassifier

__all__ = ["FITTED", "load_explainer", "own_classifier"]

FITTED = "lmac"  # what the command fit fits, and what is shipped


def own_classifier(spec: str) -> AudioClassifier:
    """MODULE:NAME to a classifier; the current folder is searched first."""
    from audioxai.classifiers.base import AudioClassifier

    module, _, name = spec.partition(":")
    if not module or not name:
        raise ConfigError(f"--classifier {spec!r} must be MODULE:NAME, such as my_model:build")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name)
        made = found() if callable(found) and not isinstance(found, AudioClassifier) else found
    except Exception as error:
        if os.environ.get("AUDIOXAI_DEBUG"):
            traceback.print_exc()
        raise ConfigError(f"--classifier {spec!r} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(made, AudioClassifier):
        raise ConfigError(f"--classifier {spec!r} gives {type(made).__name__}, not an AudioClassifier")
    return made


def load_explainer(
    method: str,
    model: Path | None,
    classifier: str | None,
    space: str | None,
    scale: str | None,
    target: str | None,
    quiet: bool = False,
) -> tuple[Explainer, str | int | None]:
    """The explainer and the target that the options of a command ask for; without a network, what is shipped.

    The module of ``--classifier`` may register explainers of its own.

    Raises:
        ConfigError: the network, the explainer or the target cannot be had; it names the option.
    """
    shipped = classifier is None and model is None
    folder = pretrained_folder() if shipped else model
    network = None
    if classifier is not None and method not in EXPLAINERS:  # its module may know it
        network = own_classifier(classifier)
    if method not in EXPLAINERS:
        raise ConfigError(f"--method {method!r} is not known; the nearest are {nearest(method, EXPLAINERS)}")
    kind = EXPLAINERS[method]
    if issubclass(kind, LearnedExplainer) and (folder is None or (shipped and method != FITTED)):
        raise ConfigError(
            f"--model FOLDER is missing: what 'audioxai fit DATA --classifier {classifier} --out FOLDER' wrote. "
            "A network without a fitted L-MAC takes another --method, such as gradcam"
            if method == FITTED
            else f"--model FOLDER is missing: where {kind.__name__}.save_pretrained wrote what was fitted"
        )
    if network is None and classifier is not None:
        network = own_classifier(classifier)
    elif network is None:
        assert folder is not None
        network = _saved_classifier(folder)
    explainer = _make(kind, network, folder, space, scale)
    wanted = _target(target, network)
    if shipped and not quiet:  # it answers with one of its labels whatever it hears
        say(f"model: {DEFAULT}, shipped with audioxai; it knows only {', '.join(network.labels or ())}")
    return explainer, wanted


def _saved_classifier(folder: Path) -> AudioClassifier:
    """The reference network that was saved beside its explainer."""
    from audioxai.classifiers.saving import load_classifier

    if (folder / "explainer.json").is_file() and not (folder / "classifier.json").is_file():
        raise ConfigError(f"--model {str(folder)!r} was fitted to a network of your own; pass its --classifier too")
    return load_classifier(folder)


def _make(
    kind: type[Explainer], classifier: AudioClassifier, folder: Path | None, space: str | None, scale: str | None
) -> Explainer:
    """A training-free explainer, or a learned one from where it was saved, whose space and scale it keeps."""
    if not issubclass(kind, LearnedExplainer):
        return kind(classifier, space=space or "stft", scale=scale or "magnitude")  # type: ignore[arg-type]
    assert folder is not None
    fitted = kind.from_pretrained(folder, classifier=classifier)
    for option, asked, has in (("space", space, fitted.space.name), ("scale", scale, fitted.space.scale)):
        if asked is not None and asked != has:
            raise ConfigError(
                f"--{option} {asked}: this {kind.__name__} was fitted with --{option} {has}; leave it out"
            )
    return fitted


def _target(given: str | None, classifier: AudioClassifier) -> str | int | None:
    """A label, for zero-shot classifiers any text, a class number or nothing; checked before any work."""
    import torch

    from audioxai.classifiers.targets import parse_target

    number = given is not None and given not in (classifier.labels or ()) and given.strip().lstrip("-").isdecimal()
    target = int(given) if given is not None and number else given
    labels = classifier.for_targets([target]).labels
    parsed = parse_target(target, 1, labels)
    if labels:
        parsed.resolve(torch.zeros(1, len(labels)), labels)
    return target
