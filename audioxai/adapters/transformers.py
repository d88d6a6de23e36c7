"""What the adapters of transformers share: loading by name, an extractor's own features, prompts as tokens."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from audioxai.errors import ConfigError
from audioxai.support.optional import optional_import

__all__ = ["extract", "load_from_hub", "tokenise"]


def load_from_hub(kind: str, name: str, revision: str | None) -> Any:
    """An object of a class of transformers, by its name on the hub or folder.

    Raises:
        MissingDependencyError: transformers is absent or broken.
        ConfigError: it cannot be loaded.
    """
    found = optional_import("transformers", kind, extra="hf")
    try:
        return found.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{kind} cannot be loaded from {name!r}: {error}") from error


def extract(extractor: Any, clip: Tensor) -> Tensor:
    """What an extractor makes of a clip (1, T)."""
    found = extractor(clip[0].cpu().numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    features: Tensor = found.get("input_values", found.get("input_features"))
    return features


def tokenise(tokenizer: Any, texts: Sequence[str], longest: int, device: torch.device) -> dict[str, Tensor]:
    """Token ids and attention mask, each (K, L), padded to the longest of the texts.

    A text of more than ``longest`` tokens is cut there, with a warning.
    """
    texts = list(texts)
    for text, ids in zip(texts, tokenizer(texts, verbose=False)["input_ids"], strict=True):
        if len(ids) > longest:
            warnings.warn(
                f"the prompt {text[:40]!r}... has {len(ids)} tokens; the text tower takes {longest}; the rest is cut",
                stacklevel=2,
            )
    found = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    return {key: found[key].to(device) for key in ("input_ids", "attention_mask") if key in found}
