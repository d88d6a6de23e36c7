"""The published comparison tables on the data that --data points at: made, timed, and checked for their orderings.

    pytest benchmarks/test_tables.py --benchmark-only --data ESC-50-FOLDER

Each test makes one condition's table, in STFT and mel space, with the rows of the publication and the controls; see
--help for more seeds, the larger network and fewer clips. Full tables of every method: ``audioxai benchmark``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audioxai.benchmark.report import write_report
from audioxai.benchmark.run import run
from audioxai.benchmark.settings import Settings
from audioxai.benchmark.tables import Table

LMAC, GRADCAM = "L-MAC (evidence)", "GradCAM (published)"
GRADIENTS = (
    "saliency", "smoothgrad", "integrated-gradients", "guided-backprop", "guided-gradcam", "gradient-shap",
)  # fmt: skip
METHODS = ("lmac", "gradcam/published", *(f"{key}/published" for key in GRADIENTS))


@pytest.mark.parametrize("condition", ["id", "mixtures", "speech", "white-noise"])
def test_table(condition: str, benchmark: Callable[..., Any], pytestconfig: pytest.Config) -> None:
    root = pytestconfig.getoption("--data")
    if root is None:
        pytest.skip("pass --data FOLDER, in ESC-50's layout")
    speech = pytestconfig.getoption("--speech")
    settings = Settings(
        "esc50",
        Path(root),
        Path(pytestconfig.getoption("--out")),
        conditions=(condition,),
        spaces=("stft", "mel"),
        methods=METHODS,
        seeds=pytestconfig.getoption("--seeds"),
        network=pytestconfig.getoption("--network"),
        clips=pytestconfig.getoption("--clips"),
        speech=None if speech is None else Path(speech),
    )
    report = benchmark.pedantic(run, args=(settings,), rounds=1)  # type: ignore[attr-defined]
    write_report(report)
    for table in report.tables:
        print(f"\n{table.to_markdown()}")
    for table in report.tables:
        check_orderings(table)


def check_orderings(table: Table) -> None:
    """L-MAC before GradCAM before gradients on AI, AG and Fid-In; L-MAC lowest on AD, simpler than GradCAM."""
    mean = table.results.mean
    gradients = [name for name in table.results.scores if name.endswith("(published)") and name != GRADCAM]
    assert len(gradients) == len(GRADIENTS)
    for metric in ("AI", "AG", "Fid-In"):
        best = max(mean(name, metric) for name in gradients)
        assert mean(LMAC, metric) > mean(GRADCAM, metric) > best, f"{table.title}: {metric}"
    others = [mean(name, "AD") for name in (GRADCAM, *gradients)]
    assert mean(LMAC, "AD") < min(others), f"{table.title}: AD"
    assert mean(LMAC, "COMP") < mean(GRADCAM, "COMP"), f"{table.title}: COMP"
    assert mean(LMAC, "SPS") > mean(GRADCAM, "SPS"), f"{table.title}: SPS"
