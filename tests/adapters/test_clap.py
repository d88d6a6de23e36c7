"""ClapModel as a zero-shot classifier: the extractor's features, the model's logits, maps in the order of time."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
import clap_models
from clap_models import PROMPTS, Words

import audioxai as ax
from audioxai.adapters import clap as adapter
from audioxai.adapters.clap import from_clap
from audioxai.adapters.htsat import HTSAT
from audioxai.adapters.windows import Windows
from audioxai.errors import ClassifierError, ConfigError, MissingDependencyError

RATE, WINDOW = 48000, 480_000


def clip(seconds: float, seed: int = 0) -> torch.Tensor:
    """(T,) noise that fades, with a silent part and faint one."""
    samples = round(seconds * RATE)
    x = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    x[samples // 3 : samples // 2] *= 1e-4
    x[samples // 2 : 2 * samples // 3] = 0
    return x * torch.linspace(1, 0.2, samples)


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def fused(request):
    return request.param


@pytest.fixture(scope="module")
def wrapped(fused):
    return from_clap(clap_models.model(fused=fused), clap_models.processor(fused=fused), prompts=PROMPTS)


@pytest.fixture(scope="module")
def micro():
    model = clap_models.model(micro=True)
    return from_clap(model, clap_models.processor(micro=True), prompts=PROMPTS, template="{}")


def own_features(processor, x: torch.Tensor) -> torch.Tensor:
    found = processor.feature_extractor(x.numpy(), sampling_rate=RATE, return_tensors="pt")["input_features"]
    return found[0].float()


# --- the front end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.02, 3.3, 5.0, 9.99, 10.0])
def test_features_are_the_extractors(wrapped, fused, seconds):
    x = clip(seconds)
    processor = clap_models.processor(fused=fused)
    expected = own_features(processor, x)
    ours = wrapped.features(x[None])
    assert ours.shape == (1, 1, 1002, 64)
    assert (ours[0, 0, :-1] - expected).abs().max() < 1e-4
    assert ours[0, 0, -1].unique().tolist() == [len(x)]


@pytest.mark.parametrize("padding", ["repeat", "pad"])
def test_other_ways_to_pad(padding):
    processor = clap_models.processor()
    processor.feature_extractor.padding = padding
    frontend = adapter.ClapFrontend(processor.feature_extractor, fused=False)
    x = clip(3.3)
    assert (frontend(x[None])[0, :, :-1] - own_features(processor, x)).abs().max() < 1e-4


def test_features_of_a_real_clip(wrapped, fused, data_root):
    x, _ = ax.load(data_root / "esc10" / "audio" / "5-203128-A-0.ogg", RATE)
    expected = own_features(clap_models.processor(fused=fused), x)
    assert (wrapped.features(x[None])[0, 0, :-1] - expected).abs().max() < 1e-4


def test_long_clips_are_never_cut_at_random(monkeypatch, wrapped, fused):
    monkeypatch.setattr(np.random, "randint", None)
    x = clip(14.0)
    features = wrapped.features(x[None])
    assert torch.equal(features, wrapped.features(x[None]))
    processor = clap_models.processor(fused=fused)
    if not fused:
        assert features.shape == (1, 2, 1002, 64)
        for found, start in zip(features[0], (0, len(x) - WINDOW), strict=True):
            assert (found[:-1] - own_features(processor, x[start : start + WINDOW])[0]).abs().max() < 1e-4
        return
    monkeypatch.setattr(np.random, "choice", lambda several: several[len(several) // 2])
    assert (features[0, :, :-1] - own_features(processor, x)).abs().max() < 1e-4


def test_a_fused_clip_longer_by_less_than_a_frame(monkeypatch):
    processor = clap_models.processor(fused=True)
    x = clip(10.005)
    ours = adapter.ClapFrontend(processor.feature_extractor, fused=True)(x[None])
    assert ours.shape == (1, 1, 1002, 64)
    assert (ours[0, 0, :-1] - own_features(processor, x)).abs().max() < 1e-4
    assert [adapter._middles(n) for n in (1, 2, 3, 10)] == [[0, 0, 0], [0, 1, 0], [0, 1, 2], [2, 5, 8]]


# --- the model ----------------------------------------------------------------------------------------------------


def test_logits_are_the_models(wrapped, fused):
    model, processor = clap_models.model(fused=fused), clap_models.processor(fused=fused)
    clips = torch.stack([clip(5.0, seed) for seed in (1, 2)])
    features = processor.feature_extractor([c.numpy() for c in clips], sampling_rate=RATE, return_tensors="pt")
    tokens = Words()([f"This is a sound of {p}." for p in PROMPTS], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(
            **tokens,
            input_features=features["input_features"].float(),
            is_longer=torch.zeros(2, 1, dtype=torch.bool),
        ).logits_per_audio
        ours = wrapped(clips)
    assert expected.std() > 0.01
    assert torch.allclose(ours, expected, atol=1e-4)
    assert wrapped.temperature == pytest.approx(1 / 0.07, rel=1e-5)
    assert torch.allclose(wrapped(clips[1:]), ours[1:], atol=1e-5)


def test_a_long_fused_clip_is_fused_as_the_model_fuses_it(monkeypatch):
    model, processor = clap_models.model(fused=True), clap_models.processor(fused=True)
    wrapped = from_clap(model, processor, prompts=PROMPTS)
    monkeypatch.setattr(np.random, "choice", lambda several: several[len(several) // 2])
    x = clip(14.0)
    features = own_features(processor, x)[None]
    with torch.no_grad():
        pooled = model.audio_model(input_features=features, is_longer=torch.ones(1, 1, dtype=torch.bool)).pooler_output
        expected = torch.nn.functional.normalize(model.audio_projection(pooled))
    assert torch.allclose(wrapped.embed_audio(x[None]), expected, atol=1e-5)


def test_windows_of_a_long_clip_are_averaged(wrapped, fused):
    if fused:
        pytest.skip("fused models hear the whole clip")
    x = clip(20.0)
    halves = wrapped.embed_audio(torch.stack([x[:WINDOW], x[WINDOW:]]))
    mean = halves.mean(0) / halves.mean(0).norm()
    assert torch.allclose(wrapped.embed_audio(x[None])[0], mean, atol=1e-5)


def test_finite_difference_of_the_whole_chain():
    """In float64, from the waveform to the similarity."""
    model, processor = clap_models.model(micro=True).double(), clap_models.processor(micro=True)
    frontend = adapter.ClapFrontend(processor.feature_extractor, fused=False).double()
    tower = HTSAT(model.audio_model, model.audio_projection, frontend.windows)
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(1, 48000, generator=generator, dtype=torch.float64)
    direction = torch.randn(1, 48000, generator=generator, dtype=torch.float64)
    prompt = torch.randn(24, generator=generator, dtype=torch.float64)

    def similarity(wave):
        return torch.nn.functional.cosine_similarity(tower(frontend(wave)), prompt[None])[0]

    x.requires_grad_()
    (gradient,) = torch.autograd.grad(similarity(x), x)
    step = 1e-6
    with torch.no_grad():
        difference = (similarity(x + step * direction) - similarity(x - step * direction)) / (2 * step)
    assert float(difference) == pytest.approx(float((gradient * direction).sum()), rel=1e-4)


def test_silence_has_a_finite_gradient(micro):
    x = torch.zeros(1, 48000, requires_grad=True)
    (gradient,) = torch.autograd.grad(micro(x).sum(), x)
    assert torch.isfinite(gradient).all()


# --- maps ---------------------------------------------------------------------------------------------------------


def test_maps_are_unfolded_as_the_model_regroups_them(wrapped):
    model = wrapped.network.encoder.model
    features = wrapped.features(clip(10.0)[None])
    images = features[:, :, :-1].expand(-1, 4 if wrapped.network.encoder.fused else 1, -1, -1)
    with torch.no_grad():
        out = model(input_features=images, is_longer=torch.zeros(1, 1, dtype=torch.bool), output_hidden_states=True)
        _, latents = wrapped.classify_with_latents(features)
    assert [tuple(m.shape) for m in latents] == [(1, 8, 16, 256), (1, 16, 8, 128), (1, 32, 4, 64), (1, 64, 2, 32)]
    for latent, hidden in zip(latents, [*out.hidden_states[:3], out.hidden_states[4]], strict=True):
        batch, channels, rows, columns = hidden.shape
        by_hand = torch.stack(
            [hidden[:, :, s * rows // 4 : (s + 1) * rows // 4, c] for s in range(4) for c in range(columns)], 3
        )
        assert torch.equal(latent, by_hand)
        assert by_hand.shape == (batch, channels, rows // 4, 4 * columns)
    normed = model.audio_encoder.norm(latents[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.allclose(normed, out.last_hidden_state, atol=1e-5)


def test_unfolding_and_back_is_nothing(wrapped):
    tower = wrapped.network.encoder
    tokens = torch.randn(2, 1024, 5)
    assert torch.equal(tower.from_map(tower.to_map(tokens), tokens), tokens)


@pytest.mark.parametrize("seconds", [3.3, 5.0, 10.0, 14.0])
def test_maps_lie_over_the_clip(wrapped, fused, seconds):
    x = clip(seconds)[None]
    with torch.no_grad():
        logits, latents = wrapped.classify_with_latents(wrapped.features(x))
    assert torch.equal(logits, wrapped(x))
    steps = 32 if fused and seconds > 10 else int(seconds / 10 * 32)
    assert latents[-1].shape == (1, 64, 2, steps)


@pytest.mark.parametrize("seconds", [5.0, 10.0, 14.0])
def test_every_map_has_evidence(wrapped, seconds):
    x = clip(seconds)[None]
    with wrapped.frozen():
        logits, latents = wrapped.classify_with_latents(wrapped.features(x), differentiable=True)
        gradients = torch.autograd.grad(logits[0, 1], latents)
    for gradient, latent in zip(gradients, latents, strict=True):
        assert gradient.shape == latent.shape
        assert gradient.abs().sum() > 0


def test_a_map_shows_where_the_sound_is(micro):
    """A burst in the last quarter of a short clip changes the maps there, in every copy alike."""
    x = 1e-3 * torch.randn(1, 32000, generator=torch.Generator().manual_seed(0))  # three copies in 2 s
    loud = x.clone()
    loud[:, 24000:] *= 300
    maps = [micro.classify_with_latents(micro.features(w))[1][0] for w in (x, loud)]
    change = (maps[1] - maps[0]).abs().mean((0, 1, 2)).detach()
    assert change.shape == (21,)
    assert change[16:].mean() > 3 * change[:13].mean()


# --- what is built on it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("seconds", [1.3, 2.0, 2.6])
def test_ones_are_the_clip_and_zeros_are_silence(micro, space, seconds):
    x = clip(seconds)[None]
    if space == "mel":  # through sound: float32 rounds by 0.2 dB where the silent part meets the extractor's floor
        x += 1e-4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    explained = ax.AllOnes(micro, space=space, scale="magnitude").explain(x)
    similarity = micro(x) / micro.temperature
    own = ax.AllOnes(micro, space=space, scale="magnitude").space
    analysis = own.analyse(x)
    kept = own.predict(analysis.values, analysis) / micro.temperature
    assert torch.allclose(kept, similarity, atol=1e-5)
    removed = own.predict(0 * analysis.values, analysis)
    assert torch.allclose(removed, micro(torch.zeros_like(x)), atol=1e-4)
    inside = slice(1024, -1024)
    error = (explained.waveform - x)[:, inside].norm() / x[:, inside].norm()
    assert 20 * torch.log10(error.clamp(min=1e-12)) < -100  # dB


# --- prompts and errors -------------------------------------------------------------------------------------------


def test_a_long_prompt_is_cut_with_a_warning(micro):
    with pytest.warns(
        UserWarning, match=r"the prompt 'word word.*has 82 tokens; the text tower takes 60; the rest is cut"
    ):
        long = micro.embed_text(["word " * 80])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(long, micro.embed_text(["word " * 58]), atol=1e-5)


def test_the_models_names_and_processors(tmp_path, monkeypatch):
    model, processor = clap_models.model(micro=True), clap_models.processor(micro=True)
    with pytest.raises(ConfigError, match="was not loaded from anywhere; pass processor="):
        from_clap(model, prompts=PROMPTS)
    with pytest.raises(ConfigError, match="has no feature_extractor and tokenizer"):
        from_clap(model, Words(), prompts=PROMPTS)
    with pytest.raises(ConfigError, match="is no extractor for a CLAP"):
        from_clap(model, SimpleNamespace(feature_extractor=object(), tokenizer=Words()), prompts=PROMPTS)
    with pytest.raises(ClassifierError, match="CompactCNN is no ClapModel"):
        from_clap(ax.nn.CompactCNN(3), processor, prompts=PROMPTS)
    with pytest.raises(ClassifierError, match="ClapAudioModel is no ClapModel"):
        from_clap(model.audio_model, processor, prompts=PROMPTS)
    with pytest.raises(ConfigError, match="ClapModel cannot be loaded from"):
        from_clap(str(tmp_path / "nothing"), processor, prompts=PROMPTS)
    model.save_pretrained(tmp_path)
    loaded = from_clap(str(tmp_path), processor, prompts=PROMPTS, temperature=5.0)
    assert loaded.temperature == 5.0
    expected = from_clap(model, processor, prompts=PROMPTS, temperature=5.0)
    assert torch.allclose(loaded(clip(1.0)[None]), expected(clip(1.0)[None]), atol=1e-6)
    assert loaded.fingerprint() == expected.fingerprint()


def test_an_extractor_of_another_checkpoint_is_found_out(monkeypatch):
    model, processor = clap_models.model(micro=True), clap_models.processor(micro=True)
    processor.feature_extractor.top_db = 80
    with pytest.raises(ConfigError, match="top_db=80 is not supported"):
        from_clap(model, processor, prompts=PROMPTS)
    processor = clap_models.processor(micro=True)
    # Something that the front end does not know of.
    original = type(processor.feature_extractor)._np_extract_fbank_features
    monkeypatch.setattr(
        type(processor.feature_extractor),
        "_np_extract_fbank_features",
        lambda self, *args: original(self, *args) + np.float32(10 * np.random.default_rng(0).random()),
    )
    with pytest.raises(ClassifierError, match="logits of the wrapped model differ from its own by"):
        from_clap(model, processor, prompts=PROMPTS, tolerance=1e-5)


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'audioxai\[hf\]'|doctor"):
        from_clap("laion/clap-htsat-unfused", prompts=PROMPTS)


def test_the_windows_are_part_of_the_fingerprint(micro):
    before = micro.fingerprint()
    frontend = micro.frontend
    windows = frontend.windows
    try:
        frontend.windows = Windows(windows.size, "pad")
        assert micro.fingerprint() != before
    finally:
        frontend.windows = windows
