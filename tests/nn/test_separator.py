"""Filter banks, mask networks and the separator: against slow second versions, and for any length."""

import math

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioxai.errors import ConfigError
from audioxai.nn import TCN, DualPath, FourierFilterbank, LearnedFilterbank, Separator
from audioxai.nn.filterbank import default_filterbank, make_filterbank
from audioxai.nn.separator import MASKERS, Conditioner, relative_level
from audioxai.nn.sepformer import default_chunk, overlap_add, segment
from audioxai.training.filterbank import fit_filterbank
from audioxai.training.loop import TrainingOptions
from audioxai.training.losses import si_snr, stem_distance

RATE = 8000
SHAPES = [(6, 8), (4, 3), (5, 1)]
BANKS = {"fourier": FourierFilterbank(RATE, 32), "learned": LearnedFilterbank(RATE, 16, 40)}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def maps(batch=2, steps=(20, 10, 5), seed=0):
    return [noise(batch, c, f, n, seed=seed + i) for i, ((c, f), n) in enumerate(zip(SHAPES, steps, strict=True))]


def separator(bank="fourier", **options):
    torch.manual_seed(0)
    made = make_filterbank(BANKS[bank].config())
    grid = torch.rand(9, made.rows, generator=torch.Generator().manual_seed(2)) / 9
    return Separator(made, SHAPES, grid=grid, **{"channels": 16, **options}).eval()


# Filter banks ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(1, 200), st.sampled_from([2, 4, 16, 30]), st.integers(1, 3))
def test_the_fourier_bank_gives_back_what_it_was_given(samples, kernel, batch):
    bank = FourierFilterbank(RATE, kernel)
    clip = noise(batch, samples)
    coefficients = bank.encode(clip)
    assert coefficients.shape == (batch, 2 * bank.rows, bank.frames(samples))
    torch.testing.assert_close(bank.decode(coefficients, samples), clip, rtol=0, atol=1e-5)


@settings(max_examples=20)
@given(st.integers(1, 100), st.sampled_from([2, 6, 16]), st.integers(1, 3))
def test_enough_learned_filters_start_as_a_perfect_pair(samples, kernel, phases):
    bank = LearnedFilterbank(RATE, kernel, 2 * kernel * phases)
    clip = noise(2, samples)
    with torch.no_grad():
        coefficients = bank.encode(clip)
        assert coefficients.shape == (2, bank.rows, bank.frames(samples))
        assert (coefficients >= 0).all()
        torch.testing.assert_close(bank.decode(coefficients, samples), clip, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bank", BANKS.values(), ids=list(BANKS))
def test_encoding_and_decoding_by_the_book(bank):
    clip = noise(1, 50, seed=3)
    with torch.no_grad():
        coefficients = bank.encode(clip)
        decoded = bank.decode(coefficients, 50)
    if isinstance(bank, LearnedFilterbank):
        filters, back = bank.encoder.weight[:, 0].tolist(), bank.decoder.weight[:, 0].tolist()
        expected = oracles.rectified_filters(clip[0].tolist(), filters)
    else:
        expected = oracles.windowed_fourier(clip[0].tolist(), bank.kernel)
        back = None
    torch.testing.assert_close(coefficients[0], torch.tensor(expected), rtol=1e-4, atol=1e-5)
    if back is not None:
        expected = oracles.transposed_filters(coefficients[0].tolist(), back, 50)
        torch.testing.assert_close(decoded[0], torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bank", BANKS.values(), ids=list(BANKS))
@pytest.mark.parametrize("samples", [1, 7, 100, 333])
def test_what_is_kept_and_removed_adds_up_to_what_is_decoded(bank, samples):
    """Exactly, for any mask, since decoding is linear."""
    clip = noise(2, samples)
    with torch.no_grad():
        coefficients = bank.encode(clip)
        mask = torch.rand(2, bank.rows, bank.frames(samples), generator=torch.Generator().manual_seed(1))
        kept, removed = (bank.decode(bank.weigh(m, coefficients), samples) for m in (mask, 1 - mask))
        torch.testing.assert_close(kept + removed, bank.decode(coefficients, samples), rtol=0, atol=1e-5)
        assert bank.levels(coefficients).shape == mask.shape
        split = Separator(bank, [], alpha=0, channels=8).split(mask, coefficients, clip)
        for found, expected in zip(split, (kept, removed), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_learned_bank_is_fitted_to_give_clips_back():
    clips = 0.3 * torch.sin(torch.linspace(0, 300, 1200) * torch.linspace(0.5, 2, 8)[:, None])
    bank = LearnedFilterbank(RATE, 16, 24)  # too few to start as a perfect pair
    with torch.no_grad():
        before = si_snr(bank.decode(bank.encode(clips), 1200), clips).mean()
    history = fit_filterbank(bank, [clips], TrainingOptions(epochs=60, lr=1e-2, progress=False))
    with torch.no_grad():
        decoded = bank.decode(bank.encode(clips), 1200)
    after = si_snr(decoded, clips).mean()
    assert after > 20
    assert after > before + 10
    assert history[-1]["si_snr"] == pytest.approx(float(after), abs=3)
    assert (decoded.norm(dim=1) / clips.norm(dim=1) - 1).abs().max() < 0.1  # the level too
    assert not any(p.requires_grad for p in bank.parameters())
    with pytest.raises(ConfigError, match="no weights"):
        fit_filterbank(BANKS["fourier"], [clips])


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"kind": "fourrier", "sample_rate": RATE, "kernel": 16}, "nearest: 'fourier'"),
        ({"kind": "fourier", "sample_rate": RATE, "kernel": 15}, "kernel=15 must be an even"),
        ({"kind": "fourier", "sample_rate": RATE, "kernel": 0}, "kernel=0"),
        ({"kind": "fourier", "sample_rate": RATE, "kernel": 16, "filters": 3}, "does not take"),
        ({"kind": "learned", "sample_rate": RATE, "kernel": 16}, "does not take"),
    ],
)
def test_settings_that_make_no_bank(config, problem):
    with pytest.raises(ConfigError, match=problem):
        make_filterbank(config)


