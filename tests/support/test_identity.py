"""What a value is known by: the same in another process, and another one for whatever gives other results."""

from __future__ import annotations

import functools
import json
import logging
import subprocess
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

import networks
import numpy as np
import pytest
import torch
from dataset_clips import ENVIRONMENT

import audioxai as ax
from audioxai.errors import ConfigError
from audioxai.support.identity import describe, differences, digest_of, option_names, options_of

HIGHEST = 3
LOG = logging.getLogger(__name__)


def margin(a, b=0):
    return lambda logits: logits[:, a] - logits[:, b]


def named(logits):
    return logits[:, HIGHEST]


def scaled(logits, by=1.0, *, of=0):
    return by * logits[:, of]


def through_another(logits):
    return named(logits)


def logged(logits):
    LOG.debug("asked")
    return logits[:, 0]


def written(text):
    """A function without a source."""
    made = {}
    exec(text, made)
    return made["f"]


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


class Other(Scorer):
    __qualname__ = "Scorer"  # the same attributes, and another call

    def __call__(self, logits):
        return -logits[:, self.k]


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
    "inside": [lambda: lambda x: x + 1, (lambda: lambda x: x + 1)(), (lambda: lambda x: x + 2)(), lambda: (1, 2)],
    "without source": [written(f"def f(x): return x[:, {k}]") for k in (0, 1)] + [written("def f(x): return x")],
    "objects": [Scorer(0), Scorer(1), Scorer(0).score, Scorer(1).score, Options(1), itself(), Other(0)],
    "methods": [torch.zeros(1).add, torch.ones(1).add, torch.ones(1).sub],
    "networks": [networks.log_mel_cnn(), torch.nn.ReLU(), torch.nn.LeakyReLU(0.1), torch.nn.LeakyReLU(0.2)],
    "order": [
        torch.nn.Sequential(OrderedDict([(name, parts[name]) for name in order]))
        for parts in [{"a": torch.nn.ReLU(), "b": torch.nn.Sigmoid()}]
        for order in ("ab", "ba", "a")
    ],
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


def test_the_version_of_python_does_not_count():
    """It makes other bytecode of the same source."""
    for function in (named, DISTINCT["functions"][3], Path.exists):
        code = function.__code__
        other = FunctionType(code.replace(co_code=code.co_code + code.co_code), function.__globals__, function.__name__)
        assert digest_of(other) == digest_of(function)


def test_what_others_log_does_not_count(monkeypatch):
    before = digest_of(logged)
    monkeypatch.setattr(LOG, "handlers", [logging.NullHandler()])
    assert digest_of(logged) == before


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
    class Calling(torch.nn.Module):
        def __init__(self, call):
            super().__init__()
            self.extra_repr = lambda: f"call={call}"

    assert digest_of(Calling(margin(1))) == digest_of(Calling(margin(1))) != digest_of(Calling(named))

    class Locked:
        def __init__(self):
            self.lock, self.inner = threading.Lock(), object()

    first, second = Locked(), Locked()
    assert repr(first.lock) != repr(second.lock)
    assert digest_of(first) == digest_of(second)


class Base:
    def __init__(self, wrapped, size=1, *, seed=0):
        self.size, self.seed = size, seed


class Derived(Base):
    def __init__(self, wrapped, *, width, seed=1, **base):
        super().__init__(wrapped, seed=seed, **base)
        self.width, self.other = width, 9


class Plain(Derived):
    pass


class Hiding(Derived):
    def __init__(self, wrapped, *, depth=1, **base):
        super().__init__(wrapped, width=depth, **base)


def test_options_are_what_the_constructors_take():
    assert option_names(Plain) == ["size", "seed", "width"]
    assert options_of(Plain(None, width=3, size=2)) == {"size": 2, "seed": 1, "width": 3}
    assert options_of(Plain(None, width=3), left_out=("size", "seed")) == {"width": 3}
    with pytest.raises(ConfigError, match="Hiding keeps no attribute 'depth'"):
        options_of(Hiding(None))
    assert options_of(Hiding(None, depth=4), left_out=("depth",))["width"] == 4


def test_differences_are_told_entry_by_entry():
    before, now = {"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1, "c": 3}, "e": {"f": 0}, "d": [2]}
    assert differences(before, now) == ["a.c=2, now 3", "d=[1], now [2]", "e=None, now {'f': 0}"]
    assert not differences(now, json.loads(json.dumps(now)))
