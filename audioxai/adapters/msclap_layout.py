"""How msclap names its weights: by what the sizes are read, and as what the tensors are loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from audioxai.errors import OutputError
from audioxai.nn.checkpoints import panns_names, some

__all__ = ["Part", "audio_config", "htsat_state", "panns_state", "text_config"]

_HEAD = 64  # size of an attention head in BERT and GPT-2, which no tensor tells
_BUFFERS = ("position_ids", "attn.bias", "masked_bias", "relative_position_index", "num_batches_tracked")


@dataclass(frozen=True)
class Part:
    """Some of a file's tensors, by the rest of their names."""

    tensors: Mapping[str, Tensor]
    prefix: str = ""

    def part(self, prefix: str) -> Part:
        """Those whose names begin so."""
        inside = {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}
        return Part(inside, self.prefix + prefix)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor that the sizes are read from.

        Raises:
            OutputError: there is no such tensor.
        """
        if name not in self.tensors or self.tensors[name].ndim == 0:
            raise OutputError(
                f"the weights hold no usable {self.prefix + name!r}, so they are none of msclap's; pass the file "
                "CLAP_weights_2022.pth or CLAP_weights_2023.pth"
            )
        return tuple(self.tensors[name].shape)

    def size(self, name: str) -> int:
        """First axis of a tensor."""
        return self.shape(name)[0]

    def count(self, pattern: str) -> int:
        """How many numbers follow a name, as in ``layers.3.``."""
        return len({match[1] for name in self.tensors if (match := re.match(rf"{pattern}\.(\d+)\.", name))})

    def fill(self, module: nn.Module, but: str = "\0") -> None:
        """Load the tensors into a module of the same names, except those that begin with ``but``.

        Raises:
            OutputError: one is missing or has another shape.
        """
        ours = {name: t for name, t in module.state_dict().items() if not name.startswith(but)}
        missing = [name for name in ours if name not in self.tensors and not name.endswith(_BUFFERS)]
        wrong = [
            f"{name} {tuple(self.tensors[name].shape)}, not {tuple(tensor.shape)}"
            for name, tensor in ours.items()
            if name in self.tensors and self.tensors[name].shape != tensor.shape
        ]
        if missing or wrong:
            named = [*(f"{name} missing" for name in missing), *wrong]
            raise OutputError(f"the weights do not fit below {self.prefix!r}: {some(named, '; ')}")
        module.load_state_dict({name: self.tensors[name] for name in ours if name in self.tensors}, strict=False)


def panns_state(base: Part) -> Part:
    """The trunk of a PANNs CNN14, under the names of ours."""
    names = panns_names()
    return Part({names[name]: t for name, t in base.tensors.items() if name in names}, base.prefix)


def audio_config(base: Part) -> dict[str, Any]:
    """Options of transformers' ``ClapAudioConfig`` for an HTSAT's tensors."""
    width, _, patch, _ = base.shape("patch_embed.proj.weight")
    stages = base.count("layers")
    tables = [base.shape(f"layers.{i}.blocks.0.attn.relative_position_bias_table") for i in range(stages)]
    mels = base.size("bn0.weight")
    return {
        "num_mel_bins": mels,
        "spec_size": 4 * mels,  # four segments of time, one below the other
        "window_size": (round(tables[0][0] ** 0.5) + 1) // 2,
        "patch_size": patch,
        "patch_stride": [patch, patch],
        "patch_embeds_hidden_size": width,
        "hidden_size": width * 2 ** (stages - 1),
        "depths": [base.count(rf"layers\.{i}\.blocks") for i in range(stages)],
        "num_attention_heads": [table[1] for table in tables],
        "num_hidden_layers": stages,
        "mlp_ratio": base.size("layers.0.blocks.0.mlp.fc1.weight") / width,
    }


_HTSAT = (
    (r"^bn0\.", "batch_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.relative", ".attention.self.relative"),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)


def htsat_state(base: Part) -> Part:
    """An HTSAT's tensors, under the names of transformers' ``ClapAudioModel``."""
    state: dict[str, Tensor] = {}
    for name, tensor in base.tensors.items():
        if name.endswith("relative_position_index"):  # a constant, which the model makes itself
            continue
        if ".attn.qkv." in name:  # query, key and value are one tensor there
            for which, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                state[name.replace(".attn.qkv.", f".attention.self.{which}.")] = third
        else:
            for pattern, ours in _HTSAT:
                name = re.sub(pattern, ours, name)
            state[name] = tensor
    return Part({f"audio_encoder.{name}": tensor for name, tensor in state.items()}, base.prefix)


def text_config(base: Part, version: str) -> dict[str, Any]:
    """Options of ``BertConfig`` (2022) or ``GPT2Config`` (2023) for a text tower's tensors."""
    if version == "2022":
        vocabulary, width = base.shape("embeddings.word_embeddings.weight")
        return {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "num_hidden_layers": base.count(r"encoder\.layer"),
            "num_attention_heads": max(1, width // _HEAD),
            "intermediate_size": base.size("encoder.layer.0.intermediate.dense.weight"),
            "max_position_embeddings": base.size("embeddings.position_embeddings.weight"),
            "type_vocab_size": base.size("embeddings.token_type_embeddings.weight"),
        }
    vocabulary, width = base.shape("wte.weight")
    return {
        "vocab_size": vocabulary,
        "n_embd": width,
        "n_layer": base.count("h"),
        "n_head": max(1, width // _HEAD),
        "n_inner": base.shape("h.0.mlp.c_fc.weight")[1],
        "n_positions": base.size("wpe.weight"),
        "bos_token_id": None,
        "eos_token_id": None,
    }
