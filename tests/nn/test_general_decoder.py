"""The decoder for every network: shapes of any size, the gate, and nothing of one network in it."""

from __future__ import annotations

import pytest
import torch

from audioxai.nn.decoder import _gate
from audioxai.nn.general_decoder import GeneralDecoder


def a_decoder() -> GeneralDecoder:
    torch.manual_seed(0)
    return GeneralDecoder(6, width=16).eval()


def weights(rows: int, bands: int = 16) -> torch.Tensor:
    places = torch.linspace(0, bands - 1, rows)
    return (1 - (places - torch.arange(bands)[:, None]).abs()).clamp(min=0)


def planes(frames: int, bands: int = 16, clips: int = 2) -> torch.Tensor:
    return torch.randn(clips, 6, bands, frames, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("frames", [1, 2, 3, 17, 64])
@pytest.mark.parametrize("bands", [1, 5, 16])
def test_any_size(frames, bands):
    values = torch.rand(2, 33, frames)
    found = a_decoder()(planes(frames, bands), values, weights(33, bands))
    assert found.shape == values.shape
    assert found.isfinite().all()


def test_values_without_rows_get_one_logit_a_sample():
    values = torch.randn(2, 1000)
    found = a_decoder()(planes(9), values, torch.full((16, 1), 1 / 16))
    assert found.shape == (2, 1000)
    assert found.isfinite().all()


def test_the_logits_are_the_gate_of_the_planes_at_the_rows():
    decoder, seen, values, rows = a_decoder(), planes(7), torch.rand(2, 33, 7), weights(33)
    drawn = decoder.draw(seen)
    at_rows = torch.zeros(2, 3, 33, 7)
    for f in range(33):
        for g in range(16):
            at_rows[:, :, f] += rows[g, f] * drawn[:, :, g]
    torch.testing.assert_close(decoder(seen, values, rows), _gate(at_rows, values))


def test_a_clip_does_not_depend_on_the_others():
    decoder, seen, values = a_decoder(), planes(11, clips=3), torch.rand(3, 33, 11)
    together = decoder(seen, values, weights(33))
    alone = torch.cat([decoder(seen[i : i + 1], values[i : i + 1], weights(33)) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_a_fresh_decoder_lets_little_through_and_learns():
    decoder = a_decoder().train()
    seen, values, wanted = planes(24), torch.rand(2, 33, 24), torch.zeros(2, 33, 24)
    wanted[:, 10:20, 5:15] = 1
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        found = decoder(seen, values, weights(33))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(found, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_any_width(width):
    assert GeneralDecoder(6, width)(planes(9), torch.rand(2, 33, 9), weights(33)).isfinite().all()


def test_the_default_is_small():
    assert 100_000 < sum(p.numel() for p in GeneralDecoder().parameters()) < 150_000
