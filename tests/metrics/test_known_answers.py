"""On networks whose right mask is known, that mask scores at the top of every measure of faithfulness."""

import analytic
import pytest
import torch

import audioxai as ax
from audioxai.explainers.base import Solution
from audioxai.metrics import METRICS, evaluate, f_fidelity_metrics

FAITHFUL = ("AI", "AD", "AG", "FF", "Fid-In", "insertion", "deletion")
SLACK = {"AD": 0.5, "AG": 0.5}  # %: the right region leaves out the edges of a tone


class Given(ax.Explainer):
    """Always the same mask."""

    def __init__(self, classifier, mask, **base):
        super().__init__(classifier, **base)
        self.given = mask.float()

    def _solve(self, analysis, target):
        return Solution(self.given.expand(len(analysis.values), *self.given.shape), None, target)


def masks_of(made):
    """The right mask, and others: all, as many cells at random, the rest, the loudest, half of it, and one moved."""
    right = made.region
    generator = torch.Generator().manual_seed(0)
    loudest = ax.EnergyMask(made.classifier, space=made.space).explain(made.clip, made.target).mask[0]
    scattered = torch.zeros(right.numel(), dtype=torch.bool)
    scattered[torch.randperm(right.numel(), generator=generator)[: int(right.sum())]] = True
    return {
        "right": right,
        "all": torch.ones_like(right),
        "random": scattered.reshape(right.shape),
        "rest": ~right,
        "loudest": loudest,
        "half": right & (torch.rand(right.shape, generator=generator) < 0.5),
        "moved": right.roll([n // 3 for n in right.shape], list(range(right.ndim))),
    }


@pytest.mark.parametrize("case", analytic.CASES)
def test_the_right_mask_is_at_the_top(case):
    made = analytic.CASES[case]()
    where = {"space": made.space, "scale": "magnitude"}
    methods = {name: Given(made.classifier, mask, **where) for name, mask in masks_of(made).items()}
    batches = [{"waveform": made.clip, "target": torch.tensor([made.target])}]
    metrics = [
        *map(METRICS.get, FAITHFUL),
        *f_fidelity_metrics(made.classifier, sizes=(float(made.region.float().mean()),), beta=0.3),
    ]
    results = evaluate(methods, batches, metrics=metrics)
    for metric in metrics:
        name, direction = metric.name, metric.direction
        if name == "AI" and max(results.mean(mask, "AG") for mask in methods) < SLACK["AG"]:
            continue  # a rise of a thousandth counts as much as one of a half, see its page
        scores = {mask: direction * results.mean(mask, name) for mask in methods}
        best = max(scores.values())
        assert scores["right"] >= best - SLACK.get(name, 1e-3), (name, scores)
    for name in ("AD", "FF"):  # and the wrong ones are told apart from it
        direction = METRICS[name].direction
        assert direction * results.mean("right", name) > direction * results.mean("rest", name) + 1e-3
