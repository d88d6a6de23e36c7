"""Measures of what is heard, at their known answers."""

import pytest
import torch

from audioxai.errors import InputError
from audioxai.metrics import functional as metric

STEM, OTHER, NOISE = torch.randn(3, 2, 400, generator=torch.Generator().manual_seed(0))


def test_any_mixture_of_the_parts_is_free_of_artefacts():
    for kept, left in ((1.0, 1.0), (0.3, 0.0), (0.0, 2.0), (0.7, 0.1)):
        assert (metric.si_sar(kept * STEM + left * OTHER, STEM, OTHER) > 100).all()
    quiet, loud = (metric.si_sar(STEM + level * NOISE, STEM, OTHER) for level in (0.1, 0.2))
    torch.testing.assert_close(quiet - loud, torch.full((2,), 6.0), rtol=0, atol=0.3)
    torch.testing.assert_close(metric.si_sar(3 * (STEM + 0.1 * NOISE), STEM, OTHER), quiet, rtol=1e-4, atol=1e-3)


def test_silence():
    silence = torch.zeros(2, 400)
    assert metric.si_sar(silence, STEM, OTHER).isnan().all()
    assert metric.energy_share(STEM, silence).isnan().all()
    torch.testing.assert_close(  # one part alone: what is left is no artefact of the other's
        metric.si_sar(STEM + NOISE, STEM, silence), metric.si_sdr(STEM + NOISE, STEM), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("shape", [(2, 399), (1, 400), (2, 1, 400)])
def test_shapes_that_do_not_match(shape):
    for call in (
        lambda: metric.si_sar(STEM, torch.ones(shape), OTHER),
        lambda: metric.si_sar(STEM, STEM, torch.ones(shape)),
        lambda: metric.energy_share(STEM, torch.ones(shape)),
    ):
        with pytest.raises(InputError, match=r"must both be \(B, T\)"):
            call()
