"""CLAP models of transformers in miniature, with random weights, and a tokenizer that needs no vocabulary."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

PROMPTS = ["a dog", "rain on a roof", "the siren of a car"]


class Words:
    """Ids by hash; 0 begins, 2 ends, 1 pads."""

    model_max_length = 60

    def __call__(self, texts, padding=False, truncation=False, max_length=None, return_tensors=None, **options):
        first, end = options.get("first", (0,)), options.get("end", (2,))
        ids = [[*first, *(5 + sum(map(ord, word)) % 50 for word in text.split()), *end] for text in texts]
        if truncation:
            ids = [i if len(i) <= max_length else [*i[: max_length - len(end)], *end] for i in ids]
        if return_tensors is None:
            return {"input_ids": ids}
        longest = max(map(len, ids)) if padding else len(ids[0])
        return {
            "input_ids": torch.tensor([i + [self.pad] * (longest - len(i)) for i in ids]),
            "attention_mask": torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in ids]),
        }

    pad = 1


def model(*, fused: bool = False, micro: bool = False) -> ClapModel:
    """``tiny`` has the real one's time and frequency; ``micro`` is smaller still, with clips of 1.99 s."""
    torch.manual_seed(0)
    sizes = (
        {"num_mel_bins": 16, "spec_size": 64, "window_size": 4, "depths": [1, 1], "num_attention_heads": [2, 2]}
        if micro
        else {
            "num_mel_bins": 64,
            "spec_size": 256,
            "window_size": 8,
            "depths": [1] * 4,
            "num_attention_heads": [1, 2, 2, 2],
        }
    )
    audio = {
        **sizes,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16 if micro else 64,
        "num_hidden_layers": len(sizes["depths"]),
        "hidden_dropout_prob": 0.0,
        "enable_fusion": fused,
        "fusion_type": "aff_2d" if fused else None,
    }
    text = {
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 37,
        "max_position_embeddings": 64,
    }
    made = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=24)).eval()
    with torch.no_grad():  # as far from their start as trained ones
        for name, parameter in made.named_parameters():
            if parameter.ndim > 1 and "embeddings" not in name:
                parameter.normal_(0, parameter.shape[1:].numel() ** -0.5)
        norm = made.audio_model.audio_encoder.batch_norm
        norm.running_mean.fill_(-35.0)
        norm.running_var.uniform_(200, 400)
    return made


def processor(*, fused: bool = False, micro: bool = False) -> SimpleNamespace:
    options = {"feature_size": 16, "max_length_s": 2, "hop_length": 480} if micro else {}
    extractor = ClapFeatureExtractor(
        frequency_min=50, frequency_max=14000, truncation="fusion" if fused else "rand_trunc", **options
    )
    return SimpleNamespace(feature_extractor=extractor, tokenizer=Words())
