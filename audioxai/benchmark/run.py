"""The runner: from a data set's folder to tables, in stages that are kept and never done twice."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audioxai.benchmark.clock import NetworkClock, network_clock
from audioxai.benchmark.methods import CONTROLS, METHODS, Method, choose_methods
from audioxai.benchmark.networks import check_labels, halving, predict, trained_network, training_loader
from audioxai.benchmark.processes import Processes
from audioxai.benchmark.protocol import BenchmarkData, load_data
from audioxai.benchmark.report import Report
from audioxai.benchmark.settings import Settings
from audioxai.benchmark.store import Store, key_of
from audioxai.benchmark.tables import Table, average_runs
from audioxai.classifier import AudioClassifier
from audioxai.data import Manifest, ManifestDataset
from audioxai.explainers import Explainer, LearnedExplainer
from audioxai.explanation import Explanation
from audioxai.metrics import GROUND_TRUTH, STANDARD, Results, evaluate
from audioxai.version import __version__

__all__ = ["run"]

#: Fitted explainers by method, space and seed.
Fits = Mapping[tuple[str, str, int], Explainer]
_METRICS = (*STANDARD, "AD published", "SPS published")
_BATCH = 16
_FEWEST = 10  # clips that a budget may leave


def run(settings: Settings, say: Callable[[str], None] = print, *, command: str | None = None) -> Report | None:
    """Train or load the networks, fit the learned explainers, evaluate everything, write the tables.

    Every stage is kept in ``settings.out`` under a key of all that it depends on: a run that was killed at any point
    goes on, and a changed setting redoes only what hangs on it. Under ``accelerate launch`` fits run on all devices and
    the evaluations are shared out among the processes; all but the first return ``None``.

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


