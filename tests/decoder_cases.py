"""Maps of any number and size, for tests of decoders."""

from __future__ import annotations

import torch


def maps(shapes, steps, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, c, f, n, generator=generator) for (c, f), n in zip(shapes, steps, strict=True)]


#: (C, F') of each map, their steps N', rows and frames of the mask.
CASES = {
    "four maps": ([(8, 20), (16, 10), (16, 5), (32, 5)], (50, 25, 12, 12), 65, 101),
    "one map": ([(6, 9)], (7,), 33, 50),
    "deep map of one row": ([(8, 16), (16, 1)], (20, 5), 40, 33),
    "tokens": ([(24, 1)], (60,), 65, 60),
    "more steps than frames": ([(8, 1), (12, 1)], (400, 100), 65, 21),
    "waveform": ([(8, 1), (12, 1)], (100, 25), 1, 1600),
    "waveform with rows": ([(8, 12)], (25,), 1, 800),
    "uneven": ([(3, 2), (5, 31), (4, 7)], (3, 17, 90), 11, 13),
    "single cells": ([(4, 1)], (1,), 5, 1),
}
