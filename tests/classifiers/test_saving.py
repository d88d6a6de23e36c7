"""Saved reference classifiers come back as they were, or say why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from audioxai import AudioClassifier, LogMel, LogSTFT
from audioxai.classifiers.saving import load_classifier, save_classifier
from audioxai.errors import ConfigError, OutputError
from audioxai.nn import CNN14, CompactCNN, WaveformCNN
from audioxai.sound.dsp import STFT

RATE, LABELS = 8000, ["cat", "dog", "<b>"]


def classifiers() -> dict[str, AudioClassifier]:
    torch.manual_seed(0)
    mel = LogMel(RATE, 40, f_min=50.0, mel_scale="slaney", norm="slaney")
    own = LogSTFT(RATE, stft=STFT(n_fft=128, win_length=128, hop_length=64))
    return {
        "mel": AudioClassifier(CompactCNN(3, n_mels=40), sample_rate=RATE, frontend=mel, labels=LABELS),
        "stft": AudioClassifier(CompactCNN(3, n_mels=65), sample_rate=RATE, frontend=own, labels=LABELS),
        "waveform": AudioClassifier(WaveformCNN(3), sample_rate=RATE, labels=LABELS, multilabel=True),
    }


@pytest.mark.parametrize("name", ["mel", "stft", "waveform"])
def test_round_trip(name: str, tmp_path: Path) -> None:
    before = classifiers()[name].eval()
    state = torch.get_rng_state()
    after = load_classifier(save_classifier(before, tmp_path / "new" / "folder"))
    assert torch.equal(torch.get_rng_state(), state)
    assert (after.labels, after.sample_rate, after.multilabel) == (before.labels, RATE, before.multilabel)
    assert not after.training
    assert after.fingerprint() == before.fingerprint()
    clips = torch.rand(2, RATE, generator=torch.Generator().manual_seed(1)) - 0.5
    with torch.no_grad():
        assert torch.equal(after(clips), before(clips))
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "classifier.json",
        "classifier.safetensors",
    ]


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    mel = LogMel(RATE)
    own = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    wide = CompactCNN(3, widths=(8, 16, 16))
    for classifier, fault in [
        (AudioClassifier(own, sample_rate=RATE, frontend=mel, labels=LABELS), "got Sequential behind LogMel"),
        (AudioClassifier(WaveformCNN(3), sample_rate=RATE, frontend=mel, labels=LABELS), "got WaveformCNN behind"),
        (AudioClassifier(wide, sample_rate=RATE, frontend=mel, labels=LABELS), "sizes of its own"),
        (AudioClassifier(CompactCNN(3), sample_rate=RATE, frontend=mel), "with its labels"),
        (AudioClassifier(CNN14(3, width=4), sample_rate=RATE, frontend=mel, labels=LABELS), "sizes of its own"),
    ]:
        with pytest.raises(ConfigError, match=fault):
            save_classifier(classifier, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_saved_files_that_are_damaged(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it has no classifier.json"):
        load_classifier(tmp_path)
    save_classifier(classifiers()["waveform"], tmp_path)
    weights, config = tmp_path / "classifier.safetensors", tmp_path / "classifier.json"
    good, text = weights.read_bytes(), config.read_text()
    missing = {k: v for k, v in json.loads(text).items() if k != "sample_rate"}
    fewer = {**json.loads(text), "labels": ["one"]}
    other = {**json.loads(text), "network": "ResNet"}
    doubled = {**json.loads(text), "labels": ["a", "a", "b"]}
    for wrong in ("", "{", "[]", *map(json.dumps, (missing, fewer, other, doubled))):
        config.write_text(wrong)
        with pytest.raises(OutputError, match="cannot be read"):
            load_classifier(tmp_path)
    config.write_text(text)
    weights.write_bytes(good[: len(good) // 2])
    with pytest.raises(OutputError, match="cannot be read"):
        load_classifier(tmp_path)
    weights.unlink()
    with pytest.raises(OutputError, match="it has no classifier.safetensors"):
        load_classifier(tmp_path)
    weights.write_bytes(good)
    load_classifier(tmp_path)
