"""What ``save_pretrained`` has written: read, and checked against the classifier that it is loaded for.

Format 2 holds the explainer's :meth:`~audioxai.explainers.base.Explainer.identity`. Format 1 held its entries in other
places, and a fingerprint by another rule, which is kept here to check those files alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import ConfigError, OutputError
from audioxai.masking.spaces import Space
from audioxai.sound.frontends import SpectralFrontend

__all__ = ["CONFIG", "FORMAT", "WEIGHTS", "SavedExplainer"]

FORMAT = 2
WEIGHTS, CONFIG = "decoder.safetensors", "explainer.json"

_FUNCTION = re.compile(r"\b(pool|function)='?[0-9a-f]{16}\b")


@dataclass(frozen=True)
class SavedExplainer:
    """An explainer's files.

    Args:
        folder: where they are.
        config: the settings.
        weights: of the decoder.
        fingerprint: of the classifier that it was fitted on, by the rule of the format.
        layers: of that classifier.
        space: what the space's ``identity`` was; less of it in format 1.
        options: of the constructor, without those of the space.
    """

    folder: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]
    fingerprint: str
    layers: list[str]
    space: dict[str, Any]
    options: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, kind: str) -> SavedExplainer:
        """The files of an explainer of a class.

        Raises:
            OutputError: nothing is saved there, or it cannot be read.
            ConfigError: an explainer of another class, or a format that is not known.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            config = json.loads((folder / CONFIG).read_text())
            weights = load((folder / WEIGHTS).read_bytes())
            if not isinstance(config, dict):
                raise ValueError(f"{CONFIG} holds a {type(config).__name__}")
        except (OSError, ValueError, SafetensorError) as error:
            raise OutputError(f"no saved explainer can be read in {str(folder)!r}: {error}") from error
        if config.get("format") not in (1, FORMAT) or config.get("explainer") != kind:
            raise ConfigError(
                f"{str(folder)!r} holds {config.get('explainer')!r} in format {config.get('format')!r}; "
                f"load it with that class and version, not {kind} in format {FORMAT}"
            )
        try:
            if config["format"] == 1:
                space = {"name": config["space"]} | {name: config[name] for name in ("scale", "stft") if name in config}
                options = {**config["options"], "seed": config["seed"], "heard": config.get("heard", False)}
                return cls(folder, config, weights, config["classifier"], config["layers"], space, options)
            known, space = config["classifier"], config["space"]
            return cls(folder, config, weights, known["fingerprint"], known["layers"], space, config["options"])
        except (KeyError, TypeError) as error:
            raise OutputError(f"no saved explainer can be read in {str(folder)!r}: no entry {error}") from error

    def check_classifier(self, classifier: AudioClassifier) -> None:
        """Refuse another classifier than the one that it was fitted on.

        Raises:
            ConfigError: its fingerprint or its layers differ.

        Warns:
            if the fingerprint of format 1 cannot be made again.
        """
        found = _fingerprint_1(classifier) if self.config["format"] == 1 else classifier.fingerprint()
        if found is None:
            warnings.warn(
                f"whether the explainer in {str(self.folder)!r} was fitted on this classifier cannot be checked: the "
                "network holds a function, and the file is of an earlier version; save it anew if it was",
                stacklevel=3,
            )
        elif found != self.fingerprint:
            raise ConfigError(
                f"the explainer in {str(self.folder)!r} was fitted on another classifier (fingerprint "
                f"{self.fingerprint[:12]}, this one {found[:12]}): weights, settings or front end differ; fit a new one"
            )
        if self.layers != list(classifier.layers):
            raise ConfigError(
                f"the explainer in {str(self.folder)!r} reads the layers {self.layers}, this classifier gives "
                f"{list(classifier.layers)}; pass layers={self.layers} to AudioClassifier"
            )

    def check_space(self, space: Space) -> None:
        """Refuse another space than the one that it was fitted in.

        Raises:
            ConfigError: scale, transform or another setting differs.
        """
        mine = space.identity()
        for name, value in self.space.items():
            if mine.get(name) != value:
                raise ConfigError(
                    f"the explainer in {str(self.folder)!r} was fitted in a space with {name}={value!r}, here it is "
                    f"{mine.get(name)!r}; pass the space it was fitted in as space="
                )


def _fingerprint_1(classifier: AudioClassifier) -> str | None:
    """A classifier's fingerprint by the rule of format 1, which was blind to most settings of other libraries' modules.

    ``None`` where the network holds a function: it was told by its bytecode, which changes with the Python version.
    """
    network, frontend = classifier.network, classifier.frontend
    config = frontend.config() if isinstance(frontend, SpectralFrontend) else repr(frontend)
    head = {"frontend": config, "sample_rate": classifier.sample_rate, "multilabel": classifier.multilabel}
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())

    def add_weights(part: Any) -> None:
        for name, value in sorted(part.state_dict().items()) if isinstance(part, nn.Module) else ():
            digest.update(name.encode())
            if isinstance(value, Tensor):
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())

    for name, module in network.named_modules():
        own = module is network or type(module).__module__.startswith("audioxai.")
        if own and (told := module.extra_repr()):
            if _FUNCTION.search(told):
                return None
            digest.update(f"{name}: {told}".encode())
    add_weights(network)
    add_weights(frontend)
    if isinstance(classifier, ZeroShotClassifier):
        digest = hashlib.sha256(digest.hexdigest().encode())
        digest.update(repr(classifier.temperature).encode())
        add_weights(classifier.text_encoder)
    return digest.hexdigest()
