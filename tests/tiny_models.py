"""Tiny, randomly initialised models of transformers, of every family that can be wrapped, with their extractors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

RATE = 16000
LABELS = {0: "dog", 1: "rain", 2: "siren", 3: "bell"}
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
HEAD = {"id2label": LABELS, "label2id": {label: k for k, label in LABELS.items()}}
CONVOLUTIONS = {
    "conv_dim": (8, 8, 8),
    "conv_stride": (10, 8, 4),
    "conv_kernel": (20, 8, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 12,
    "initializer_range": 0.2,
}
OWN: dict[str, dict[str, Any]] = {
    "SEW": {"squeeze_factor": 2},
    "SEWD": {"squeeze_factor": 2, "position_buckets": 8, "max_position_embeddings": 32},
    "Data2VecAudio": {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2},
}
RAW = ("Wav2Vec2", "Wav2Vec2Conformer", "Hubert", "WavLM", "UniSpeech", "UniSpeechSat", "Data2VecAudio", "SEW", "SEWD")
FAMILIES = ("AST", "Whisper", *RAW)


def transformers() -> Any:
    return pytest.importorskip("transformers", exc_type=ImportError)


def make(
    family: str, kind: str = "ForSequenceClassification", normalise: bool = True, **config: Any
) -> tuple[Any, Any]:
    """A model and its extractor, the same at each call. AST hears 2.05 s and Whisper 2 s at most."""
    t = transformers()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if family == "AST":
            options = {"max_length": 204, "num_mel_bins": 64, "initializer_range": 0.2}
            made = t.ASTConfig(**{**SIZES, **HEAD, **options, **config})
            extractor = t.ASTFeatureExtractor(max_length=204, num_mel_bins=64)
            return t.ASTForAudioClassification(made).eval(), extractor
        if family == "Whisper":
            sizes = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
            other = {"decoder_layers": 1, "max_source_positions": 100, "classifier_proj_size": 12, "init_std": 0.2}
            made = t.WhisperConfig(**{**sizes, **other, **HEAD, **config})
            return t.WhisperForAudioClassification(made).eval(), t.WhisperFeatureExtractor(chunk_length=2)
        made = getattr(t, f"{family}Config")(**{**SIZES, **HEAD, **CONVOLUTIONS, **OWN.get(family, {}), **config})
        extractor = t.Wav2Vec2FeatureExtractor(do_normalize=normalise)
        return getattr(t, f"{family}{kind}")(made).eval(), extractor
