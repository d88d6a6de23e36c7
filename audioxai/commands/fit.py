"""The command ``audioxai fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from audioxai.commands.loading import own_classifier
from audioxai.commands.options import Out, Overwrite, Own, ScaleName, SpaceName
from audioxai.commands.output_folders import FitRun, output_folder
from audioxai.errors import ConfigError
from audioxai.support.terminal import on_terminal, say, tell

if TYPE_CHECKING:
    from audioxai.classifiers.base import AudioClassifier

__all__ = ["fit"]

_RATE = 16000  # of the network that is trained


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
        from audioxai.data.class_folders import clips_of, labelled_clips_of, loader_of
        from audioxai.explainers import LMAC

        if classifier is not None:
            model = own_classifier(classifier)
            clips, bad = clips_of(data, model.sample_rate, seconds)
            classes = None
        else:
            clips, classes, names, bad = labelled_clips_of(data, _RATE, seconds, labels)
            model = _fresh_classifier(names, seed)
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
                _train_or_load(model, loader_of(clips, classes), run, epochs=classifier_epochs, **quiet)
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


def _fresh_classifier(labels: list[str], seed: int) -> AudioClassifier:
    """The compact network on log-mels, untrained."""
    import torch

    from audioxai.classifiers.base import AudioClassifier
    from audioxai.nn import CompactCNN
    from audioxai.sound.frontends import LogMel

    torch.manual_seed(seed)
    return AudioClassifier(CompactCNN(len(labels)), sample_rate=_RATE, frontend=LogMel(_RATE), labels=labels)


def _train_or_load(model: AudioClassifier, loader: Any, run: FitRun, **options: Any) -> None:
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