@dataclass(frozen=True)
class _TestSet:
    """A condition's manifest and audio, and which of its items are explained."""

    condition: str
    manifest: Manifest
    data: ManifestDataset
    items: list[int]

    def batches(self) -> list[dict[str, Tensor]]:
        clips = torch.stack([self.data[i][0] for i in self.items])
        if self.condition == "id":
            return [{"waveform": part} for part in torch.split(clips, _BATCH)]
        stems = torch.stack([self.data.stems(i)[0] for i in self.items])
        return [
            {"waveform": w, "stem": s}
            for w, s in zip(torch.split(clips, _BATCH), torch.split(stems, _BATCH), strict=True)
        ]

    def identity(self) -> dict[str, Any]:
        frozen = asdict(self.manifest) | {"name": None}
        return {"manifest": key_of(json.loads(json.dumps(frozen, default=dict))), "items": self.items}


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
        digest = key_of(dict(data.manifest("id").files) | dict(_hashes(data)))
        self.classifier, self.judges = self._networks(data, digest)
        sets = [self._test_set(data, condition) for condition in s.conditions]
        methods = choose_methods(s.methods)
        fits = self._fits(data, methods, digest)
        sets, methods, notes = self._within_budget(sets, methods, fits)
        accuracy = {one.condition: self._accuracy(one) for one in sets}
        scores = self._scores(sets, methods, fits)
        self.group.wait()
        if not self.group.first:
            return None
        tables = [
            self._table(one, space, methods, scores, accuracy[one.condition], notes)
            for one in sets
            for space in s.spaces
        ]
        return Report(tables, self._facts(data, command), self._samples(sets, fits), s.out)

    # Stages -------------------------------------------------------------------------------------------------------

    def _data(self) -> BenchmarkData:
        s = self.settings
        rate = 16000 if s.classifier is None else s.classifier.sample_rate
        return load_data(
            s.data, s.root, speech=s.speech, noise=s.noise, labels=s.labels, conditions=s.conditions,
            sample_rate=rate, seconds=s.seconds, cache=s.out / "clips", skip_bad=s.skip_bad,
        )  # fmt: skip

    def _networks(self, data: BenchmarkData, digest: str) -> tuple[AudioClassifier, list[AudioClassifier]]:
        s = self.settings
        if s.classifier is not None:
            check_labels(s.classifier, data.train.labels)
            return s.classifier.to(self.device).eval(), []
        first, judge = (
            trained_network(
                self.store, data, s.network, seed, epochs=s.classifier_epochs, device=self.device, digest=digest,
                precision=s.precision, batch=self.batch, say=self.say,
            )
            for seed in (0, 1)
        )  # fmt: skip
        return first, [judge]

    def _test_set(self, data: BenchmarkData, condition: str) -> _TestSet:
        s = self.settings
        if s.manifests is None:
            manifest, check = data.manifest(condition, per_clip=s.per_clip), False
        else:
            manifest, check = Manifest.load(s.manifests / f"{condition}.json"), True
        if self.group.first:
            manifest.save(s.out / "manifests" / f"{condition}.json")
        made = data.test_set(manifest, check=check)
        return _TestSet(condition, manifest, made, _spread_out(made.classes, s.clips))

    def _fits(self, data: BenchmarkData, methods: Sequence[Method], digest: str) -> Fits:
        s = self.settings
        fitted: dict[tuple[str, str, int], Explainer] = {}
        for method in (m for m in methods if m.learned):
            for space in s.spaces:
                for seed in range(s.seeds):
                    explainer = method.build(self.classifier, space, seed)
                    assert isinstance(explainer, LearnedExplainer)
                    inputs = method.identity(space, seed) | explainer._identity() | {
                        "data": digest, "epochs": s.epochs, "precision": s.precision, "version": __version__,
                    }  # fmt: skip
                    what = f"fit {method.name}, {space}, seed {seed}"

                    def fit(place: Path, one: LearnedExplainer = explainer, what: str = what) -> dict[str, Any]:
                        self.say(what)

                        def attempt(batch: int) -> None:
                            checkpoint = place.with_suffix(f".checkpoint-{batch}.safetensors")
                            one.fit(
                                training_loader(data, self.device, batch), epochs=s.epochs, checkpoint=checkpoint,
                                precision=s.precision, progress=False,
                            )  # fmt: skip
                            one.save_pretrained(place)
                            checkpoint.unlink(missing_ok=True)

                        with network_clock(self.classifier, self.clock):
                            halving(attempt, self.batch, self.say)
                        return {}

                    place, _ = self.store.make("fits", what, inputs, fit)
                    fitted[method.key, space, seed] = type(explainer).from_pretrained(
                        place, classifier=self.classifier, max_batch=explainer.max_batch
                    )
        return fitted

    def _within_budget(
        self, sets: list[_TestSet], methods: list[Method], fits: Fits
    ) -> tuple[list[_TestSet], list[Method], list[str]]:
        """Fewer clips, then fewer methods, if all of it would take longer than the budget; kept, so that a run that
        goes on decides alike."""
        s = self.settings
        if s.budget is None:
            return sets, methods, []
        inputs = {
            "budget": s.budget, "methods": [m.key for m in methods], "spaces": list(s.spaces), "seeds": s.seeds,
            "sets": [one.identity() for one in sets], "classifier": self.classifier.fingerprint(),
            "device": self.device.type, "epochs": s.epochs,
        }  # fmt: skip

        def decide(place: Path) -> dict[str, Any]:
            spent = sum(seconds for _, _, seconds, _ in self.store.log.values())
            costs = {m.key: self._seconds_per_clip(m, sets[0], fits) for m in methods}
            left = 60 * s.budget - spent if s.budget is not None else 0.0
            kept = dict(costs)
            while True:
                clips = int(left / (sum(kept.values()) * len(sets)))
                free = [key for key in kept if key not in CONTROLS]
                if clips >= _FEWEST or not free:
                    break
                del kept[max(free, key=lambda key: kept[key])]
            return {"clips": max(clips, _FEWEST), "methods": list(kept), "seconds per clip": costs}

        _, plan = self.store.make("plans", "plan for the budget", inputs, decide)
        left_out = [m.name for m in methods if m.key not in plan["methods"]]
        smaller = [
            replace(one, items=_spread_out(one.data.classes, min(plan["clips"], len(one.items)))) for one in sets
        ]
        notes = []
        if len(smaller[0].items) < len(sets[0].items):
            notes.append(
                f"Budget of {s.budget:g} minutes: {len(smaller[0].items)} of {len(sets[0].items)} clips, spread evenly "
                "over the classes."
            )
        if left_out:
            notes.append(f"Left out for the budget of {s.budget:g} minutes: {', '.join(left_out)}.")
        return smaller, [m for m in methods if m.key in plan["methods"]], notes

    def _seconds_per_clip(self, method: Method, one: _TestSet, fits: Fits) -> float:
        """Of all its spaces and seeds, timed on two clips after one that warms up."""
        clips = torch.stack([one.data[i][0] for i in one.items[:3]])
        seconds = 0.0
        for space in self.settings.spaces:
            explainer = fits.get((method.key, space, 0)) or method.build(self.classifier, space)
            evaluate([explainer], [clips[:1]], judges=self.judges)
            start = time.perf_counter()
            evaluate([explainer], [clips[1:]], judges=self.judges)
            seconds += (time.perf_counter() - start) / max(1, len(clips) - 1)
        return seconds * (self.settings.seeds if method.learned else 1)

    def _accuracy(self, one: _TestSet) -> dict[str, Any]:
        """Predicted classes of all items of a test set, by the network and by the judge."""
        inputs = {
            "set": one.identity(), "classifier": self.classifier.fingerprint(),
            "judges": [judge.fingerprint() for judge in self.judges],
        }  # fmt: skip

        def work(place: Path) -> dict[str, Any]:
            found = [predict(network, one.data) for network in (self.classifier, *self.judges)]
            return {"predicted": found, "labels": one.data.classes}

        return self.store.make("predictions", f"predict {one.condition}", inputs, work)[1]

    def _scores(
        self, sets: Sequence[_TestSet], methods: Sequence[Method], fits: Fits
    ) -> Callable[[_TestSet, str, Method, int], Results]:
        """Evaluate what is missing; gives a reader of the scores."""
        s = self.settings
        jobs = [
            (one, space, method, seed)
            for one in sets
            for space in s.spaces
            for method in methods
            for seed in range(s.seeds if method.learned else 1)
        ]

        def read(one: _TestSet, space: str, method: Method, seed: int) -> Results:
            explainer = fits.get((method.key, space, seed)) or method.build(self.classifier, space, seed)
            fitted = explainer._identity() if isinstance(explainer, LearnedExplainer) else {}
            inputs = method.identity(space, seed) | fitted | {
                "set": one.identity(), "classifier": self.classifier.fingerprint(), "metrics": list(_METRICS),
                "judges": [judge.fingerprint() for judge in self.judges], "version": __version__,
                "fit": [s.epochs, s.precision] if fitted else None,
            }  # fmt: skip
            what = f"{one.condition}, {space}, {method.name}" + (f", seed {seed}" if method.learned else "")

            def work() -> Results:
                self.say(what)
                metrics = _METRICS if one.condition == "id" else (*_METRICS, *GROUND_TRUTH)

                def attempt(batch: int) -> Results:
                    explainer.max_batch = batch
                    return evaluate({method.name: explainer}, one.batches(), metrics=metrics, judges=self.judges)

                with network_clock(self.classifier, self.clock):
                    return halving(attempt, explainer.max_batch, self.say)

            return self.store.scores(what, inputs, work)

        for number, job in enumerate(jobs):
            if self.group.mine(number):
                read(*job)
        return read

    # What comes of it ---------------------------------------------------------------------------------------------

    def _table(
        self,
        one: _TestSet,
        space: str,
        methods: Sequence[Method],
        scores: Callable[[_TestSet, str, Method, int], Results],
        predictions: Mapping[str, Any],
        notes: Sequence[str],
    ) -> Table:
        labels = predictions["labels"]
        right = torch.tensor([predictions["predicted"][0][i] == labels[i] for i in one.items])
        rows, spread = Results(), {}
        for method in methods:
            runs = [scores(one, space, method, seed) for seed in range(self.settings.seeds if method.learned else 1)]
            row, fits = average_runs(method.name, runs)
            for metric in GROUND_TRUTH:  # the clip's own part is the truth only where its class is explained
                if metric in row.scores[method.name]:
                    row.scores[method.name][metric][~right] = torch.nan
            for name in ("scores", "failures", "seconds", "passes", "runs"):
                getattr(rows, name).update(getattr(row, name))
            if fits:
                spread[method.name] = fits
        share = [
            sum(p == t for p, t in zip(found, labels, strict=True)) / len(labels) for found in predictions["predicted"]
        ]
        accuracy = dict(zip(("network", "judge"), share, strict=False))
        network = self.settings.network if self.settings.classifier is None else "own classifier"
        return Table(self.settings.data, one.condition, space, network, rows, spread, accuracy, notes)

    def _samples(self, sets: Sequence[_TestSet], fits: Fits) -> list[Explanation]:
        """L-MAC, or else GradCAM, on one clip of every condition."""
        space = self.settings.spaces[0]
        chosen = fits.get(("lmac", space, 0)) or METHODS["gradcam"].build(self.classifier, space)
        found = []
        for one in sets:
            item = one.items[len(one.items) // 2]
            waveform, label = one.data[item]
            name = f"{one.condition}: {one.manifest.items[item].clip} ({one.data.labels[label]})"
            found.append(chosen.explain(waveform, names=[name]))
        return found

    def _facts(self, data: BenchmarkData, command: str | None) -> dict[str, Any]:
        kinds: dict[str, float] = {}
        for kind, _, seconds, _ in self.store.log.values():
            kinds[kind] = kinds.get(kind, 0.0) + seconds
        made = sum(
            seconds for kind, _, seconds, fresh in self.store.log.values() if fresh and kind in ("fits", "scores")
        )
        gpu = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None
        return {
            "command": command,
            "audioxai": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": gpu or f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
            "folds": data.folds,
            "seconds of this run": round(time.perf_counter() - self.start, 1),
            "seconds of all stages, kept ones included": {kind: round(value, 1) for kind, value in kinds.items()},
            "share of this run's fits and evaluations inside the classifier, at least": (
                round(self.clock.seconds / made, 3) if made else None
            ),
        }


def _spread_out(classes: Sequence[int], count: int | None) -> list[int]:
    """At most ``count`` items, spread evenly over the classes, in the order of the set."""
    if count is None or count >= len(classes):
        return list(range(len(classes)))
    order = sorted(range(len(classes)), key=lambda i: (classes[i], i))
    return sorted(order[k * len(order) // count] for k in range(count))


def _hashes(data: BenchmarkData) -> Mapping[str, str]:
    from audioxai.data.download import sha256_of

    return {name: sha256_of(file) for name, file in zip(data.train.names, data.train.files, strict=True)}
