"""The command line: demo, fit, explain, doctor.

Exit codes: 0 all done, 1 something failed (named on stderr), 2 wrong usage.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

from audioxai.errors import AudioXAIError, ConfigError, OutputError

if TYPE_CHECKING:
    from audioxai.classifier import AudioClassifier
    from audioxai.explainers import Explainer
    from audioxai.explanation import Explanation
    from audioxai.spaces import Scale

__all__ = ["app", "main"]

app = typer.Typer(
    help="Explain audio classifiers so that people can hear it.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip

_CLIPS_PER_PAGE = 24

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write into a folder that already holds files.")]
Own = Annotated[
    Optional[str],  # noqa: UP045 (typer reads the annotation at run time)
    typer.Option("--classifier", help="Your own: MODULE:NAME of an AudioClassifier or a function that returns one."),
]
SpaceName = Annotated[str, typer.Option(help="Where the mask lives: stft, mel or waveform.")]
ScaleName = Annotated[str, typer.Option(help="What the mask multiplies: magnitude or log1p.")]


def main() -> None:
    """Entry point: errors of the toolkit become one line and an exit code."""
    warnings.showwarning = lambda message, *_args, **_kwargs: typer.echo(f"warning: {message}", err=True)
    try:
        app()
    except AudioXAIError as error:
        _fail(error)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


def _fail(error: AudioXAIError) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    sys.exit(2 if isinstance(error, ConfigError) else 1)


@app.command()
def demo(out: Out = Path("audioxai-demo"), overwrite: Overwrite = False) -> None:
    """Train on synthetic scenes, fit L-MAC, explain held-out mixtures: a table and a page to listen to."""
    _prepare(out, overwrite)
    from audioxai.demo import run

    run(out, say=typer.echo)


@app.command()
def fit(
    data: Annotated[
        Path, typer.Argument(help="Folder of clips; with one subfolder per class when a network is trained.")
    ],
    out: Out = Path("audioxai-model"),
    classifier: Own = None,
    space: SpaceName = "stft",
    scale: ScaleName = "magnitude",
    seconds: Annotated[float, typer.Option(help="Clips are cut or padded to this length.")] = 5.0,
    epochs: Annotated[int, typer.Option(help="Passes of L-MAC over the clips.")] = 20,
    classifier_epochs: Annotated[int, typer.Option(help="Passes of the network, when one is trained.")] = 45,
    seed: int = 0,
    overwrite: Overwrite = False,
) -> None:
    """Fit L-MAC to a classifier on a folder of clips.

    Without --classifier, a compact network is trained first, on one subfolder of clips per class.
    Interrupted runs resume from the checkpoints in --out with --overwrite.
    """
    _prepare(out, overwrite)
    from audioxai.folder import clips_of, labelled_clips_of, loader_of

    bad: list[str] = []
    if classifier is None:
        import torch

        from audioxai.classifier import AudioClassifier
        from audioxai.frontends import LogMel
        from audioxai.nn import CompactCNN
        from audioxai.recipes import train_classifier
        from audioxai.store import save_classifier

        clips, classes, labels, bad = labelled_clips_of(data, 16000, seconds)
        torch.manual_seed(seed)
        model = AudioClassifier(CompactCNN(len(labels)), sample_rate=16000, frontend=LogMel(16000), labels=labels)
        typer.echo(f"training a compact network on {len(clips)} clips of {len(labels)} classes")
        checkpoint = out / "classifier-checkpoint.safetensors"
        train_classifier(model, loader_of(clips, classes), epochs=classifier_epochs, seed=seed, checkpoint=checkpoint)
        save_classifier(model, out)
    else:
        model = _own_classifier(classifier)
        clips, bad = clips_of(data, model.sample_rate, seconds)
    _name_bad(bad)
    from audioxai.explainers import LMAC

    typer.echo(f"fitting L-MAC on {len(clips)} clips")
    explainer = LMAC(model, space=space, scale=_scale(scale), seed=seed)
    explainer.fit(loader_of(clips), epochs=epochs, checkpoint=out / "lmac-checkpoint.safetensors")
    explainer.save_pretrained(out)
    how = f"--model {out}" if classifier is None else f"--classifier {classifier} --model {out}"
    typer.echo(f"saved in {out}; explain with: audioxai explain CLIP {how} --out explained")
    if bad:
        raise typer.Exit(1)


@app.command()
def explain(
    clips: Annotated[list[Path], typer.Argument(help="Audio files, or folders of them.")],
    model: Annotated[Path, typer.Option(help="Folder that 'fit' or 'demo' wrote.")],
    out: Out = Path("explained"),
    classifier: Own = None,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Label or class number to explain; default the predicted class."),
    ] = None,
    method: Annotated[str, typer.Option(help="lmac, gradcam, energy, random or all-ones.")] = "lmac",
    space: SpaceName = "stft",
    scale: ScaleName = "magnitude",
    overwrite: Overwrite = False,
) -> None:
    """Explain clips: mask, sounds, picture and scores for each, and a page to listen to."""
    _prepare(out, overwrite)
    from tqdm.auto import tqdm

    from audioxai.audio import find_audio
    from audioxai.store import load_classifier

    files = find_audio(clips)
    explainer = _explainer(
        method, _own_classifier(classifier) if classifier else load_classifier(model), model, space, scale
    )
    wanted: str | int | None = int(target) if target is not None and target.isdigit() else target
    failed: list[str] = []
    done: list[Explanation] = []
    pages: list[Path] = []
    names = _distinct(files)
    for file, name in tqdm(list(zip(files, names, strict=True)), desc="explain", disable=len(files) < 2):
        try:
            explanation = explainer.explain(file, wanted, names=[name])
            explanation.save(out)
        except AudioXAIError as error:
            failed.append(str(error))
            continue
        done.append(explanation)
        if len(done) == _CLIPS_PER_PAGE:
            pages.append(_write_page(done, out, len(pages)))
            done = []
    if done:
        pages.append(_write_page(done, out, len(pages)))
    _name_bad(failed)
    explained = len(files) - len(failed)
    typer.echo(f"explained {explained} of {len(files)} clip(s); listen: {', '.join(map(str, pages)) or 'nothing'}")
    if failed:
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Check the installation and say how to mend it."""
    from audioxai.doctor import examine

    broken = 0
    for finding in examine():
        mark = "ok " if finding.ok else "BAD"
        typer.echo(f"{mark} {finding.name:14} {finding.seen}")
        if not finding.ok:
            typer.echo(f"    {'fix' if finding.required else 'optional; fix'}: {finding.remedy}")
            broken += finding.required
    if broken:
        raise typer.Exit(1)


