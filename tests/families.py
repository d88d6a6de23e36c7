"""A tiny classifier of every family that the adapters know, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import stand_ins
import tiny_models
import torch

import audioxai as ax
from audioxai.adapters.clap import from_clap
from audioxai.adapters.msclap import from_msclap

RATE = stand_ins.RATE
PICTURES = {"sample_rate": RATE, "labels": stand_ins.LABELS}


def huggingface(family: str, kind: str = "ForSequenceClassification") -> ax.AudioClassifier:
    return ax.from_huggingface(*tiny_models.make(family, kind))


def picture(network: Callable[[], torch.nn.Module], size: tuple[int, int] | None = None) -> ax.AudioClassifier:
    return ax.from_image_network(network(), ax.LogMel(RATE, 32, layout="B1MN"), size=size, **PICTURES)


def clap(fused: bool) -> ax.ZeroShotClassifier:
    tiny_models.transformers()
    import clap_models

    made, processor = (make(fused=fused, micro=True) for make in (clap_models.model, clap_models.processor))
    return from_clap(made, processor, prompts=clap_models.PROMPTS)


def msclap(year: str) -> ax.ZeroShotClassifier:
    tiny_models.transformers()
    import clap_models
    import msclap_files

    state = getattr(msclap_files, f"file_{year}")()
    words = clap_models.Words()
    words.pad = 0
    return from_msclap(state, prompts=clap_models.PROMPTS, tokenizer=words)


FAMILIES: dict[str, Callable[[], ax.AudioClassifier]] = {
    **{family: partial(huggingface, family) for family in tiny_models.FAMILIES},
    "Wav2Vec2 per frame": partial(huggingface, "Wav2Vec2", "ForAudioFrameClassification"),
    "SpeechBrain": lambda: ax.from_speechbrain(stand_ins.encoder_classifier()),
    "torchaudio tokens": lambda: ax.from_torchaudio(stand_ins.bundle()),
    "torchaudio transcripts": lambda: ax.from_torchaudio(stand_ins.bundle(), ["ab", "ba"]),
    "image CNN": partial(picture, stand_ins.image_network),
    "image transformer": partial(picture, stand_ins.vision_transformer, (32, 48)),
    "CLAP": partial(clap, False),
    "CLAP fused": partial(clap, True),
    "CLAP 2022": partial(msclap, "2022"),
    "CLAP 2023": partial(msclap, "2023"),
}
#: Half a second for each rate in use.
CLIPS = {
    rate: 0.1 * torch.randn(3, rate // 2, generator=torch.Generator().manual_seed(0))
    for rate in (8000, 16000, 44100, 48000)
}
