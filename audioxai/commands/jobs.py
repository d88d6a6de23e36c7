"""What the commands ``fit`` and ``explain`` do, step by step: read, check, work, write, and say so."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioxai.commands.output_folders import FitRun, distinct_names, save_clip
from audioxai.errors import AudioFileError, AudioXAIError, ConfigError, OutputError
from audioxai.pretrained import DEFAULT, pretrained_folder
from audioxai.support.terminal import on_terminal, say, tell

if TYPE_CHECKING:
    from audioxai.classifiers.base import AudioClassifier
    from audioxai.explainers import Explainer
    from audioxai.explainers.explanation import Explanation

__all__ = [
    "METHODS",
    "RATE",
    "check_method",
    "choose",
    "explain_all",
    "find_inputs",
    "fresh_classifier",
    "make_explainer",
    "own_classifier",
    "read_target",
    "say_shipped",
    "saved_classifier",
    "train_or_load",
]

#: Names on the command line to names in the package.
METHODS = {
    "lmac": "LMAC",
    "saliency": "Saliency",
    "input-x-gradient": "InputXGradient",
    "smoothgrad": "SmoothGrad",
    "integrated-gradients": "IntegratedGradients",
    "guided-backprop": "GuidedBackprop",
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "guided-gradcam": "GuidedGradCAM",
    "scorecam": "ScoreCAM",
    "gscorecam": "GScoreCAM",
    "gradient-shap": "GradientSHAP",
    "deep-shap": "DeepSHAP",
    "kernel-shap": "KernelSHAP",
    "occlusion": "Occlusion",
    "lime": "LIME",
    "energy": "EnergyMask",
    "random": "RandomMask",
    "all-ones": "AllOnes",
}

_CLIPS_PER_PAGE = 24
RATE = 16000  # of the network that fit trains


def fresh_classifier(labels: list[str], seed: int) -> AudioClassifier:
    """The compact network on log-mels, untrained."""
    import torch

    from audioxai.classifiers.base import AudioClassifier
    from audioxai.nn import CompactCNN
    from audioxai.sound.frontends import LogMel

    torch.manual_seed(seed)
    return AudioClassifier(CompactCNN(len(labels)), sample_rate=RATE, frontend=LogMel(RATE), labels=labels)


def train_or_load(model: AudioClassifier, loader: Any, run: FitRun, **options: Any) -> None:
    """Train and save the network, or load what an interrupted run has saved."""
    from audioxai.classifiers.saving import load_classifier, save_classifier
    from audioxai.training.recipes import accuracy, train_classifier

    if run.classifier_saved:
        model.network.load_state_dict(load_classifier(run.folder).network.state_dict())
        model.eval()
        return
    say(f"training a compact network on {len(loader.dataset)} clips of {len(model.labels or ())} classes")
    train_classifier(model, loader, checkpoint=run.classifier_checkpoint, **options)
    save_classifier(model, run.folder)
    say(f"accuracy on these clips: {100 * accuracy(model, loader):.0f} %")


def saved_classifier(folder: Path) -> AudioClassifier:
    """The reference network that was saved beside its explainer."""
    from audioxai.classifiers.saving import load_classifier

    if (folder / "explainer.json").is_file() and not (folder / "classifier.json").is_file():
        raise ConfigError(f"--model {str(folder)!r} was fitted to a network of your own; pass its --classifier too")
    return load_classifier(folder)


def say_shipped(classifier: AudioClassifier) -> None:
    """One line on the shipped network: it answers with one of its labels whatever it hears."""
    say(f"model: {DEFAULT}, shipped with audioxai; it knows only {', '.join(classifier.labels or ())}")


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


def make_explainer(
    method: str, classifier: AudioClassifier, folder: Path | None, space: str | None, scale: str | None
) -> Explainer:
    """An explainer by its name; L-MAC from the folder where it was saved, whose space and scale it keeps."""
    import audioxai

    if method != "lmac":
        made: Explainer = getattr(audioxai, METHODS[method])(
            classifier, space=space or "stft", scale=scale or "magnitude"
        )
        return made
    assert folder is not None
    fitted = audioxai.LMAC.from_pretrained(folder, classifier=classifier)
    for option, asked, has in (("space", space, fitted.space.name), ("scale", scale, fitted.space.scale)):
        if asked is not None and asked != has:
            raise ConfigError(f"--{option} {asked}: this L-MAC was fitted with --{option} {has}; leave it out")
    return fitted


def check_method(method: str, model: Path | None, classifier: str | None) -> None:
    """Refuse L-MAC for a network of the user's own without what was fitted to it."""
    if classifier is not None and model is None and method == "lmac":
        raise ConfigError(
            f"--model FOLDER is missing: what 'audioxai fit DATA --classifier {classifier} --out FOLDER' wrote. "
            "A network without a fitted L-MAC takes another --method, such as gradcam"
        )


def choose(
    method: str,
    model: Path | None,
    classifier: str | None,
    space: str | None,
    scale: str | None,
    target: str | None,
    quiet: bool = False,
) -> tuple[Explainer, str | int | None]:
    """The explainer and the target that the options of a command ask for; without a network, what is shipped."""
    shipped = classifier is None and model is None
    folder = pretrained_folder() if shipped else model
    if classifier is not None:
        network = own_classifier(classifier)
    else:
        assert folder is not None
        network = saved_classifier(folder)
    explainer = make_explainer(method, network, folder, space, scale)
    wanted = read_target(target, network)
    if shipped and not quiet:
        say_shipped(network)
    return explainer, wanted


def read_target(given: str | None, classifier: AudioClassifier) -> str | int | None:
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


def find_inputs(paths: list[Path], out: Path) -> tuple[list[Path], list[str]]:
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


def explain_all(files: list[Path], explainer: Explainer, target: str | int | None, out: Path) -> tuple[int, list[str]]:
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
