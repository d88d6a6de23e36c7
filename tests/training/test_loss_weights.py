"""The weights of the learned explainers' losses: what is refused, and what is summed."""

import math
from decimal import Decimal

import networks
import numpy as np
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError
from audioxai.explainers.finetuning import FineTuning
from audioxai.support.identity import option_names
from audioxai.training.loss_weights import LossWeight, weigh

KINDS = {
    ax.LMAC: networks.log_mel_cnn, ax.LMACZS: networks.zero_shot, ax.LMACTD: networks.log_mel_cnn,
    ax.L2I: networks.log_mel_cnn,
}  # fmt: skip
OPTIONS = [(kind, name) for kind in KINDS for name in option_names(kind) if name.startswith("lambda_")]
WRONG = [math.nan, math.inf, -math.inf, -1, 10**400, "2", True, None, torch.ones(2), 1j, Decimal(1)]


class Two:
    lambda_a, lambda_b = LossWeight("a"), LossWeight("b")

    def __init__(self, a=1.0, b=2.0):
        self.lambda_a, self.lambda_b = a, b


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_every_weight_of_every_explainer_is_checked(kind, name):
    classifier = KINDS[kind]()
    for value in (math.nan, -1.0, "2", True):
        with pytest.raises(ConfigError, match=f"^{name}={value!r} weighs a loss and must be a finite number"):
            kind(classifier, **{name: value})
    explainer = kind(classifier, **{name: np.float32(0.5)})
    assert (getattr(explainer, name), explainer.identity()["options"][name]) == (0.5, 0.5)
    assert isinstance(getattr(kind, name), LossWeight)


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_what_is_no_weight(value):
    made = Two()
    with pytest.raises(ConfigError, match="lambda_a=.* weighs a loss"):
        made.lambda_a = value
    with pytest.raises(ConfigError, match="lambda_g=.* weighs a loss"):
        FineTuning(lambda_g=value)
    assert made.lambda_a == 1.0


def test_the_weighted_sum_and_the_means():
    losses = {"b": torch.tensor([1.0, 3.0], requires_grad=True), "a": torch.tensor(5.0)}
    found = weigh(Two(a=3), losses)
    assert list(found) == ["loss", "b", "a"]
    assert [float(value.detach()) for value in found.values()] == [2 * 2.0 + 3 * 5.0, 2.0, 5.0]
    found["loss"].backward()
    assert losses["b"].grad.tolist() == [1.0, 1.0]
    assert float(weigh(Two(), {"a": torch.tensor(5.0)})["loss"]) == 5.0


def test_a_class_may_weigh_more_and_otherwise():
    class Three(Two):
        lambda_b, lambda_c = LossWeight("b"), LossWeight("c")

    made = Three(b=4.0)
    made.lambda_c = 0
    assert float(weigh(made, {name: torch.tensor(1.0) for name in "abc"})["loss"]) == 5.0
    with pytest.raises(ConfigError, match=r"Three has no LossWeight for \['d'\]; it has some for \['a', 'b', 'c'\]"):
        weigh(made, {"d": torch.tensor(1.0)})
    assert not hasattr(Three.__new__(Three), "lambda_a")
