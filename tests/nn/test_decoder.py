"""The decoders: the mask's size for any maps, every parameter in use, no dependence on scale."""

import pytest
import torch
from decoder_cases import CASES, maps
from torch import nn

import audioxai as ax
from audioxai.nn import CNN14, EvidenceDecoder, SoundDecoder


def build(case, kind=EvidenceDecoder, **options):
    shapes, steps, rows, frames = CASES[case]
    torch.manual_seed(0)
    sizes = (shapes, rows) if kind is EvidenceDecoder else (shapes,)
    decoder = kind(*sizes, width=8, **options)
    size = (2, frames) if rows == 1 else (2, rows, frames)
    return decoder, maps(shapes, steps), maps(shapes, steps, seed=1), torch.rand(size)


both = pytest.mark.parametrize("kind", [EvidenceDecoder, SoundDecoder])


@both
@pytest.mark.parametrize("case", CASES)
def test_the_mask_has_the_size_of_the_values_and_every_parameter_a_gradient(case, kind):
    decoder, latents, ev, values = build(case, kind)
    logits = decoder(latents, ev, values)
    assert logits.shape == values.shape
    logits.square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        # One frame has no level within its row.
        assert parameter.grad.abs().sum() > 0 or case == "single cells", name


@pytest.mark.parametrize("case", CASES)
def test_no_evidence_is_asked_for(case):
    decoder, latents, _, values = build(case, evidence=False)
    logits = decoder(latents, None, values)
    assert logits.shape == values.shape
    assert torch.isfinite(logits).all()


@both
@pytest.mark.parametrize("case", ["four maps", "tokens", "waveform"])
def test_one_decoder_for_clips_of_any_length(case, kind):
    decoder = build(case, kind)[0]
    shapes, steps, rows, frames = CASES[case]
    for factor in (2, 3):
        longer = tuple(n * factor for n in steps)
        values = torch.rand((2, frames * factor) if rows == 1 else (2, rows, frames * factor))
        assert decoder(maps(shapes, longer), maps(shapes, longer, seed=1), values).shape == values.shape


@both
@pytest.mark.parametrize("case", CASES)
def test_clips_of_a_batch_do_not_mix(case, kind):
    decoder, latents, ev, values = build(case, kind)
    whole = decoder(latents, ev, values)
    alone = decoder([m[1:] for m in latents], [e[1:] for e in ev], values[1:])
    torch.testing.assert_close(alone, whole[1:], rtol=1e-4, atol=1e-5)


@both
@pytest.mark.parametrize(("latent", "evidence"), [(1e-3, 1e-3), (1e3, 1e3), (30, 1 / 30)])
def test_the_scale_of_latents_and_evidence_does_not_matter(latent, evidence, kind):
    decoder, latents, ev, values = build("four maps", kind)
    whole = decoder(latents, ev, values)
    scaled = decoder([m * latent for m in latents], [e * evidence for e in ev], values)
    torch.testing.assert_close(scaled, whole, rtol=1e-3, atol=1e-4)


def test_the_level_of_the_clip_hardly_matters():
    decoder, latents, ev, values = build("four maps")
    values = values + 0.1
    torch.testing.assert_close(decoder(latents, ev, 8 * values), decoder(latents, ev, values), rtol=0.05, atol=0.02)


def test_latents_evidence_and_values_all_matter():
    decoder, latents, ev, values = build("four maps")
    whole = decoder(latents, ev, values)
    other = maps([m.shape[1:3] for m in latents], [m.shape[3] for m in latents], seed=9)
    for level in range(4):
        swapped = [o if i == level else m for i, (m, o) in enumerate(zip(latents, other, strict=True))]
        assert not torch.allclose(decoder(swapped, ev, values), whole, atol=1e-4), level
        swapped = [o if i == level else m for i, (m, o) in enumerate(zip(ev, other, strict=True))]
        assert not torch.allclose(decoder(latents, swapped, values), whole, atol=1e-4), level
    assert not torch.allclose(decoder(latents, [-e for e in ev], values), whole, atol=1e-4)
    assert not torch.allclose(decoder(latents, ev, values.flip(2)), whole, atol=1e-4)


@both
def test_zeros_stay_finite(kind):
    for case in CASES:
        decoder, latents, ev, values = build(case, kind)
        zeros = decoder([0 * m for m in latents], [0 * e for e in ev], 0 * values)
        assert torch.isfinite(zeros).all()
        zeros.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in decoder.parameters())


@both
def test_a_fresh_mask_is_mostly_shut(kind):
    decoder, latents, ev, values = build("four maps", kind)
    assert 0.1 < decoder(latents, ev, values).sigmoid().mean() < 0.5


def test_mel_rows_reach_stft_rows_through_the_grid():
    shapes, rows, frames = [(4, 16)], 9, 20
    grid = torch.zeros(16, rows)
    grid[:rows] = torch.eye(rows)  # row f of the mask is row f of the maps
    torch.manual_seed(0)
    decoder = EvidenceDecoder(shapes, rows, grid=grid, width=8)
    values = torch.rand(1, rows, frames)
    latents, ev = maps(shapes, [frames], batch=1), maps(shapes, [frames], batch=1, seed=1)
    logits = decoder(latents, ev, values)
    decoder.grid = torch.roll(grid, 1, dims=1)
    assert not torch.allclose(decoder(latents, ev, values), logits)
    assert "grid" not in decoder.state_dict()


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
def test_the_default_decoder_of_the_largest_network_is_small(space):
    classifier = ax.AudioClassifier(CNN14(50, width=2), sample_rate=16000, frontend=ax.LogMel(16000)).eval()
    explainer = ax.LMAC(classifier, space=space)
    small = explainer._build()
    shapes = [(64, 40), (256, 10), (1024, 2), (2048, 2)]
    large = EvidenceDecoder(shapes, 513)
    for decoder in (small, large):
        assert sum(p.numel() for p in decoder.parameters()) < 5_000_000
    assert isinstance(small, nn.Module)
