"""The torchmetrics classes: the functions' means, options and directions, empty masks, copies, two processes."""

import inspect
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from every_metric import batches, given, means
from torchmetrics import MetricCollection

from audioxai import metrics
from audioxai.errors import InputError
from audioxai.metrics import STANDARD, classes, functional
from audioxai.metrics.registry import CLASSES

HERE = Path(__file__).parent
#: What there was before the classes were made from the registry: a metric may come, none may go.
NAMES = """AverageDrop AverageGain AverageIncrease Complexity DeletionAUC ExplanationMetrics Faithfulness Infidelity
    InputFidelity InsertionAUC InterferenceGain MaskAUC MaskMean MaxSensitivity PointingGame RatioMaskOverlap SISDR
    Sparseness"""


def test_means_of_the_functions():
    found, undefined = means(batches()), 0
    for name, entry in CLASSES.items():
        values = torch.cat([entry.measure(*given(entry.function, part)) for part in batches()])
        assert found[name] == pytest.approx(float(values.double().nanmean()), rel=1e-6), name
        undefined += int(values.isnan().sum())
    assert undefined >= 6  # the empty mask has no sparseness and no complexity, but spoils no mean


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_has_the_words_and_arguments_of_its_function(name):
    kind, entry = getattr(metrics, name), CLASSES[name]
    assert kind.__doc__.startswith(
        f"Mean {entry.name}, by :func:`audioxai.metrics.functional.{entry.function.__name__}`"
    )
    assert inspect.getdoc(entry.function).split("\n\nArgs")[0] in kind.__doc__
    assert kind.higher_is_better == {1: True, -1: False, 0: None}[entry.direction]
    parameters = inspect.signature(entry.function).parameters.values()
    options = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    assert list(inspect.signature(kind).parameters) == [*options, "torchmetrics"]
    updated = [one.name for one in parameters if one.name not in options]
    assert list(inspect.signature(kind.update).parameters) == ["self", *updated]
    made = kind()
    assert made.options == options
    for option, value in options.items():
        assert getattr(kind(**{option: value}), option) == value


@pytest.mark.parametrize("name", CLASSES)
def test_copies_go_on_from_the_same_state(name):
    made, part = getattr(metrics, name)(), batches()[0]
    arguments = given(CLASSES[name].function, part)
    made.update(*arguments)
    for other in (made.clone(), pickle.loads(pickle.dumps(made))):
        assert type(other) is type(made)
        other.update(*arguments)
        assert float(other.compute()) == pytest.approx(float(made.compute()), rel=1e-9)
        assert (float(other.count), float(made.count)) == (2, 1)
    made.reset()
    assert math.isnan(float(made.total / made.count))


def test_options_reach_the_function():
    part = batches()[0]
    for made, name, options in (
        (metrics.AverageDrop, "average_drop", {"reference": True}),
        (metrics.Complexity, "complexity", {"relative": True}),
        (metrics.DeletionAUC, "deletion_auc", {"steps": 3}),
        (metrics.MaxSensitivity, "max_sensitivity", {"radius": 0.1, "samples": 2, "seed": 1}),
    ):
        function = getattr(functional, name)
        arguments = given(function, part)
        assert float(made(**options)(*arguments)) == pytest.approx(float(function(*arguments, **options).mean()))
    halves = part["probs"] / 2, part["probs_kept"] / 2
    with pytest.raises(InputError, match="multilabel=True"):
        metrics.AverageGain()(*halves)
    target = torch.tensor([1])
    expected = functional.average_gain(*halves, target, multilabel=True)
    assert float(metrics.AverageGain(multilabel=True)(*halves, target)) == pytest.approx(float(expected))


def test_a_collection_gives_each_what_it_takes():
    part = batches()[1]
    both = MetricCollection({"AD": metrics.AverageDrop(), "FF": metrics.Faithfulness()})
    found = both(probs=part["probs"], probs_kept=part["probs_kept"], probs_removed=part["probs_removed"])
    for name in ("AD", "FF"):
        function = metrics.METRICS[name].function
        assert float(found[name]) == pytest.approx(float(function(*given(function, part)).mean()))


def test_names():
    assert set(NAMES.split()) <= set(classes.__all__) == {*CLASSES, "ExplanationMetrics"}


def test_what_there_is_not():
    for place in (metrics, classes):
        with pytest.raises(AttributeError, match="AverageRise"):
            place.AverageRise  # noqa: B018
    with pytest.raises(AttributeError, match="'mask_average'; nearest: 'mask_"):
        functional.mask_average  # noqa: B018
    with pytest.raises(ValueError, match="refrence"):
        metrics.AverageDrop(refrence=True)


def test_explanations_share_their_passes():
    import networks

    import audioxai as ax

    classifier = networks.log_mel_cnn()
    passes = []
    classifier.network.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    clips = networks.clips(5, 4000)
    clips[4] = 0
    collected = metrics.ExplanationMetrics()
    for part in clips.split(2):
        collected.update(ax.GradCAM(classifier).explain(part))
    classifier.layers  # noqa: B018 - found already
    assert sum(passes[-9:]) == 15  # three passes a clip, and no more
    found = collected.compute()
    expected = ax.evaluate({"cam": ax.GradCAM(classifier)}, list(clips.split(2)))
    for name in STANDARD:
        assert float(found[name]) == pytest.approx(expected.mean("cam", name), rel=1e-5), name
        assert int(found[f"{name} undefined"]) == expected.undefined("cam", name), name


def test_two_processes_give_the_numbers_of_one(tmp_path):
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29617"]
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*run, HERE / "two_metrics.py", tmp_path],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = means(batches())
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found == pytest.approx(expected, rel=1e-9)
