"""Reproducible recordings and the table of a small ESC-50."""

import torch

ESC_ROWS = [
    ("1-1-A-0", 1, 0, "dog", True),
    ("1-2-A-14", 1, 14, "chirping_birds", False),
    ("2-3-A-0", 2, 0, "dog", True),
    ("3-4-A-41", 3, 41, "chainsaw", True),
    ("5-5-A-36", 5, 36, "vacuum_cleaner", False),
]


def sound(samples, seed, level=0.3):
    """Reproducible noise (T,) that a 16-bit file holds unclipped."""
    generator = torch.Generator().manual_seed(seed)
    return level * (2 * torch.rand(samples, generator=generator) - 1)
