"""The decoder for coarse maps: its levels by a second version, and what each of its inputs is for."""

import pytest
import torch
from decoder_cases import maps
from torch.nn import functional as F

from audioxai.nn import SoundDecoder


def build(**options):
    shapes, steps = [(6, 3), (5, 2)], (4, 3)
    torch.manual_seed(0)
    decoder = SoundDecoder(shapes, width=8, **options)
    return decoder, maps(shapes, steps), maps(shapes, steps, seed=1), torch.rand(2, 12, 21) + 0.1


def by_hand(decoder, latents, evidence, values, grid=None):
    """The decoder clip by clip, its levels written out one after the other."""
    found = []
    for clip in range(len(values)):
        log = torch.log(values[clip].abs() + 1e-4)
        level = (log - log.mean()) / (log.std(correction=0) + 1e-3)
        within = level - level.mean(1, keepdim=True)
        if grid is None:
            seen = torch.stack([level, within])
        else:
            bands = torch.stack([(row[:, None] * log).sum(0) / row.sum() for row in grid])
            bands = (bands - bands.mean()) / (bands.std(correction=0) + 1e-3)
            seen = torch.stack([bands, bands - bands.mean(1, keepdim=True)])
        full = decoder.finest(seen[None])
        half = decoder.halved_block(decoder.halved(full.clamp(min=0)))
        levels, pooled = [full, half], []
        for lateral, h, e in zip(decoder.lateral, latents, evidence, strict=True):
            h, e = h[clip], e[clip]
            relative = e / e.abs().mean()
            tamed = torch.where(relative > 0, (1 + relative.abs()).log(), -(1 + relative.abs()).log())
            levels.append(lateral(torch.cat([h / h.pow(2).mean().sqrt(), tamed])[None]))
            means = torch.stack([channel.mean() for channel in e])
            pooled.append(means / means.pow(2).mean().sqrt())
        steered = decoder.film(torch.cat(pooled))
        films, start = [], 0
        for one in levels:
            channels = one.shape[1]
            films.append((steered[start : start + channels], steered[start + channels : start + 2 * channels]))
            start += 2 * channels
        assert start == len(steered)
        x = None
        for number in (3, 2, 1, 0):
            y = levels[number]
            if x is not None:
                y = y + F.interpolate(decoder.up[number](x), size=y.shape[2:], mode="bilinear", align_corners=False)
            scale, shift = films[number]
            x = decoder.blocks[number]((1 + scale)[:, None, None] * y + shift[:, None, None])
        a, b, c = decoder.out(x)[0]
        if grid is not None:
            a, b, c = grid.T @ a, grid.T @ b, grid.T @ c
        found.append(a + b * level + c * within)
    return torch.stack(found)


@pytest.mark.parametrize("banded", [False, True])
def test_a_second_version_gives_the_same_logits(banded):
    grid = torch.rand(7, 12) if banded else None
    decoder, latents, evidence, values = build(grid=grid)
    with torch.no_grad():
        found = decoder(latents, evidence, values)
        expected = by_hand(decoder, latents, evidence, values, grid)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_same_evidence_elsewhere_steers_alike_but_points_elsewhere():
    decoder, latents, evidence, values = build()
    whole = decoder(latents, evidence, values)
    moved = decoder(latents, [e.flip(3) for e in evidence], values)
    assert not torch.allclose(moved, whole, atol=1e-4)
    with torch.no_grad():  # no path from a place: the averages alone remain, which a move leaves as they were
        for lateral in decoder.lateral:
            lateral.weight.zero_()
    first = decoder(latents, evidence, values)
    torch.testing.assert_close(decoder(latents, [e.flip(3) for e in evidence], values), first, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(decoder(latents, [-e for e in evidence], values), first, atol=1e-4)
