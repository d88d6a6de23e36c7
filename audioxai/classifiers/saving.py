"""Save and load the reference classifiers and compact CLAPs: safetensors and JSON, never pickle.

A network of your own is rebuilt by your own code; only its explainer is saved (``explainer.save_pretrained``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import AudioXAIError, ConfigError, OutputError
from audioxai.nn import CNN14, CompactCNN, NgramEncoder, WaveformCNN
from audioxai.sound.dsp import STFT
from audioxai.sound.frontends import LogMel, LogSTFT, SpectralFrontend
from audioxai.support.saved import read_saved, write_saved

__all__ = ["load_classifier", "save_classifier"]

_NETWORKS: dict[str, Callable[..., nn.Module]] = {"CNN14": CNN14, "CompactCNN": CompactCNN, "WaveformCNN": WaveformCNN}
_FRONTENDS: dict[str, Callable[..., SpectralFrontend]] = {"LogMel": LogMel, "LogSTFT": LogSTFT}
_CLAP = "CompactCLAP"
_FILES = ("classifier.safetensors", "classifier.json")


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
    zero_shot = isinstance(classifier, ZeroShotClassifier)
    config, network = (_zero_shot_parts if zero_shot else _parts)(classifier)
    state = network.state_dict()
    try:  # a network of other widths would not load again: say so now
        _build(config).load_state_dict(state)
    except RuntimeError as error:
        what = "audio tower" if zero_shot else config["network"]
        raise ConfigError(f"this {what} was built with sizes of its own, which are not saved: {error}") from error
    kept = {k: v.half() if half and v.is_floating_point() else v for k, v in state.items()}
    return write_saved(Path(folder), _FILES, kept, config)


def _parts(classifier: AudioClassifier) -> tuple[dict[str, Any], nn.Module]:
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
    return config, classifier.network


def _zero_shot_parts(classifier: Any) -> tuple[dict[str, Any], nn.Module]:
    audio, text, frontend = classifier.network.encoder, classifier.text_encoder, classifier.frontend
    if not (isinstance(audio, CompactCNN) and isinstance(text, NgramEncoder) and isinstance(frontend, LogMel)):
        raise ConfigError(
            "of zero-shot classifiers only CompactCNN behind LogMel with an NgramEncoder can be saved; got "
            f"{type(audio).__name__} behind {type(frontend).__name__} with {type(text).__name__}. Keep your own towers "
            "in your own code"
        )
    grams = {"grams": list(text.grams), "longest": text.longest}
    config = {
        "network": _CLAP,
        "frontend": frontend.config(),
        "sample_rate": classifier.sample_rate,
        "dim": audio.head.out_features,
        "text": {"buckets": text.buckets, "width": text.table.embedding_dim, **grams},
        "temperature": classifier.temperature,
        "templates": list(classifier.templates),
        "prompts": {label: list(several) for label, several in classifier.prompts.items()},
    }
    return config, nn.ModuleDict({"audio": audio, "text": text})


def load_classifier(folder: str | os.PathLike[str]) -> AudioClassifier:
    """Load what :func:`save_classifier` wrote, in evaluation mode.

    Raises:
        OutputError: nothing is saved there, or it cannot be read.
    """
    weights, config = read_saved(Path(folder), _FILES, "classifier")
    try:
        network = _build(config)
        network.load_state_dict(weights)
        frontend = None if config["frontend"] is None else _frontend(config["frontend"])
        rate = config["sample_rate"]
        if isinstance(network, nn.ModuleDict):
            return ZeroShotClassifier(
                network["audio"], network["text"], sample_rate=rate, prompts=config["prompts"], frontend=frontend,
                template=config["templates"], temperature=config["temperature"],
            ).eval()  # fmt: skip
        labels, multilabel = config["labels"], config["multilabel"]
        return AudioClassifier(
            network, sample_rate=rate, frontend=frontend, labels=labels, multilabel=multilabel
        ).eval()
    except (ValueError, KeyError, TypeError, RuntimeError, AudioXAIError) as error:
        raise OutputError(f"the classifier saved in {os.fspath(folder)!r} cannot be read: {error!r}") from error


def _build(config: dict[str, Any]) -> nn.Module:
    """The network, or both towers, with fresh weights; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        if config["network"] != _CLAP:
            return _NETWORKS[config["network"]](len(config["labels"]), **_rows(config["frontend"]))
        text = config["text"] | {"grams": tuple(config["text"]["grams"])}
        audio = CompactCNN(config["dim"], config["frontend"]["n_mels"])
        return nn.ModuleDict({"audio": audio, "text": NgramEncoder(config["dim"], **text)})


def _rows(frontend: dict[str, Any] | None) -> dict[str, int]:
    """What a network over spectra must know of its input's height."""
    if frontend is None:
        return {}
    return {"n_mels": frontend["n_mels"] if frontend["type"] == "LogMel" else frontend["stft"]["n_fft"] // 2 + 1}


def _frontend(config: dict[str, Any]) -> SpectralFrontend:
    options = dict(config)
    return _FRONTENDS[options.pop("type")](**{**options, "stft": STFT(**options["stft"])})
