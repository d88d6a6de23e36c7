"""The stages of a benchmark: networks, fits, predictions, scores. Each makes its result, or finds it in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from audioxai.benchmark.budget import within_budget
from audioxai.benchmark.evaluation_sets import TestSet
from audioxai.benchmark.methods import METHODS, Method
from audioxai.benchmark.networks import (
    SAVE_EVERY,
    check_labels,
    halving,
    predict,
    trained_network,
    training_identity,
    training_loader,
)
from audioxai.benchmark.protocol import BenchmarkData
from audioxai.benchmark.run_files import Store
from audioxai.benchmark.settings import Settings
from audioxai.benchmark.timing import NetworkClock, network_clock
from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.zero_shot import ZeroShotClassifier
from audioxai.errors import ClassifierError, ConfigError, InputError
from audioxai.explainers import Explainer, LearnedExplainer
from audioxai.metrics import GROUND_TRUTH, PROMPT_FIGURES, SOUND, STANDARD, Results, evaluate, prompt_figures
from audioxai.version import __version__

__all__ = ["Stages"]

_METRICS = (*STANDARD, *SOUND, "AD published", "SPS published")
_BATCH = 16
_ROWS = {"cuda": 128}  # in a forward pass of an evaluation, in place of _BATCH: a GPU wants long ones
_OF_BUDGET = 0.9  # the rest goes into starting, this timing, and pages
_CANNOT = (ClassifierError, ConfigError, InputError)  # a method that does not suit the network or the space


class Stages:
    """What a run is made of.

    Methods that take ``wait`` raise :class:`audioxai.benchmark.run_files.BusyError` with ``wait=False`` where another
    process is making the same, or what it hangs on.

    Args:
        settings: what to do.
        store: keeps the results.
        data: clips.
        device: of networks and explainers.
        say: called with a line for each stage that is made.
    """

    classifier: AudioClassifier
    judges: list[AudioClassifier]

    def __init__(
        self, settings: Settings, store: Store, data: BenchmarkData, device: torch.device, say: Callable[[str], None]
    ) -> None:
        self.settings, self.store, self.data, self.device, self.say = settings, store, data, device, say
        self.trained_on = training_identity(data)
        self._latest: tuple[tuple[str, str, int], Explainer] | None = None

    # Networks -----------------------------------------------------------------------------------------------------

    def train(self, seed: int, *, wait: bool = True) -> AudioClassifier:
        """The network of a seed."""
        s = self.settings
        return trained_network(
            self.store, self.data, s.network, seed, epochs=s.classifier_epochs, device=self.device,
            trained_on=self.trained_on, precision=s.precision, batch=_BATCH, say=self.say, wait=wait,
        )  # fmt: skip

    def take_networks(self) -> None:
        """The network that is explained and the one that judges, or the caller's own."""
        own = self.settings.classifier
        if own is not None:
            check_labels(own, self.data.train.labels)
            self.classifier, self.judges = own.to(self.device).eval(), []
        else:
            self.classifier, self.judges = self.train(0), [self.train(1)]
        self.networks = [network.identity() for network in (self.classifier, *self.judges)]

    # Explainers ---------------------------------------------------------------------------------------------------

    def seeds(self, method: Method) -> range:
        """Of a method's fits."""
        return range(self.settings.seeds if method.learned else 1)

    def fit(self, method: Method, space: str, seed: int, *, wait: bool = True) -> tuple[Path, str | None]:
        """Where the fit of a learned method is kept, and the reason if there is none."""
        s = self.settings
        inputs = method.identity(space, seed) | {
            "network": self.networks[0], "data": self.trained_on, "epochs": s.epochs, "precision": s.precision,
            "version": __version__,
        }  # fmt: skip
        before: Path | None = None
        if method.start is not None:
            before, reason = self.fit(METHODS[method.start], space, seed, wait=wait)
            if reason is not None:
                return before, reason
            inputs["start"] = before.name
        what = f"fit {method.name}, {space}, seed {seed}"

        def work(place: Path) -> dict[str, Any]:
            self.say(what)
            clock = NetworkClock()

            def attempt(batch: int) -> None:
                checkpoint = place.with_suffix(f".checkpoint-{batch}.safetensors")
                fresh = (
                    method.build(self.classifier, space, seed)
                    if before is None
                    else self._load(method, before, **method.options)
                )
                assert isinstance(fresh, LearnedExplainer)
                method.learn(
                    fresh, training_loader(self.data, self.device, batch), epochs=s.epochs, checkpoint=checkpoint,
                    checkpoint_seconds=SAVE_EVERY, precision=s.precision, progress=False,
                )  # fmt: skip
                fresh.save_pretrained(place)
                checkpoint.unlink(missing_ok=True)

            try:
                with network_clock(self.classifier, clock):
                    halving(attempt, _BATCH, self.say)
            except _CANNOT as error:
                return {"reason": f"{type(error).__name__}: {error}"}
            return {"inside": clock.seconds}

        place, facts = self.store.make("fits", what, inputs, work, wait=wait)
        return place, facts.get("reason")

    def explainer(self, method: Method, space: str, seed: int) -> Explainer:
        """Ready to explain; the latest is kept.

        Raises:
            ClassifierError, ConfigError: it does not suit the network or the space.
        """
        key = method.key, space, seed
        if self._latest is None or self._latest[0] != key:
            self._latest = None  # makes room
            made: Explainer
            if method.learned:
                place, reason = self.fit(method, space, seed)
                if reason is not None:
                    raise ConfigError(reason)
                made = self._load(method, place)
            else:
                made = method.build(self.classifier, space, seed)
            self._latest = key, made
        return self._latest[1]

    def _load(self, method: Method, place: Path, **options: Any) -> LearnedExplainer:
        assert issubclass(method.explainer, LearnedExplainer)
        return method.explainer.from_pretrained(place, classifier=self.classifier, **options)

    # Evaluations --------------------------------------------------------------------------------------------------

    def predictions(self, one: TestSet) -> dict[str, Any]:
        """Predicted classes of all items of a test set, by the network and by the judge."""

        def work(_place: Path) -> dict[str, Any]:
            found = [predict(network, one.data) for network in (self.classifier, *self.judges)]
            return {"predicted": found, "labels": one.data.classes}

        inputs = {"set": one.identity, "networks": self.networks, "version": __version__}
        return self.store.make("predictions", f"predict {one.condition}", inputs, work)[1]

    def scores(self, one: TestSet, space: str, method: Method, seed: int, *, wait: bool = True) -> Results | str:
        """Scores of a method on a test set, or the reason why there are none."""
        fit = None
        if method.learned:
            place, reason = self.fit(method, space, seed, wait=wait)
            if reason is not None:
                return reason
            fit = place.name
        metrics = _METRICS if one.condition == "id" else (*_METRICS, *GROUND_TRUTH)
        inputs = method.identity(space, seed) | {
            "fit": fit, "set": one.identity, "networks": self.networks, "metrics": list(metrics),
            "version": __version__,
        }  # fmt: skip
        what = f"{one.condition}, {space}, {method.name}" + (f", seed {seed}" if method.learned else "")

        def work() -> tuple[Results, Mapping[str, Any]] | str:
            self.say(what)
            clock = NetworkClock()
            try:
                explainer = self.explainer(method, space, seed)

                def attempt(batch: int) -> Results:
                    explainer.max_batch = batch
                    return evaluate({method.name: explainer}, one.batches(batch), metrics=metrics, judges=self.judges)

                with network_clock(self.classifier, clock):
                    found = halving(attempt, _ROWS.get(self.device.type, _BATCH), self.say)
                return found, {"inside": clock.seconds}
            except _CANNOT as error:
                return f"{type(error).__name__}: {error}"

        return self.store.scores(what, inputs, work, wait=wait)

    def prompts(self, one: TestSet, space: str, method: Method, seed: int, *, wait: bool = True) -> dict[str, float]:
        """Prompt sensitivity of a method on some clips of a test set; empty for other networks and without a fit."""
        if not isinstance(self.classifier, ZeroShotClassifier) or not self.settings.prompt_clips:
            return {}
        fit = None
        if method.learned:
            place, reason = self.fit(method, space, seed, wait=wait)
            if reason is not None:
                return {}
            fit = place.name
        few = one.fewer(self.settings.prompt_clips)
        inputs = method.identity(space, seed) | {
            "fit": fit, "set": few.identity, "network": self.networks[0], "version": __version__,
        }  # fmt: skip
        what = f"{one.condition}, {space}, {method.name}" + (f", seed {seed}" if method.learned else "") + ", prompts"

        def work(_place: Path) -> dict[str, Any]:
            self.say(what)
            absent = {i: name for i in few.items if (name := few.absent(i)) is not None}
            if not absent:
                return {"reason": "every class is heard in every clip"}
            clips = torch.stack([few.data[i][0] for i in absent]).to(self.device)
            right, wrong = [few.manifest.items[i].label for i in absent], list(absent.values())
            try:
                explainer = self.explainer(method, space, seed)
                return prompt_figures(explainer, clips, right, wrong, few.data.labels)
            except _CANNOT as error:
                return {"reason": f"{type(error).__name__}: {error}"}

        found = self.store.make("prompts", what, inputs, work, wait=wait)[1]
        return {name: found[name] for name in PROMPT_FIGURES if name in found}

    # Budget -------------------------------------------------------------------------------------------------------

    def plan(self, minutes: float, sets: Sequence[TestSet], methods: Sequence[Method]) -> dict[str, Any]:
        """Which clips and methods fit into the minutes; decided once."""
        s = self.settings
        fits = [
            self.fit(m, space, seed)[0] for m in methods if m.learned for space in s.spaces for seed in self.seeds(m)
        ]
        inputs = {
            "budget": minutes, "methods": [m.key for m in methods], "spaces": list(s.spaces), "seeds": s.seeds,
            "sets": [one.identity for one in sets], "networks": self.networks, "device": self.device.type,
            "fits": sorted(place.name for place in fits),
        }  # fmt: skip

        def decide(_place: Path) -> dict[str, Any]:
            spent = sum(float(facts["seconds"]) for _, _, facts, _ in self.store.log.values())
            costs = {m.key: self._seconds_per_clip(m, sets[0]) for m in methods}
            return within_budget(_OF_BUDGET * 60 * minutes * s.workers - spent, costs, len(sets))

        return self.store.make("plans", "plan for the budget", inputs, decide)[1]

    def _seconds_per_clip(self, method: Method, one: TestSet) -> float:
        """Of all its spaces and seeds, timed on two clips after one that warms up."""
        clips = torch.stack([one.data[i][0] for i in one.items[:3]])
        seconds = 0.0
        for space in self.settings.spaces:
            try:
                explainer = self.explainer(method, space, 0)
                evaluate([explainer], [clips[:1]], judges=self.judges)
                start = time.perf_counter()
                evaluate([explainer], [clips[1:]], judges=self.judges)
                seconds += (time.perf_counter() - start) / max(1, len(clips) - 1)
            except _CANNOT:
                continue
        return seconds * len(self.seeds(method))
