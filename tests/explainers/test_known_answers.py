"""Every training-free method on networks whose right mask is known; a mask of loudness alone fails there."""

import analytic
import pytest
from every_explainer import CONTROLS, EXPLAINERS, LEARNED, TILED

import audioxai as ax

_TILES = {"tiles": (4, 8), "progress": False}
OPTIONS = {
    "SmoothGrad": {"noise": 0.01, "n_samples": 4},
    "GScoreCAM": {"k": 1},
    "KernelSHAP": {"n_samples": 600, **_TILES},
    "Occlusion": _TILES,
    "LIME": {"n_samples": 600, **_TILES},
}
METHODS = [name for name in EXPLAINERS if name not in LEARNED | CONTROLS]
pytestmark = pytest.mark.filterwarnings("ignore:.*attributions miss")


def inside(mask, region):
    """Share of the mask's mass in the region."""
    return float(mask[region].sum() / mask.sum())


@pytest.mark.parametrize("case", analytic.CASES)
@pytest.mark.parametrize("method", METHODS)
def test_the_mask_is_where_the_answer_is(method, case):
    made = analytic.CASES[case]()
    explainer = EXPLAINERS[method](made.classifier, space=made.space, scale="magnitude", **OPTIONS.get(method, {}))
    mask = explainer.explain(made.clip, made.target).mask[0]
    assert mask.max() > 0.99
    if method in TILED and case in ("tone gate", "onset"):
        best = (mask > 0.99).float()
        assert (best * made.region).sum() > 0  # the strongest tile holds the answer
        assert best.sum() < 0.2 * best.numel()
    elif method in TILED or "ScoreCAM" in method:
        assert inside(mask, made.region) > 0.75
    else:
        assert inside(mask, made.region) > 0.9


@pytest.mark.parametrize("case", ["band energy", "stretch"])
def test_loudness_alone_does_not_find_it(case):
    made = analytic.CASES[case]()
    mask = ax.EnergyMask(made.classifier, space=made.space).explain(made.clip, made.target).mask[0]
    assert inside(mask, made.region) < 0.5
