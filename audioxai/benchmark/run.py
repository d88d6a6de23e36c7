"""The runner: from a data set's folder to tables, in stages that are kept and never done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from audioxai.benchmark.budget import within_budget
from audioxai.benchmark.clock import NetworkClock, network_clock
from audioxai.benchmark.facts import machine, time_spent
from audioxai.benchmark.methods import METHODS, Method, choose_methods
from audioxai.benchmark.networks import (
    check_labels,
    halving,
    identity_of,
    predict,
    trained_network,
    training_identity,
    training_loader,
)
from audioxai.benchmark.processes import Processes
from audioxai.benchmark.protocol import BenchmarkData, load_data
from audioxai.benchmark.report import Report
from audioxai.benchmark.sets import TestSet, make_set
from audioxai.benchmark.settings import Settings
from audioxai.benchmark.store import Store
from audioxai.benchmark.tables import Table, average_items, average_runs
from audioxai.classifier import AudioClassifier
from audioxai.errors import ClassifierError, ConfigError, InputError
from audioxai.explainers import Explainer, LearnedExplainer
from audioxai.explanation import Explanation
from audioxai.metrics import GROUND_TRUTH, STANDARD, Results, evaluate
from audioxai.version import __version__

__all__ = ["run"]

#: An explainer with the key of its fit, or the reason why the method does not work here; by method, space and seed.
Built = dict[tuple[str, str, int], "tuple[Explainer, str | None] | str"]
_METRICS = (*STANDARD, "AD published", "SPS published")
_BATCH = 16
_CANNOT = (ClassifierError, ConfigError, InputError)  # a method that does not suit the network or the space


def run(settings: Settings, say: Callable[[str], None] = print, *, command: str | None = None) -> Report | None:
    """Train or load the networks, fit the learned explainers, evaluate everything, write the tables.

    Every stage is kept in ``settings.out`` under a key of all that it depends on: a run that was killed at any point
    goes on, and a changed setting redoes only what hangs on it. Code is known by the package's version alone: after a
    change in it, or in a network of your own, take another folder. Under ``accelerate launch`` fits run on all devices
    and the evaluations are shared out among the processes; all but the first return ``None``.

    Args:
        settings: what to do.
        say: called with a line for each stage that is made.
        command: what a reader types to make it again, for the tables.

    Raises:
        ConfigError: an unknown name, or settings out of range.
        AudioFileError: data that are missing or bad.
        OutputError: another run is at work in the folder, or it cannot be written.
    """
    group = Processes()
    store = Store(settings.out)
    if not group.first:
        group.wait()
        return _Run(settings, store, group, lambda _line: None).work(command)
    with store.locked():
        group.wait()
        return _Run(settings, store, group, say).work(command)


class _Run:
    def __init__(self, settings: Settings, store: Store, group: Processes, say: Callable[[str], None]) -> None:
        self.settings, self.store, self.group, self.say = settings, store, group, say
        self.start = time.perf_counter()
        self.device = group.device(settings.device)
        self.clock = NetworkClock()
        self.batch = max(1, _BATCH // group.count)  # of one process, so that all together learn as one would

    def work(self, command: str | None) -> Report | None:
        s = self.settings
        data = self._data()
        self.say(f"{s.data}: {len(data.train)} clips to train on, {len(data.test)} to explain; on {self.device}")
        for file, reason in (*data.train.bad, *data.test.bad):
            self.say(f"left out {str(file)!r}: {reason}")
        sets = [make_set(data, condition, s.per_clip, s.clips, s.manifests) for condition in s.conditions]
        if self.group.first:
            for one in sets:
                one.manifest.save(s.out / "manifests" / f"{one.condition}.json")
        trained_on = training_identity(data)
        self.classifier, self.judges = self._networks(data, trained_on)
        self.networks = [identity_of(network) for network in (self.classifier, *self.judges)]
        methods = choose_methods(s.methods)
        built = self._build(data, methods, trained_on)
        notes: list[str] = []
        if s.budget is not None:
            sets, methods, notes = self._within_budget(s.budget, sets, methods, built)
        predictions = {one.condition: self._predictions(one) for one in sets}
        self._evaluate(sets, methods, built)
        self.group.wait()
        if not self.group.first:
            return None
        if s.classifier is not None:
            notes.append("The network is your own: it may have been trained on clips that are explained here.")
        tables = [
            self._table(one, space, methods, built, predictions[one.condition], notes)
            for one in sets
            for space in s.spaces
        ]
        facts = {"command": command, **machine(self.device), "processes": self.group.count, "folds": data.folds}
        facts |= time_spent(self.store, self.clock, time.perf_counter() - self.start)
        return Report(tables, facts, self._samples(sets, built), s.out)

    # Stages -------------------------------------------------------------------------------------------------------

    def _data(self) -> BenchmarkData:
        s = self.settings
        rate = 16000 if s.classifier is None else s.classifier.sample_rate
        return load_data(
            s.data, s.root, speech=s.speech, noise=s.noise, labels=s.labels, conditions=s.conditions,
            sample_rate=rate, seconds=s.seconds, cache=s.out / "clips", skip_bad=s.skip_bad,
        )  # fmt: skip

    def _networks(self, data: BenchmarkData, trained_on: str) -> tuple[AudioClassifier, list[AudioClassifier]]:
        s = self.settings
        if s.classifier is not None:
            check_labels(s.classifier, data.train.labels)
            return s.classifier.to(self.device).eval(), []
        first, judge = (
            trained_network(
                self.store, data, s.network, seed, epochs=s.classifier_epochs, device=self.device,
                trained_on=trained_on, precision=s.precision, batch=self.batch, say=self.say,
            )
            for seed in (0, 1)
        )  # fmt: skip
        return first, [judge]

    def _build(self, data: BenchmarkData, methods: Sequence[Method], trained_on: str) -> Built:
        """Every method in every space, fitted where it learns."""
        built: Built = {}
        for method in methods:
            for space in self.settings.spaces:
                for seed in self._seeds(method):
                    try:
                        explainer = method.build(self.classifier, space, seed)
                        if method.learned:
                            built[method.key, space, seed] = self._fit(data, method, _learned(explainer), trained_on)
                        else:
                            built[method.key, space, seed] = explainer, None
                    except _CANNOT as error:
                        built[method.key, space, seed] = f"{type(error).__name__}: {error}"
        return built

    def _fit(
        self, data: BenchmarkData, method: Method, explainer: LearnedExplainer, trained_on: str
    ) -> tuple[Explainer, str]:
        s, space, seed = self.settings, explainer.space.name, explainer.seed
        inputs = method.identity(space, seed) | {
            "network": self.networks[0], "data": trained_on, "epochs": s.epochs, "precision": s.precision,
            "version": __version__,
        }  # fmt: skip
        what = f"fit {method.name}, {space}, seed {seed}"
        before: Path | None = None
        if method.start is not None:
            first = METHODS[method.start]
            _, key = self._fit(data, first, _learned(first.build(self.classifier, space, seed)), trained_on)
            inputs["start"], before = key, self.store.folder / "fits" / key

        def fit(place: Path) -> None:
            self.say(what)

            def attempt(batch: int) -> None:
                checkpoint = place.with_suffix(f".checkpoint-{batch}.safetensors")
                fresh = explainer if before is None else self._load(explainer, before, **method.options)
                method.learn(
                    fresh, training_loader(data, self.device, batch), epochs=s.epochs, checkpoint=checkpoint,
                    precision=s.precision, progress=False,
                )  # fmt: skip
                fresh.save_pretrained(place)
                checkpoint.unlink(missing_ok=True)

            with network_clock(self.classifier, self.clock):
                halving(attempt, self.batch, self.say)

        place, _ = self.store.make("fits", what, inputs, fit)
        return self._load(explainer, place), place.name

    def _load(self, explainer: LearnedExplainer, place: Path, **options: Any) -> LearnedExplainer:
        options["max_batch"] = explainer.max_batch
        return type(explainer).from_pretrained(place, classifier=self.classifier, **options)

    def _within_budget(
        self, minutes: float, sets: list[TestSet], methods: list[Method], built: Built
    ) -> tuple[list[TestSet], list[Method], list[str]]:
        s = self.settings
        inputs = {
            "budget": minutes, "methods": [m.key for m in methods], "spaces": list(s.spaces), "seeds": s.seeds,
            "sets": [one.identity for one in sets], "networks": self.networks, "device": self.device.type,
            "fits": sorted(found[1] or "" for found in built.values() if not isinstance(found, str)),
        }  # fmt: skip

        def decide(_place: Path) -> dict[str, Any]:
            spent = sum(seconds for _, _, seconds, _ in self.store.log.values())
            costs = {m.key: self._seconds_per_clip(m, sets[0], built) for m in methods}
            return within_budget(60 * minutes - spent, costs, len(sets))

        if not self.group.first:  # the first process decides for all
            self.group.wait()
        _, plan = self.store.make("plans", "plan for the budget", inputs, decide)
        if self.group.first:
            self.group.wait()
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

    def _seconds_per_clip(self, method: Method, one: TestSet, built: Built) -> float:
        """Of all its spaces and seeds, timed on two clips after one that warms up."""
        clips = torch.stack([one.data[i][0] for i in one.items[:3]])
        seconds = 0.0
        for space in self.settings.spaces:
            found = built[method.key, space, 0]
            if isinstance(found, str):
                continue
            try:
                evaluate([found[0]], [clips[:1]], judges=self.judges)
                start = time.perf_counter()
                evaluate([found[0]], [clips[1:]], judges=self.judges)
                seconds += (time.perf_counter() - start) / max(1, len(clips) - 1)
            except _CANNOT:
                continue
        return seconds * len(self._seeds(method))

    def _predictions(self, one: TestSet) -> dict[str, Any]:
        """Predicted classes of all items of a test set, by the network and by the judge."""

        def work(_place: Path) -> dict[str, Any]:
            found = [predict(network, one.data) for network in (self.classifier, *self.judges)]
            return {"predicted": found, "labels": one.data.classes}

        inputs = {"set": one.identity, "networks": self.networks, "version": __version__}
        return self.store.make("predictions", f"predict {one.condition}", inputs, work)[1]

    def _evaluate(self, sets: Sequence[TestSet], methods: Sequence[Method], built: Built) -> None:
        """This process's share of what is missing."""
        jobs = [
            (one, space, method, seed)
            for one in sets
            for space in self.settings.spaces
            for method in methods
            for seed in self._seeds(method)
        ]
        for number, job in enumerate(jobs):
            if self.group.mine(number):
                self._scores(*job, built)

    def _scores(self, one: TestSet, space: str, method: Method, seed: int, built: Built) -> Results | str:
        """Scores, evaluated now unless they are there; or the reason why there are none."""
        found = built[method.key, space, seed]
        if isinstance(found, str):
            return found
        explainer, fit = found
        inputs = method.identity(space, seed) | {
            "fit": fit, "set": one.identity, "networks": self.networks, "metrics": list(_METRICS),
            "version": __version__,
        }  # fmt: skip
        what = f"{one.condition}, {space}, {method.name}" + (f", seed {seed}" if method.learned else "")

        def work() -> Results | str:
            self.say(what)
            metrics = _METRICS if one.condition == "id" else (*_METRICS, *GROUND_TRUTH)

            def attempt(batch: int) -> Results:
                explainer.max_batch = batch
                return evaluate({method.name: explainer}, one.batches(_BATCH), metrics=metrics, judges=self.judges)

            try:
                with network_clock(self.classifier, self.clock):
                    return halving(attempt, explainer.max_batch, self.say)
            except _CANNOT as error:
                return f"{type(error).__name__}: {error}"

        return self.store.scores(what, inputs, work)

    def _seeds(self, method: Method) -> range:
        return range(self.settings.seeds if method.learned else 1)

    # What comes of it ---------------------------------------------------------------------------------------------

    def _table(
        self,
        one: TestSet,
        space: str,
        methods: Sequence[Method],
        built: Built,
        predictions: Mapping[str, Any],
        notes: Sequence[str],
    ) -> Table:
        predicted, labels = predictions["predicted"], predictions["labels"]
        # The clip's own part is the truth only where its class is explained, and the other part is not of it too.
        truth = torch.tensor([predicted[0][i] == labels[i] and not one.same[i] for i in one.items])
        rows, spread, notes = Results(), {}, list(notes)
        for method in methods:
            runs = [self._scores(one, space, method, seed, built) for seed in self._seeds(method)]
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
            for name in ("scores", "failures", "seconds", "passes", "runs"):
                getattr(rows, name).update(getattr(row, name))
            if fits:
                spread[method.name] = fits
        shares = [sum(p == t for p, t in zip(found, labels, strict=True)) / len(labels) for found in predicted]
        accuracy = dict(zip(("network", "judge"), shares, strict=False))
        network = self.settings.network if self.settings.classifier is None else "own classifier"
        return Table(self.settings.data, one.condition, space, network, rows, spread, accuracy, notes)

    def _samples(self, sets: Sequence[TestSet], built: Built) -> list[Explanation]:
        """L-MAC, or else the loudest cells, on one clip of every condition."""
        space = self.settings.spaces[0]
        found = built.get(("lmac", space, 0))
        chosen = (
            METHODS["energy"].build(self.classifier, space) if found is None or isinstance(found, str) else found[0]
        )
        samples = []
        for one in sets:
            item = one.items[len(one.items) // 2]
            waveform, label = one.data[item]
            name = f"{one.condition}: {one.manifest.items[item].clip} ({one.data.labels[label]})"
            samples.append(chosen.explain(waveform, names=[name]))
        return samples


def _learned(explainer: Explainer) -> LearnedExplainer:
    assert isinstance(explainer, LearnedExplainer)
    return explainer
