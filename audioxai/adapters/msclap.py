"""Microsoft's CLAP of 2022 (CNN14, BERT) and 2023 (HTSAT, GPT-2), from the weights that msclap loads.

Source: Elizalde et al. 2023, "CLAP: Learning Audio Concepts from Natural Language Supervision", and Elizalde, Deshmukh,
Wang 2024, "Natural Language Supervision for General-Purpose Audio Representations".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.adapters.htsat import HTSAT
from audioxai.adapters.msclap_layout import Part, audio_config, htsat_state, panns_state, text_config
from audioxai.adapters.transformers import tokenise
from audioxai.adapters.windows import WindowedLogMel, WindowedTower, Windows
from audioxai.classifiers.zero_shot import START_TEMPERATURE, ZeroShotClassifier
from audioxai.errors import ConfigError
from audioxai.nn.checkpoints import read_tensors
from audioxai.nn.classifiers import CNN14
from audioxai.sound.dsp import STFT, melscale_fbanks
from audioxai.support.files import PathLike
from audioxai.support.optional import optional_import

__all__ = ["Cnn14Tower", "Projection", "TextTower", "from_msclap"]

_RATE = 44100
_SECONDS = {"2022": 5, "2023": 7}
_LONGEST = {"2022": 100, "2023": 77}  # tokens
_TOKENIZER = {"2022": "bert-base-uncased", "2023": "gpt2"}
_END = " <|endoftext|>"  # closes each prompt of 2023; its state is read


class Projection(nn.Module):
    """(B, E) to the common space (B, D): a linear layer, and its GELU through another added to it, normalised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(inputs, outputs, bias=False)
        self.linear2 = nn.Linear(outputs, outputs, bias=False)
        self.layer_norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear1(x)
        return torch.as_tensor(self.layer_norm(y + self.linear2(F.gelu(y))))


class Cnn14Tower(WindowedTower):
    """Log-mels of windows to embeddings by CNN14, with the maps of its blocks 2, 3, 4 and 6.

    Args:
        model: whose head ends in the common space.
        windows: see :class:`WindowedTower`.
    """

    def __init__(self, model: CNN14, windows: Windows) -> None:
        super().__init__([model.blocks[i] for i in (1, 2, 3, 5)], windows)
        self.model = model

    def embed(self, bands: Tensor) -> Tensor:
        return torch.as_tensor(self.model(bands))

    def to_map(self, output: Tensor) -> Tensor:
        return output.transpose(2, 3)

    def from_map(self, maps: Tensor, output: Tensor) -> Tensor:
        return maps.transpose(2, 3)


class TextTower(nn.Module):
    """Strings to embeddings (K, D): the state of the first token (2022) or of the last (2023), projected.

    msclap finds the last token as the number of ids other than 0, so for a prompt with an exclamation mark, whose id is
    0, it reads an earlier one.

    Args:
        model: BERT or GPT-2.
        projection: to the common space.
        tokenizer: of the model.
        version: ``"2022"`` or ``"2023"``.
    """

    def __init__(self, model: nn.Module, projection: Projection, tokenizer: Any, version: str) -> None:
        super().__init__()
        self.model, self.projection, self.tokenizer, self.version = model, projection, tokenizer, version

    def forward(self, texts: Sequence[str]) -> Tensor:
        end = _END if self.version == "2023" else ""
        device = self.projection.linear1.weight.device
        tokens = tokenise(self.tokenizer, [text + end for text in texts], _LONGEST[self.version], device)
        states: Tensor = self.model(**tokens).last_hidden_state
        last = (
            tokens["attention_mask"].sum(1) - 1
            if self.version == "2023"
            else torch.zeros_like(tokens["input_ids"][:, 0])
        )
        return torch.as_tensor(self.projection(states[torch.arange(len(states), device=device), last]))


