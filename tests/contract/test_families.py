"""What every explainer promises, for a small classifier of every family that the adapters know.

The suite takes three methods through the first promises; all methods through all of them are slow:
``pytest -m slow tests/contract/test_families.py -n auto``, 40 minutes on a busy core.
"""

from __future__ import annotations

import pytest
from every_explainer import CONTROLS, EXPLAINERS, GUIDED, TILED, fitted
from families import CLIPS, FAMILIES

from audioxai.testing import check_explainer

pytestmark = pytest.mark.filterwarnings("ignore:.*attributions miss")
CLAPS = [name for name in FAMILIES if name.startswith("CLAP")]
#: Gradients, CAMs and learned methods; tiles and controls ask for no more than scores.
METHODS = [name for name in EXPLAINERS if name not in TILED | CONTROLS]
FIRST = ("result", "composition", "untouched")


def check(family: str, method: str, only: tuple[str, ...] | None = None) -> None:
    if method == "LMACZS" and family not in CLAPS:
        pytest.skip("for zero-shot classifiers only")
    classifier = FAMILIES[family]()
    clips = CLIPS[classifier.sample_rate]
    # Transformers have no ReLU; what else is guided is asked for.
    guided = {"activations": ("relu", "gelu", "silu")} if method in GUIDED else {}
    check_explainer(fitted(method, classifier, clips, **guided), clips, only=only)


@pytest.mark.parametrize("method", ["Saliency", "GradCAM", "LMAC"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_promises(family, method):
    check(family, method, FIRST)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_promise(family, method):
    check(family, method)