@pytest.mark.parametrize("rate", [100, 8000, 44100])
@pytest.mark.parametrize("kind", BANKS)
def test_default_banks_of_any_rate(kind, rate):
    bank = default_filterbank(kind, rate)
    assert bank.sample_rate == rate
    assert make_filterbank(bank.config()).config() == bank.config()
    clip = noise(1, 1000)
    with torch.no_grad():
        torch.testing.assert_close(bank.decode(bank.encode(clip), 1000), clip, rtol=0, atol=1e-5)


# Mask networks --------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(1, 60), st.sampled_from([2, 4, 10]))
def test_every_frame_is_in_two_chunks_and_comes_back(frames, chunk):
    x = torch.arange(1.0, frames + 1)[None, None]
    chunks = segment(x, chunk)
    assert chunks[0, 0].tolist() == oracles.chunks(list(range(1, frames + 1)), chunk)
    values, counts = chunks[chunks > 0].unique(return_counts=True)
    assert values.tolist() == list(range(1, frames + 1))
    assert (counts == 2).all()
    torch.testing.assert_close(overlap_add(chunks, frames), x)
    other = noise(*chunks.shape)
    expected = oracles.join_chunks(other[0, 0].tolist(), frames)
    torch.testing.assert_close(overlap_add(other, frames)[0, 0], torch.tensor(expected))


def test_chunks_of_an_odd_length_are_refused():
    for chunk in (0, 3, -2):
        with pytest.raises(ConfigError, match=f"chunk={chunk}"):
            segment(noise(1, 1, 9), chunk)
    assert [default_chunk(frames) for frames in (1, 2, 313, 9999)] == [2, 2, 26, 142]


def test_a_tcn_looks_as_far_as_its_dilations_say():
    torch.manual_seed(0)
    net = TCN(4, blocks=3)
    for block in net.blocks:  # normalisation looks everywhere
        block.layers[2], block.layers[5] = torch.nn.Identity(), torch.nn.Identity()
    x = torch.zeros(1, 4, 41, requires_grad=True)
    net(x)[0, :, 20].sum().backward()
    reached = x.grad[0].abs().sum(0).nonzero()[:, 0].tolist()
    assert (reached[0], reached[-1]) == (20 - 7, 20 + 7)


def test_heads_must_divide_the_channels():
    with pytest.raises(ConfigError, match="heads=3 must divide the 8"):
        DualPath(8, heads=3)


