"""Masks against known parts: limits, and other libraries as witnesses."""

import pytest
import torch

from audioxai.errors import InputError
from audioxai.metrics import functional as metric


def test_the_right_mask_is_best_and_its_complement_worst():
    generator = torch.Generator().manual_seed(0)
    stem, other = torch.rand(2, 3, 20, 30, generator=generator)
    right = (stem > other).float()
    masks = {"right": right, "all": torch.ones_like(right), "wrong": 1 - right}
    for name in ("ratio_mask_overlap", "pointing_game", "mask_auc"):
        best, middle, worst = (getattr(metric, name)(mask, stem, other) for mask in masks.values())
        assert (best > middle).all()
        assert (middle > worst).all()
    torch.testing.assert_close(metric.mask_auc(right, stem, other), torch.ones(3))
    torch.testing.assert_close(metric.mask_auc(masks["all"], stem, other), torch.full((3,), 0.5))


def test_what_has_no_value_is_nan():
    stem, other = torch.rand(1, 4, 4), torch.rand(1, 4, 4)
    assert metric.ratio_mask_overlap(torch.zeros(1, 4, 4), stem, other).isnan().all()
    assert metric.mask_auc(torch.rand(1, 4, 4), stem, torch.zeros(1, 4, 4)).isnan().all()
    assert metric.si_sdr(torch.zeros(1, 9), torch.rand(1, 9)).isnan().all()
    assert metric.si_sdr(torch.rand(1, 9), torch.zeros(1, 9)).isnan().all()
    assert torch.isfinite(metric.si_sdr(stem.flatten(1), stem.flatten(1))).all()


def test_silent_cells_do_not_count_for_the_auc():
    stem, other = torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[0.0, 1, 1e-5, 0]])
    mask = torch.tensor([[0.5, 0.4, 0.9, 0.9]])
    assert metric.mask_auc(mask, stem, other).item() == 1


@pytest.mark.parametrize("name", ["interference_gain", "ratio_mask_overlap", "pointing_game", "mask_auc", "mask_mean"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16])
def test_masks_of_any_type_are_as_good_as_floats(name, dtype):
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(2, 300, 300, generator=generator) > 0.5).float()  # more cells than float16 can count
    parts = [] if name == "mask_mean" else [torch.rand(2, 300, 300, generator=generator) for _ in range(2)]
    measure = getattr(metric, name)
    torch.testing.assert_close(measure(mask.to(dtype), *parts), measure(mask, *parts), rtol=1e-6, atol=1e-6)
    halves = [part.half() for part in parts]
    torch.testing.assert_close(measure(mask.half(), *halves), measure(mask, *parts), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["interference_gain", "ratio_mask_overlap", "pointing_game", "mask_auc"])
def test_shapes_that_do_not_match(name):
    with pytest.raises(InputError, match=r"differ in shape"):
        getattr(metric, name)(torch.ones(1, 2), torch.ones(1, 3), torch.ones(1, 3))


def test_waveforms_that_do_not_match():
    with pytest.raises(InputError, match=r"must both be \(B, T\)"):
        metric.si_sdr(torch.ones(2, 5), torch.ones(2, 6))
