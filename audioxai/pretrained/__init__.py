"""Small weights that the package ships: networks, and explainers fitted to them, each in a folder with its card.

``CARD.md`` there says what the weights are, on what and how they were trained, and what they must not be used for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from audioxai.errors import ConfigError, nearest

if TYPE_CHECKING:
    from audioxai.classifiers.zero_shot import ZeroShotClassifier
    from audioxai.explainers import LMAC

__all__ = ["DEFAULT", "load_pretrained", "pretrained_folder", "pretrained_names"]

#: What the command line uses when no model is named.
DEFAULT = "esc10-compact"


def pretrained_names() -> tuple[str, ...]:
    """The names that :func:`load_pretrained` knows."""
    return tuple(sorted(folder.parent.name for folder in Path(__file__).parent.glob("*/classifier.json")))


def pretrained_folder(name: str = DEFAULT) -> Path:
    """Where the files are: ``CARD.md``, ``attribution.csv``, weights (safetensors) and settings (JSON).

    Raises:
        ConfigError: no weights of that name are shipped; the error lists the nearest.
    """
    known = pretrained_names()
    if name not in known:
        raise ConfigError(
            f"no pretrained weights {name!r} are shipped; nearest: {nearest(str(name), known) or 'none'}. "
            "For a folder of your own use LMAC.from_pretrained(folder, classifier=...) or load_classifier(folder)"
        )
    return Path(__file__).parent / name


@overload
def load_pretrained(name: Literal["esc10-compact"] = "esc10-compact") -> LMAC: ...
@overload
def load_pretrained(name: Literal["esc10-clap"]) -> ZeroShotClassifier: ...
@overload
def load_pretrained(name: str) -> Any: ...
def load_pretrained(name: str = DEFAULT) -> Any:
    """The fitted explainer of that name, whose ``.classifier`` is the network that it explains; or a network alone.

    ``"esc10-compact"``: the compact network on log-mels, ten everyday sounds (``.classifier.labels``), and L-MAC with
    STFT masks on the magnitude. It takes clips (T,) or (B, T) of any length at 16 kHz, and files of any rate.

    ``"esc10-clap"``: a compact CLAP as a :class:`audioxai.ZeroShotClassifier`, for any explainer; its prompts name the
    same ten sounds, and any text may be a target.

    Args:
        name: one of :func:`pretrained_names`.

    Returns:
        A fitted :class:`audioxai.LMAC` or the classifier, on the CPU, in evaluation mode; ``.to(device)`` moves it.

    Raises:
        ConfigError: no weights of that name are shipped; the error lists the nearest.
        OutputError: the installed files are damaged.

    Example:
        >>> explainer = load_pretrained("esc10-compact")
        >>> explanation = explainer.explain("my.wav")
        >>> dog = explainer.explain("my.wav", "dog")
        >>> network = explainer.classifier
        >>> GradCAM(load_pretrained("esc10-clap")).explain("my.wav", "a puppy barks")
    """
    from audioxai.classifiers.saving import load_classifier
    from audioxai.explainers import LMAC

    folder = pretrained_folder(name)
    classifier = load_classifier(folder)
    return LMAC.from_pretrained(folder, classifier=classifier) if (folder / "explainer.json").exists() else classifier
