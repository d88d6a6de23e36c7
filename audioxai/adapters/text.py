"""Text towers of transformers: strings to tokens, and never a prompt cut in silence."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["tokenise"]


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
