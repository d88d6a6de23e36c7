"""What every explainer promises, for a small classifier of every family that the adapters know.

The suite takes three methods through the first promises; all methods through all of them are slow:
``pytest -m slow tests/contract/test_families.py -n auto``, 40 minutes on a busy core.
"""

from __future__ import annotations

from functools import partial

import pytest
from every_explainer import EXPLAINERS, GUIDED, LEARNED
from families import CLIPS, FAMILIES

import audioxai as ax
from audioxai.testing import check_explainer

pytestmark = pytest.mark.filterwarnings("ignore:.*attributions miss")
CLAPS = [name for name in FAMILIES if name.startswith("CLAP")]
#: Gradients, CAMs and learned methods; tiles and controls ask for no more than scores.
METHODS = [
    *sorted(LEARNED), "L-MAC (general)", "Saliency", "InputXGradient", "SmoothGrad", "IntegratedGradients",
    "GuidedBackprop", "GradCAM", "GradCAMPlusPlus", "GuidedGradCAM", "ScoreCAM", "GScoreCAM", "GradientSHAP",
    "DeepSHAP",
]  # fmt: skip
FIRST = ("result", "untouched")


def explainer(family: str, method: str) -> ax.Explainer:
    # Transformers have no ReLU; what else is guided is asked for.
    guided = {"activations": ("relu", "gelu", "silu")} if method in GUIDED else {}
    made: ax.Explainer = partial(EXPLAINERS[method], **guided)(FAMILIES[family]())
    if method in LEARNED:
        made.fit([CLIPS[made.classifier.sample_rate]], epochs=1, progress=False)
    return made


def check(family: str, method: str, only: tuple[str, ...] | None = None) -> None:
    if method == "LMACZS" and family not in CLAPS:
        pytest.skip("for zero-shot classifiers only")
    made = explainer(family, method)
    check_explainer(made, CLIPS[made.classifier.sample_rate], only=only)


@pytest.mark.parametrize("method", ["Saliency", "GradCAM", "L-MAC", "L-MAC (general)"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_promises(family, method):
    check(family, method, FIRST)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_promise(family, method):
    check(family, method)
