"""What a value is known by: the same in another process, and another one for whatever gives other results."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import networks
import numpy as np
import pytest
import torch
from dataset_clips import ENVIRONMENT

import audioxai as ax
from audioxai.support.identity import describe, digest_of

HIGHEST = 3


def margin(a, b=0):
    return lambda logits: logits[:, a] - logits[:, b]


def named(logits):
    return logits[:, HIGHEST]


def scaled(logits, by=1.0, *, of=0):
    return by * logits[:, of]


def through_another(logits):
    return named(logits)


def nested(k):
    def outer(logits):
        def inner(x):
            return x + k

        return inner(logits[:, 0])

    return outer


class Scorer:
    def __init__(self, k):
        self.k = k

    def __call__(self, logits):
        return logits[:, self.k]

    def score(self, logits):
        return logits[:, self.k]


@dataclass
class Options:
    k: int


def itself():
    value = Scorer(1)
    value.me = value
    return value


DISTINCT = {
    "integers": [0, 1, np.int64(2), True],
    "texts": ["0", "1", b"1", None],
    "arrays": [np.array([0]), np.array([1]), np.array([0.0]), np.array(["a"]), torch.zeros(1), torch.zeros(1, 1)],
    "closures": [margin(0, 1), margin(4, 3), margin(0), nested(1), nested(2)],
    "partials": [functools.partial(scaled, of=1), functools.partial(scaled, of=2), functools.partial(scaled, by=2.0)],
    "functions": [named, scaled, through_another, lambda x: x[:, 0], lambda x: x[:, 1], lambda x, k=2: x[:, k]],
    "objects": [Scorer(0), Scorer(1), Scorer(0).score, Scorer(1).score, Options(1), itself()],
    "networks": [networks.log_mel_cnn(), torch.nn.ReLU(), torch.nn.LeakyReLU(0.1), torch.nn.LeakyReLU(0.2)],
    "nested": [{"a": [1, 2]}, {"a": [2, 1]}, {"b": [1, 2]}, [{1, 2}], [{1, 3}]],
    "others": [Path("a"), Path("b"), len, torch.relu, torch.float16, torch.device("cpu"), Scorer],
}


def digests():
    return {name: [digest_of(value) for value in values] for name, values in DISTINCT.items()}


@pytest.mark.parametrize("name", DISTINCT)
def test_different_values_are_told_apart_and_equal_ones_are_not(name):
    found = digests()[name]
    assert len(set(found)) == len(found)
    assert all(json.loads(json.dumps(describe(value))) == describe(value) for value in DISTINCT[name])


def test_another_process_finds_the_same():
    code = f"import json; from {__name__} import digests; print(json.dumps(digests()))"
    here = Path(__file__).parents[__name__.count(".")]
    told = subprocess.check_output([sys.executable, "-c", code], cwd=here, env=ENVIRONMENT, text=True)
    assert json.loads(told) == digests()


def test_equal_numbers_of_other_libraries_are_one():
    assert digest_of(np.int64(3)) == digest_of(3)
    assert digest_of(margin(1)) == digest_of(margin(1, 0))


def test_a_constant_that_a_function_names(monkeypatch):
    before = digest_of(named), digest_of(through_another)
    monkeypatch.setitem(globals(), "HIGHEST", 2)
    assert digest_of(named) != before[0]
    assert digest_of(through_another) != before[1]


def test_what_a_network_tells_of_itself_counts():
    class Pooling(torch.nn.Module):
        def __init__(self, how):
            super().__init__()
            self.how = how

        def forward(self, x):
            return getattr(x, self.how)(-1, keepdim=True).expand(-1, 2)

        def extra_repr(self):
            return self.how

    found = {ax.AudioClassifier(Pooling(how), sample_rate=8000).fingerprint() for how in ("mean", "sum", "mean")}
    assert len(found) == 2


def test_what_is_reached_by_many_ways_is_described_once():
    tower = lambda x: x  # noqa: E731
    for _ in range(60):  # 2 ** 60 ways to the first
        tower = functools.partial(lambda one, other, x: one(other(x)), *[(lambda f: lambda x: f(x))(tower)] * 2)
    assert digest_of(tower) == digest_of(tower)


def test_addresses_do_not_count():
    class Locked:
        def __init__(self):
            self.lock, self.inner = threading.Lock(), object()

    first, second = Locked(), Locked()
    assert repr(first.lock) != repr(second.lock)
    assert digest_of(first) == digest_of(second)
