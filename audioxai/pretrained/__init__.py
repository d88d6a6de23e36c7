"""Small weights that the package ships: a network and the L-MAC fitted to it, each in a folder with its card.

``CARD.md`` there says what the weights are, on what and how they were trained, and what they must not be used for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audioxai.errors import ConfigError, nearest

if TYPE_CHECKING:
    from audioxai.explainers import LMAC

__all__ = ["DEFAULT", "load_pretrained", "pretrained_folder", "pretrained_names"]

#: What the command line uses when no model is named.
DEFAULT = "esc10-compact"


def pretrained_names() -> tuple[str, ...]:
    """The names that :func:`load_pretrained` knows."""
    return tuple(sorted(folder.parent.name for folder in Path(__file__).parent.glob("*/explainer.json")))


def pretrained_folder(name: str = DEFAULT) -> Path:
    """Where the files are: ``CARD.md``, ``attribution.csv``, weights (safetensors) and settings (JSON).

    Raises:
        ConfigError: no weights of that name are shipped; the error lists the nearest.
    """
    known = pretrained_names()
    if name not in known:
        raise ConfigError(
            f"no pretrained weights {name!r} are shipped; nearest: {nearest(str(name), known) or 'none'}. "
            "For a folder of your own use LMAC.from_pretrained(folder, classifier=...)"
        )
    return Path(__file__).parent / name


def load_pretrained(name: str = DEFAULT) -> LMAC:
    """The fitted explainer of that name; its ``.classifier`` is the network that it explains.

    ``"esc10-compact"``: the compact network on log-mels, ten everyday sounds (``.classifier.labels``), and L-MAC with
    STFT masks on the magnitude. It takes clips (T,) or (B, T) of any length at 16 kHz, and files of any rate.

    Args:
        name: one of :func:`pretrained_names`.

    Returns:
        A fitted :class:`audioxai.LMAC` on the CPU, in evaluation mode; ``.to(device)`` moves it with its network.

    Raises:
        ConfigError: no weights of that name are shipped; the error lists the nearest.
        OutputError: the installed files are damaged.

    Example:
        >>> explainer = load_pretrained("esc10-compact")
        >>> explanation = explainer.explain("my.wav")
        >>> dog = explainer.explain("my.wav", "dog")
        >>> network = explainer.classifier
    """
    from audioxai.explainers import LMAC
    from audioxai.store import load_classifier

    folder = pretrained_folder(name)
    return LMAC.from_pretrained(folder, classifier=load_classifier(folder))