def from_msclap(
    weights: PathLike | Mapping[str, Tensor],
    *,
    prompts: Sequence[str] | Mapping[str, str | Sequence[str]],
    tokenizer: Callable[..., Any] | None = None,
    template: str | Sequence[str] = "this is the sound of {}",
    temperature: float | None = None,
    version: Literal["2022", "2023"] | None = None,
) -> ZeroShotClassifier:
    """Build a Microsoft CLAP from its weights; the sizes are the file's. Nothing is unpickled.

    The front end is the model's own (44.1 kHz, window 1024, hop 320, the filters that the file holds). Clips shorter
    than 5 s (2022) or 7 s (2023) are repeated and cut, as in msclap; longer ones, of which msclap takes a random part,
    are heard in several windows, whose embeddings are averaged.

    Args:
        weights: ``CLAP_weights_2022.pth``, ``CLAP_weights_2023.pth``, a safetensors file of the same names, or the
            tensors by name.
        prompts: see :class:`audioxai.ZeroShotClassifier`.
        tokenizer: of bert-base-uncased (2022) or gpt2 (2023); default loaded by transformers.
        template: see :class:`audioxai.ZeroShotClassifier`.
        temperature: default the model's own, ``exp(logit_scale)``.
        version: default found by the names in the file.

    Returns:
        The classifier, in evaluation mode.

    Raises:
        MissingDependencyError: transformers is absent or broken.
        OutputError: a file that is missing, damaged or needs unpickling; tensors that are missing or of another shape.
        ConfigError: towers of different sizes, an unknown version, a tokenizer that cannot be loaded.
    """
    whole = Part({str(k): v for k, v in weights.items()} if isinstance(weights, Mapping) else read_tensors(weights))
    found = "2023" if any(".htsat." in name for name in whole.tensors) else "2022"
    if version not in (None, found):
        raise ConfigError(f"version={version!r}, but the weights are those of {found}; leave version out")
    tokenizer = _tokenizer(found) if tokenizer is None else tokenizer
    audio, text = whole.part("audio_encoder."), whole.part("caption_encoder.")
    spaces = [part.size("projection.linear2.weight") for part in (audio, text)]
    if spaces[0] != spaces[1]:
        raise ConfigError(
            f"the audio tower ends in {spaces[0]} numbers, the text tower in {spaces[1]}; they belong to two models"
        )
    base = audio.part("base." if found == "2022" else "base.htsat.")
    frontend = _frontend(base.tensors.get("logmel_extractor.melW"), found, base.size("bn0.weight"))
    tower = (_cnn14 if found == "2022" else _htsat)(base, audio.part("projection."), frontend.windows)
    scale = whole.tensors.get("logit_scale")
    own = START_TEMPERATURE if scale is None else float(scale.exp())
    return ZeroShotClassifier(
        tower,
        _text_tower(text, tokenizer, found),
        sample_rate=_RATE,
        prompts=prompts,
        frontend=frontend,
        template=template,
        temperature=own if temperature is None else temperature,
        layers=tower.layers,
    ).eval()


def _tokenizer(version: str) -> Any:
    auto = optional_import("transformers", "AutoTokenizer", extra="hf")
    try:
        tokenizer = auto.from_pretrained(_TOKENIZER[version])
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the tokenizer {_TOKENIZER[version]!r} cannot be loaded; pass tokenizer=...: {error}"
        ) from error
    if version == "2023":
        tokenizer.add_special_tokens({"pad_token": "!"})
    return tokenizer


def _frontend(bank: Tensor | None, version: str, n_mels: int) -> WindowedLogMel:
    mel: dict[str, Any] = {"n_mels": n_mels, "f_min": 50.0, "f_max": 14000.0, "mel_scale": "slaney", "norm": "slaney"}
    if bank is None and version == "2023":  # its filters are made for 32 kHz, and see 44.1 kHz
        bank = melscale_fbanks(513, 50.0, 14000.0, n_mels, 32000, "slaney", "slaney")
    windows = Windows(_SECONDS[version] * _RATE, "repeat")
    return WindowedLogMel(
        _RATE, windows=windows, stft=STFT(1024, 1024, 320, "hann", pad_mode="reflect"), bank=bank, **mel
    )


def _projection(part: Part) -> Projection:
    shape = part.shape("linear1.weight")
    projection = Projection(shape[1], shape[0])
    part.fill(projection)
    return projection


def _cnn14(base: Part, projection: Part, windows: Windows) -> Cnn14Tower:
    hidden, wide = base.shape("fc1.weight")
    with torch.random.fork_rng(devices=[]):
        model = CNN14(1, base.size("bn0.weight"), base.size("conv_block1.conv1.weight"))
        first = nn.Linear(wide, hidden)
        model.head = nn.Sequential(first, nn.ReLU(), _projection(projection))  # type: ignore[assignment]
    base.part("fc1.").fill(first)
    panns_state(base).fill(model, but="head.")
    return Cnn14Tower(model, windows)


def _htsat(base: Part, projection: Part, windows: Windows) -> HTSAT:
    config = optional_import("transformers", "ClapAudioConfig", extra="hf")
    model_class = optional_import("transformers", "ClapAudioModel", extra="hf")
    with torch.random.fork_rng(devices=[]):
        model = model_class(config(**audio_config(base)))
        projected = _projection(projection)
    htsat_state(base).fill(model)
    return HTSAT(model, projected, windows)


def _text_tower(text: Part, tokenizer: Any, version: str) -> TextTower:
    name = "Bert" if version == "2022" else "GPT2"
    base = text.part("base.")
    config = optional_import("transformers", f"{name}Config", extra="hf")
    model_class = optional_import("transformers", f"{name}Model", extra="hf")
    with torch.random.fork_rng(devices=[]):
        model = model_class(config(**text_config(base, version)))
        projection = _projection(text.part("projection."))
    base.fill(model)
    return TextTower(model, projection, tokenizer, version)