# The conditioner ------------------------------------------------------------------------------------------------------


def test_the_conditioner_follows_a_shift_in_time():
    """Latents moved by as many steps as the same time has in each layer move what it gives by as many frames."""
    torch.manual_seed(0)
    net = Conditioner([(6, 8), (4, 3)], 12, 5).eval()
    here = [torch.zeros(1, 6, 8, 128), torch.zeros(1, 4, 3, 32)]
    for i, h in enumerate(here):
        n = h.shape[3]
        h[..., n * 5 // 16 : n * 7 // 16] = noise(*h.shape[:3], n // 8, seed=i)
    there = [h.roll(h.shape[3] // 8, 3) for h in here]
    with torch.no_grad():
        given = [net(maps, maps, 256) for maps in (here, there)]
    for one, other in zip(*given, strict=True):  # channels, and planes
        torch.testing.assert_close(other[..., 92:184], one[..., 60:152], rtol=1e-4, atol=1e-5)  # the ends see padding
        assert (other - one).abs().max() > 0.05


def test_layers_of_other_resolutions_tell_of_the_same_moment():
    """A bump in the middle of one layer's map is in the middle of what the conditioner gives: no layer lags."""
    for steps in (33, 64, 128):
        h = torch.exp(-((torch.linspace(-1, 1, steps) * 3) ** 2))[None, None, None]
        flat = torch.ones(1, 1, 1, 64)
        for pair in ([h, flat], [flat, h]):
            centres = []
            for seed in range(12):  # convolutions of random weights lean a little, each to its side
                torch.manual_seed(seed)
                net = Conditioner([(1, 1), (1, 1)], 1, 1, evidence=False, width=4).eval()
                with torch.no_grad():
                    y = net(pair, None, 100)[0][0, 0]
                weight = (y - y[[0, -1]].mean()).abs()[5:-5]
                centres.append(float((weight * torch.arange(5, 95)).sum() / weight.sum()))
            assert sum(centres) / len(centres) == pytest.approx(49.5, abs=2.5)


# The separator --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 31, 400, 777])
@pytest.mark.parametrize("alpha", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize("masker", MASKERS)
def test_masks_of_any_length_and_a_batch_of_one(masker, bank, alpha, samples):
    options = {"heads": 2, "hidden": 16} if masker == "dual_path" else {"blocks": 2}
    net = separator(bank, masker=masker, options=options, alpha=alpha)
    clip, latents = noise(2, samples), maps()
    with torch.no_grad():
        coefficients = net.bank.encode(clip)
        mask = net(coefficients, latents, latents)
        alone = net(coefficients[:1], [h[:1] for h in latents], [h[:1] for h in latents])
        kept, removed = net.split(mask, coefficients, clip)
    assert mask.shape == (2, net.bank.rows, net.bank.frames(samples))
    assert ((mask >= 0) & (mask <= 1)).all()
    torch.testing.assert_close(alone, mask[:1], rtol=1e-4, atol=1e-5)
    assert kept.shape == removed.shape == clip.shape
    if net.bank.exact:
        torch.testing.assert_close(kept + removed, clip, rtol=0, atol=1e-5)


@pytest.mark.parametrize("masker", MASKERS)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_gradients_reach_what_alpha_lets_them(alpha, masker):
    net = separator("learned", alpha=alpha, masker=masker, train_bank=True).train()
    clip, latents = noise(2, 300), maps()
    coefficients = net.bank.encode(clip)
    kept, _ = net.split(net(coefficients, latents, latents), coefficients, clip)
    kept.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("bias"):
            assert parameter.grad.abs().sum() > 0, name
    assert hasattr(net, "condition") == (alpha > 0)
    assert hasattr(net, "listen") == (alpha < 1)
    if alpha == 1:  # the encoder is reached through what the mask weighs
        assert net.bank.encoder.weight.grad.abs().sum() > 0


def test_alpha_says_what_the_mask_network_sees():
    clip, latents = noise(2, 300), maps()
    for alpha in (0.0, 0.75, 1.0):
        net = separator(alpha=alpha)
        with torch.no_grad():
            one = net(net.bank.encode(clip), latents, latents)
            other_latents = net(net.bank.encode(clip), maps(seed=9), latents)
            other_clip = net(net.bank.encode(noise(2, 300, seed=9)), latents, latents)
        assert torch.equal(one, other_latents) == (alpha == 0)
        assert torch.equal(one, other_clip) == (alpha == 1)


@pytest.mark.parametrize("alpha", [0.0, 0.75, 1.0])
def test_the_level_of_a_clip_does_not_matter(alpha):
    net, clip, latents = separator(alpha=alpha), noise(2, 300), maps()
    with torch.no_grad():
        loud, quiet = (net(net.bank.encode(gain * clip), latents, latents) for gain in (1.0, 0.01))
    torch.testing.assert_close(loud, quiet, rtol=1e-3, atol=1e-3)
    silent = relative_level(torch.zeros(1, 5, 4))
    assert silent.abs().max() < 1e-3


def test_a_frozen_bank_stays_frozen():
    net = separator("learned").requires_grad_(True)
    assert not any(p.requires_grad for p in net.bank.parameters())
    assert all(p.requires_grad for p in net.condition.parameters())
    assert all(p.requires_grad for p in separator("learned", train_bank=True).requires_grad_(True).parameters())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"masker": "sepformer"}, "'sepformer' is not known; choose one of 'tcn', 'dual_path'"),
        ({"options": {"layers": 3}}, "'tcn' does not take"),
    ],
)
def test_networks_that_cannot_be_built(options, problem):
    with pytest.raises(ConfigError, match=problem):
        separator(**options)