def _prepare(out: Path, overwrite: bool) -> None:
    """The output folder exists and is ours to write."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"--out {str(out)!r} is a file; choose a folder")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise OutputError(f"--out {str(out)!r} already holds files; choose another folder or pass --overwrite")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create --out {str(out)!r}: {error.strerror}") from error


def _own_classifier(spec: str) -> AudioClassifier:
    """MODULE:NAME to a classifier; the current folder is searched first."""
    from audioxai.classifier import AudioClassifier

    module, _, name = spec.partition(":")
    if not name:
        raise ConfigError(f"--classifier {spec!r} must be MODULE:NAME, such as my_model:build")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--classifier {spec!r} cannot be imported: {error}") from error
    finally:
        sys.path.pop(0)
    made = found if isinstance(found, AudioClassifier) else found()
    if not isinstance(made, AudioClassifier):
        raise ConfigError(f"--classifier {spec!r} gives {type(made).__name__}, not an AudioClassifier")
    return made


def _explainer(method: str, classifier: AudioClassifier, folder: Path, space: str, scale: str) -> Explainer:
    from audioxai.errors import nearest
    from audioxai.explainers import LMAC, AllOnes, EnergyMask, GradCAM, RandomMask

    if method == "lmac":
        return LMAC.from_pretrained(folder, classifier=classifier)
    others: dict[str, type[Explainer]] = {
        "gradcam": GradCAM,
        "energy": EnergyMask,
        "random": RandomMask,
        "all-ones": AllOnes,
    }
    if method not in others:
        raise ConfigError(f"--method {method!r} is not known; nearest: {nearest(method, ['lmac', *others])}")
    return others[method](classifier, space=space, scale=_scale(scale))


def _scale(scale: str) -> Scale:
    if scale not in ("log1p", "magnitude"):
        raise ConfigError(f"--scale {scale!r} is not known; choose magnitude or log1p")
    return "log1p" if scale == "log1p" else "magnitude"


def _distinct(files: list[Path]) -> list[str]:
    """File names; those that repeat get the shortest distinguishing parent folder or a number."""
    names: list[str] = []
    for file in files:
        name, number = file.name, 2
        if name in names and file.parent.name:
            name = f"{file.parent.name}_{file.name}"
        base = name
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names


def _write_page(explanations: list[Explanation], out: Path, number: int) -> Path:
    from audioxai.report import write_page

    page = out / ("index.html" if number == 0 else f"index-{number + 1}.html")
    write_page(explanations, page)
    return page


def _name_bad(lines: list[str]) -> None:
    for line in lines:
        typer.echo(f"error: {line}", err=True)
