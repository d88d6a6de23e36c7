"""The runner: from a data set's folder to tables, in stages that are kept and never done twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from audioxai.benchmark.evaluation_sets import TestSet, make_set
from audioxai.benchmark.methods import METHODS, Method, choose_methods
from audioxai.benchmark.protocol import BenchmarkData, load_data
from audioxai.benchmark.provenance import machine, time_spent
from audioxai.benchmark.report import Report
from audioxai.benchmark.run_files import Store
from audioxai.benchmark.settings import Settings
from audioxai.benchmark.stages import Stages
from audioxai.benchmark.tables import Table, average_items, average_runs
from audioxai.benchmark.workers import drain, helpers
from audioxai.explainers.explanation import Explanation
from audioxai.metrics import GROUND_TRUTH, Results
from audioxai.support.processes import device_of, launched

__all__ = ["run"]


def run(settings: Settings, say: Callable[[str], None] = print, *, command: str | None = None) -> Report | None:
    """Train or load the networks, fit the learned explainers, evaluate everything, write the tables.

    Every stage is kept in ``settings.out`` under a key of all that it depends on: a run that was killed at any point
    goes on, and a changed setting redoes only what hangs on it. Code is known by the package's version alone: after a
    change in it, or in a network of your own, take another folder. Networks, fits and evaluations are shared out among
    ``settings.workers`` processes, or those of ``accelerate launch``, and do not depend on their number; of the latter
    all but the first return ``None``.

    Args:
        settings: what to do.
        say: called with a line for each stage that this process makes; other workers' lines go to stderr.
        command: what a reader types to make it again, for the tables.

    Raises:
        ConfigError: an unknown name, or settings out of range.
        AudioFileError: data that are missing or bad.
        OutputError: another run is at work in the folder, or it cannot be written.
    """
    number, count = launched()
    store = Store(settings.out)
    if number > 0:
        _help(settings, number)
        return None
    with store.locked(), _threads_shared(settings.workers):
        return _Run(settings, store, 0, say).report(command, max(count, settings.workers))


def _help(settings: Settings, number: int) -> None:
    """Work at a run that another process leads."""
    from audioxai.support.terminal import tell

    one = _Run(settings, Store(settings.out), number, tell, leader=os.getppid() if settings.workers > 1 else None)
    with _threads_shared(settings.workers):
        one.make(*one.prepare(one.data()))


@contextmanager
def _threads_shared(workers: int) -> Iterator[None]:
    """Each of several workers takes its part of the cores, lest they hold each other up."""
    before = torch.get_num_threads()
    if workers > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Run:
    def __init__(
        self, settings: Settings, store: Store, number: int, say: Callable[[str], None], leader: int | None = None
    ) -> None:
        self.settings, self.store, self.say, self.leader = settings, store, say, leader
        self.device = device_of(settings.device, number)

    def report(self, command: str | None, count: int) -> Report:
        s, start = self.settings, time.perf_counter()
        data = self.data()
        self.say(f"{s.data}: {len(data.train)} clips to train on, {len(data.test)} to explain; on {self.device}")
        for file, reason in (*data.train.bad, *data.test.bad):
            self.say(f"left out {str(file)!r}: {reason}")
        sets, methods = self.prepare(data)
        for one in sets:
            one.manifest.save(s.out / "manifests" / f"{one.condition}.json")
        with helpers(_help, (s,), s.workers - 1, self.say):
            sets, methods, notes = self.make(sets, methods)
        if s.classifier is not None:
            notes.append("The network is your own: it may have been trained on clips that are explained here.")
        tables = [self._table(one, space, methods, notes) for one in sets for space in s.spaces]
        facts = {"command": command, **machine(self.device), "processes": count, "folds": data.folds}
        facts |= time_spent(self.store, time.perf_counter() - start)
        return Report(tables, facts, self._samples(sets), s.out)

    def data(self) -> BenchmarkData:
        s = self.settings
        rate = 16000 if s.classifier is None else s.classifier.sample_rate
        return load_data(
            s.data, s.root, speech=s.speech, noise=s.noise, labels=s.labels, conditions=s.conditions,
            sample_rate=rate, seconds=s.seconds, cache=s.out / "clips", skip_bad=s.skip_bad,
        )  # fmt: skip

    def prepare(self, data: BenchmarkData) -> tuple[list[TestSet], list[Method]]:
        s = self.settings
        sets = [
            make_set(data, condition, s.per_clip, s.clips, s.manifests, s.exclude_same_class)
            for condition in s.conditions
        ]
        self.stages = Stages(s, self.store, data, self.device, self.say)
        return sets, choose_methods(s.methods)

    def make(self, sets: list[TestSet], methods: list[Method]) -> tuple[list[TestSet], list[Method], list[str]]:
        """Networks, fits and scores; returns what was left by the budget, with notes on it."""
        s, stages = self.settings, self.stages
        if s.classifier is None:
            drain([partial(stages.train, seed, wait=False) for seed in (0, 1)], leader=self.leader)
        stages.take_networks()
        fits = [
            partial(stages.fit, method, space, seed, wait=False)
            for method in sorted(methods, key=lambda m: (not m.heavy, m.start is not None))  # long ones first
            if method.learned
            for space in s.spaces
            for seed in stages.seeds(method)
        ]
        notes: list[str] = []
        if s.budget is not None:
            drain(fits, leader=self.leader)
            sets, methods, notes = self._within_budget(s.budget, sets, methods)
        evaluations = [
            partial(stages.scores, one, space, method, seed, wait=False)
            for method in methods
            for space in s.spaces
            for seed in stages.seeds(method)
            for one in sets
        ]
        prompts = [partial(stages.prompts, *evaluation.args, wait=False) for evaluation in evaluations]
        drain([*fits, *evaluations, *prompts], leader=self.leader)
        return sets, methods, notes

    def _within_budget(
        self, minutes: float, sets: list[TestSet], methods: list[Method]
    ) -> tuple[list[TestSet], list[Method], list[str]]:
        plan = self.stages.plan(minutes, sets, methods)
        smaller = [one.fewer(plan["clips"]) for one in sets]
        notes = []
        if len(smaller[0].items) < len(sets[0].items):
            notes.append(
                f"Budget of {minutes:g} minutes: {len(smaller[0].items)} of {len(sets[0].items)} clips, spread evenly "
                "over the classes."
            )
        if left_out := [m.name for m in methods if m.key not in plan["methods"]]:
            notes.append(f"Left out for the budget of {minutes:g} minutes: {', '.join(left_out)}.")
        return smaller, [m for m in methods if m.key in plan["methods"]], notes

    # What comes of it ---------------------------------------------------------------------------------------------

    def _table(self, one: TestSet, space: str, methods: Sequence[Method], notes: Sequence[str]) -> Table:
        found: Mapping[str, Any] = self.stages.predictions(one)
        predicted, labels = found["predicted"], found["labels"]
        # The clip's own part is the truth only where its class is explained, and the other part is not of it too.
        truth = torch.tensor([predicted[0][i] == labels[i] and not one.same[i] for i in one.items])
        rows, spread, notes = Results(), {}, [*notes, *_left_out(one, predicted[0], labels)]
        prompts: dict[str, Mapping[str, float]] = {}
        for method in methods:
            runs = [self.stages.scores(one, space, method, seed) for seed in self.stages.seeds(method)]
            done = [run for run in runs if not isinstance(run, str)]
            if len(done) < len(runs):
                reason = next(run for run in runs if isinstance(run, str))
                notes.append(" ".join(f"No row for {method.name}: {reason}".split()))
                continue
            for run in done:
                scores = run.scores[method.name]
                for metric in scores.keys() & set(GROUND_TRUTH):
                    scores[metric][~truth] = torch.nan
            row, fits = average_runs(method.name, [average_items(run, one.sources) for run in done])
            for name in ("scores", "failures", "seconds", "passes", "runs", "scales"):
                getattr(rows, name).update(getattr(row, name))
            if fits:
                spread[method.name] = fits
            figures = [self.stages.prompts(one, space, method, seed) for seed in self.stages.seeds(method)]
            if all(figures):
                prompts[method.name] = {key: sum(f[key] for f in figures) / len(figures) for key in figures[0]}
        shares = [sum(p == t for p, t in zip(found, labels, strict=True)) / len(labels) for found in predicted]
        accuracy = dict(zip(("network", "judge"), shares, strict=False))
        network = self.settings.network if self.settings.classifier is None else "own classifier"
        return Table(
            self.settings.data, one.condition, space, network, rows, spread, accuracy, notes, prompts,
            self.stages.data.published,
        )  # fmt: skip

    def _samples(self, sets: Sequence[TestSet]) -> list[Explanation]:
        """L-MAC, or else the loudest cells, on one clip of every condition."""
        stages, space = self.stages, self.settings.spaces[0]
        method = METHODS["energy"]
        asked = [m.key for m in choose_methods(self.settings.methods)]
        if "lmac" in asked and stages.fit(METHODS["lmac"], space, 0)[1] is None:
            method = METHODS["lmac"]
        chosen = stages.explainer(method, space, 0)
        samples = []
        for one in sets:
            item = one.items[len(one.items) // 2]
            waveform, label = one.data[item]
            name = f"{one.condition}: {one.manifest.items[item].clip} ({one.data.labels[label]})"
            samples.append(chosen.explain(waveform, names=[name]))
        return samples


def _left_out(one: TestSet, predicted: Sequence[int], labels: Sequence[int]) -> list[str]:
    """Why measures of known parts are undefined for some items."""
    wrong = sum(predicted[i] != labels[i] for i in one.items)
    own = sum(predicted[i] == labels[i] and one.same[i] for i in one.items)
    if one.condition == "id" or not wrong + own:
        return []
    return [
        f"Measures of known parts leave out {wrong} of {len(one.items)} item(s), which the network names wrongly"
        + (f", and {own} in which the clip meets one of its own class." if own else ".")
    ]