# Losses ---------------------------------------------------------------------------------------------------------------

waves = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=20)


@settings(max_examples=40)
@given(waves, st.integers(0, 9))
def test_si_snr_by_the_book(reference, seed):
    estimate = [r + 0.3 * float(n) for r, n in zip(reference, noise(len(reference), seed=seed), strict=True)]
    if max(reference) - min(reference) < 0.1:
        return
    found = si_snr(torch.tensor([estimate]), torch.tensor([reference])).item()
    expected = oracles.si_sdr(estimate, reference)
    if expected < -60:  # all but orthogonal: the loss has a floor there, the oracle none
        assert found < -60
        return
    assert found == pytest.approx(expected, abs=0.05)
    louder = si_snr(3 * torch.tensor([estimate]), torch.tensor([reference])).item()
    assert louder == pytest.approx(found, abs=0.05)


def test_si_snr_of_silence_and_of_the_same_is_finite_with_finite_gradients():
    clip = noise(1, 50)
    for estimate, reference in ((clip, clip), (torch.zeros(1, 50), clip), (clip, torch.zeros(1, 50))):
        estimate = estimate.clone().requires_grad_()
        value = si_snr(estimate, reference)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(estimate.grad).all()
    assert 70 < float(si_snr(clip, clip).detach()) <= 80.1


def test_the_distance_from_the_stems_by_the_book():
    kept, removed, stem, other = (noise(3, 20, seed=i) for i in range(4))
    for i, found in enumerate(stem_distance(kept, removed, stem, other).tolist()):
        expected = sum(
            math.log(1 + 100 * math.dist(a[i].tolist(), b[i].tolist()) ** 2 / math.hypot(*b[i].tolist()) ** 2)
            for a, b in ((kept, stem), (removed, other))
        )
        assert found == pytest.approx(expected, rel=1e-4)
    assert stem_distance(stem, other, stem, other).abs().max() == 0
    silence = torch.zeros(1, 20)
    assert torch.isfinite(stem_distance(kept[:1], removed[:1], silence, silence)).all()
    assert stem_distance(silence, silence, silence, silence) == 0


@pytest.mark.parametrize("bank", [FourierFilterbank(RATE, 32), LearnedFilterbank(RATE, 32, 150)])
def test_rows_say_which_frequency_they_are_about(bank):
    """A tone is loudest in a row of its own frequency."""
    time = torch.arange(800) / RATE
    for k in (1, 5, 9, 15):
        tone = torch.sin(2 * math.pi * k * RATE / 32 * time)[None]
        with torch.no_grad():
            loud = bank.levels(bank.encode(tone))[0].mean(1)
        assert bank.frequencies.shape == loud.shape
        assert float(bank.frequencies[loud.argmax()]) == k * RATE / 32
