"""Save and load zero-shot classifiers of a compact CLAP: safetensors and JSON, never pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import ConfigError
from audioxai.nn.clap import NgramEncoder
from audioxai.nn.classifiers import CompactCNN
from audioxai.sound.frontends import LogMel
from audioxai.support.files import write_bytes

__all__ = ["NETWORK", "build_zero_shot", "pack", "save_zero_shot"]

#: ``"network"`` in the saved configuration.
NETWORK = "CompactCLAP"


def pack(state: dict[str, torch.Tensor], half: bool) -> bytes:
    """Weights as safetensors; ``half`` makes floating-point ones float16."""
    from safetensors.torch import save

    kept = {k: v.half() if half and v.is_floating_point() else v for k, v in state.items()}
    return bytes(save({k: v.detach().cpu().contiguous() for k, v in kept.items()}))


def save_zero_shot(classifier: ZeroShotClassifier, folder: Path, weights: str, config: str, half: bool) -> None:
    """Write both towers, front end, prompts and temperature; see :func:`save_classifier`."""
    audio, text, frontend = classifier.network.encoder, classifier.text_encoder, classifier.frontend
    if not (isinstance(audio, CompactCNN) and isinstance(text, NgramEncoder) and isinstance(frontend, LogMel)):
        raise ConfigError(
            "of zero-shot classifiers only CompactCNN behind LogMel with an NgramEncoder can be saved; got "
            f"{type(audio).__name__} behind {type(frontend).__name__} with {type(text).__name__}. Keep your own towers "
            "in your own code"
        )
    settings = {
        "network": NETWORK,
        "frontend": frontend.config(),
        "sample_rate": classifier.sample_rate,
        "dim": audio.head.out_features,
        "text": {
            "buckets": text.buckets,
            "width": text.table.embedding_dim,
            "grams": list(text.grams),
            "longest": text.longest,
        },
        "temperature": classifier.temperature,
        "templates": list(classifier.templates),
        "prompts": {label: list(several) for label, several in classifier.prompts.items()},
    }
    state = {f"audio.{k}": v for k, v in audio.state_dict().items()}
    state |= {f"text.{k}": v for k, v in text.state_dict().items()}
    towers = _towers(settings)
    try:  # towers of other widths would not load again: say so now
        towers.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"this audio tower was built with sizes of its own, which are not saved: {error}") from error
    write_bytes(folder / weights, pack(state, half))
    write_bytes(folder / config, json.dumps(settings, indent=2).encode())


def build_zero_shot(config: dict[str, Any], state: dict[str, torch.Tensor], frontend: nn.Module) -> ZeroShotClassifier:
    """The classifier of a saved configuration and weights."""
    towers = _towers(config)
    towers.load_state_dict(state)
    return ZeroShotClassifier(
        towers["audio"],
        towers["text"],
        sample_rate=config["sample_rate"],
        prompts=config["prompts"],
        frontend=frontend,
        template=config["templates"],
        temperature=config["temperature"],
    )


def _towers(config: dict[str, Any]) -> nn.ModuleDict:
    """Fresh towers; the caller's random state is left as it was."""
    text = dict(config["text"])
    with torch.random.fork_rng(devices=[]):
        return nn.ModuleDict(
            {
                "audio": CompactCNN(config["dim"], config["frontend"]["n_mels"]),
                "text": NgramEncoder(config["dim"], **{**text, "grams": tuple(text["grams"])}),
            }
        )
