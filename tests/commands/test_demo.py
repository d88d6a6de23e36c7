"""The demo at a small size: its table, its page, and a model that can be used again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from audioxai import LMAC, load
from audioxai.classifiers.saving import load_classifier
from audioxai.commands.demo import DemoSizes, mixtures, run
from audioxai.data import EVENTS

SIZES = DemoSizes(scenes=48, classifier_epochs=1, lmac_epochs=1, held_out=4, shown=2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    folder = tmp_path_factory.mktemp("demo")
    said: list[str] = []
    return folder, run(folder, SIZES, say=said.append), "\n".join(said)


def test_the_table(demo: tuple[Path, Path, str]) -> None:
    _, page, text = demo
    rows = {
        name: [float(x) for x in re.findall(r"-?\d+\.\d+", line.removeprefix(name))]
        for line in text.splitlines()
        for name in ("all-ones", "random 16 %", "loudest 16 %", "L-MAC")
        if line.startswith(name)
    }
    assert list(rows) == ["all-ones", "random 16 %", "loudest 16 %", "L-MAC"]
    assert all(len(values) == 7 for values in rows.values())
    increase, drop, gain, _, fidelity, mean, ratio = rows["all-ones"]
    assert (increase, drop, gain, fidelity, mean, ratio) == (0, 0, 0, 1, 1, 0)  # keeping all changes nothing
    assert rows["random 16 %"][5] == pytest.approx(0.16, abs=0.005)
    assert rows["loudest 16 %"][5] == pytest.approx(0.16, abs=0.005)
    assert 0 < rows["L-MAC"][5] < 1
    assert f"Listen: {page}" in text
    assert all(event in text for event in EVENTS)


def test_the_page(demo: tuple[Path, Path, str]) -> None:
    folder, page, _ = demo
    assert page == folder / "index.html"
    text = page.read_text()
    assert text.count("<audio") == 3 * 2 * SIZES.shown  # three players, each mixture explained for both its sounds
    classes = mixtures(SIZES.held_out, seed=3).classes[: SIZES.shown].flatten().tolist()
    for k in classes:
        assert f"{EVENTS[k]} asked for" in text
    assert "http://" not in text
    assert "https://" not in text


def test_mixtures_are_sums_of_their_stems_and_noise() -> None:
    mixed = mixtures(3, seed=5)
    assert mixed.stems.shape == (3, 2, mixed.waveform.shape[1])
    assert (mixed.classes[:, 0] != mixed.classes[:, 1]).all()
    background = mixed.waveform - mixed.stems.sum(1)
    assert (background.square().mean(1) < 0.5 * mixed.waveform.square().mean(1)).all()
    assert torch.equal(mixtures(3, seed=5).waveform, mixed.waveform)
    assert not torch.equal(mixtures(3, seed=6).waveform, mixed.waveform)


def test_what_was_shown_comes_from_the_saved_model(demo: tuple[Path, Path, str], tmp_path: Path) -> None:
    """The model in the folder is the fitted one, not a fresh one: its explanation, saved, is that of the page."""
    import base64
    import io

    import soundfile

    folder, page, _ = demo
    sounds = re.findall(r"data:audio/wav;base64,([A-Za-z0-9+/=]+)", page.read_text())
    shown = torch.from_numpy(soundfile.read(io.BytesIO(base64.b64decode(sounds[1])), dtype="float32")[0])
    explainer = LMAC.from_pretrained(folder / "model", classifier=load_classifier(folder / "model"))
    assert (explainer.classifier.labels, explainer.space.scale) == (EVENTS, "magnitude")
    mixed = mixtures(SIZES.held_out, seed=3)
    explained = explainer.explain(mixed.waveform[:1], int(mixed.classes[0, 0]))
    explained.save(tmp_path)
    kept = load(tmp_path / "clip_0" / "explanation.wav")[0]
    gain = min(1.0, 1 / max(float(x.abs().max()) for x in (explained.input, explained.waveform, explained.removed)))
    assert (shown - gain * kept).abs().max() < 2e-3
