"""Save and load the reference classifiers: safetensors and JSON, never pickle.

A network of your own is rebuilt by your own code; only its explainer is saved (``explainer.save_pretrained``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.saving_zero_shot import NETWORK, build_zero_shot, pack, save_zero_shot
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import AudioXAIError, ConfigError, OutputError
from audioxai.nn import CNN14, CompactCNN, WaveformCNN
from audioxai.sound.dsp import STFT
from audioxai.sound.frontends import LogMel, LogSTFT, SpectralFrontend
from audioxai.support.files import write_bytes

__all__ = ["load_classifier", "save_classifier"]

_NETWORKS: dict[str, Callable[..., nn.Module]] = {"CNN14": CNN14, "CompactCNN": CompactCNN, "WaveformCNN": WaveformCNN}
_FRONTENDS: dict[str, Callable[..., SpectralFrontend]] = {"LogMel": LogMel, "LogSTFT": LogSTFT}
_WEIGHTS, _CONFIG = "classifier.safetensors", "classifier.json"


def save_classifier(classifier: AudioClassifier, folder: str | os.PathLike[str], *, half: bool = False) -> Path:
    """Write a reference network with its front end and labels, or a zero-shot classifier of a compact CLAP.

    Args:
        classifier: of the toolkit's own parts.
        folder: made if need be.
        half: write the weights as float16, half as large; they are read as float32.

    Raises:
        ConfigError: the network or front end is not one of the toolkit's own, or was built with other sizes.
        OutputError: the files could not be written.
    """
    if isinstance(classifier, ZeroShotClassifier):
        save_zero_shot(classifier, Path(folder), _WEIGHTS, _CONFIG, half)
        return Path(folder)
    network, frontend = type(classifier.network).__name__, classifier.frontend
    known = network in _NETWORKS and (frontend is None or type(frontend).__name__ in _FRONTENDS)
    if not known or (frontend is None) != (network == "WaveformCNN"):
        raise ConfigError(
            "only CNN14 and CompactCNN behind LogMel or LogSTFT, and WaveformCNN without a front end, can be saved; "
            f"got {network} behind {type(frontend).__name__}. Keep your own network in your own code"
        )
    if classifier.labels is None:
        raise ConfigError("a classifier is saved with its labels; pass labels=[...] to AudioClassifier")
    config = {
        "network": network,
        "frontend": frontend.config() if isinstance(frontend, SpectralFrontend) else None,
        "sample_rate": classifier.sample_rate,
        "labels": list(classifier.labels),
        "multilabel": classifier.multilabel,
    }
    state = classifier.network.state_dict()
    try:  # a network of other widths would not load again: say so now
        _build(config).load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"this {network} was built with sizes of its own, which are not saved: {error}") from error
    folder, text = Path(folder), json.dumps(config, indent=2).encode()
    write_bytes(folder / _WEIGHTS, pack(state, half))
    write_bytes(folder / _CONFIG, text)
    return folder


def load_classifier(folder: str | os.PathLike[str]) -> AudioClassifier:
    """Load what :func:`save_classifier` wrote, in evaluation mode.

    Raises:
        OutputError: nothing is saved there, or it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = Path(folder)
    try:
        config = json.loads((folder / _CONFIG).read_text())
        weights = load((folder / _WEIGHTS).read_bytes())
        if config["network"] == NETWORK:
            return build_zero_shot(config, weights, _frontend(config["frontend"])).eval()
        network = _build(config)
        network.load_state_dict(weights)
        classifier = AudioClassifier(
            network,
            sample_rate=config["sample_rate"],
            frontend=None if config["frontend"] is None else _frontend(config["frontend"]),
            labels=config["labels"],
            multilabel=config["multilabel"],
        )
    except FileNotFoundError as error:
        raise OutputError(
            f"no saved classifier in {str(folder)!r}: it has no {Path(error.filename).name}; check the folder"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, AudioXAIError) as error:
        raise OutputError(f"the classifier saved in {str(folder)!r} cannot be read: {error!r}") from error
    return classifier.eval()


def _build(config: dict[str, Any]) -> nn.Module:
    """The network with fresh weights; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return _NETWORKS[config["network"]](len(config["labels"]), **_rows(config["frontend"]))


def _rows(frontend: dict[str, Any] | None) -> dict[str, int]:
    """What a network over spectra must know of its input's height."""
    if frontend is None:
        return {}
    return {"n_mels": frontend["n_mels"] if frontend["type"] == "LogMel" else frontend["stft"]["n_fft"] // 2 + 1}


def _frontend(config: dict[str, Any]) -> SpectralFrontend:
    options = dict(config)
    return _FRONTENDS[options.pop("type")](**{**options, "stft": STFT(**options["stft"])})
