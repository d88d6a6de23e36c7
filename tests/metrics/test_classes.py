"""The torchmetrics classes: the functions' means, directions, empty masks, two processes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audioxai import metrics
from audioxai.metrics import METRICS, STANDARD, functional

HERE = Path(__file__).parent
NAMES = {
    "AI": "AverageIncrease", "AD": "AverageDrop", "AG": "AverageGain", "FF": "Faithfulness", "Fid-In": "InputFidelity",
    "SPS": "Sparseness", "COMP": "Complexity", "MM": "MaskMean", "ratio mask": "RatioMaskOverlap",
    "pointing": "PointingGame", "mask AUC": "MaskAUC", "SIR gain": "InterferenceGain", "SI-SDR": "SISDR",
    "insertion": "InsertionAUC", "deletion": "DeletionAUC", "infidelity": "Infidelity",
}  # fmt: skip
FUNCTIONS = {
    "AI": functional.average_increase,
    "AD": functional.average_drop,
    "AG": functional.average_gain,
    "FF": functional.faithfulness,
    "Fid-In": functional.input_fidelity,
    "SPS": functional.sparseness,
    "COMP": functional.complexity,
    "MM": functional.mask_mean,
    "ratio mask": functional.ratio_mask_overlap,
    "pointing": functional.pointing_game,
    "mask AUC": functional.mask_auc,
    "SIR gain": lambda *parts: functional.interference_gain(*parts)[0],
    "SI-SDR": functional.si_sdr,
    "insertion": functional.insertion_auc,
    "deletion": functional.deletion_auc,
    "infidelity": functional.infidelity,
}
PARTS = ("ratio mask", "pointing", "mask AUC", "SIR gain")


def batches():
    """Four batches of unequal size: probabilities of the clip, kept and removed, and masks, one of them empty."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for size in (1, 4, 2, 3):
        p, kept, removed = torch.rand(3, size, 5, generator=generator).softmax(2)
        mask = torch.rand(size, 6, 7, generator=generator)
        mask[0] *= size != 4
        made.append((p, kept, removed, mask))
    return made


def given(name, p, kept, removed, mask):
    values = 1 + mask.roll(1, 1)
    if name in PARTS:
        return mask, values, mask.flip(1) + 0.8
    if name == "SI-SDR":
        return mask.flatten(1), values.flatten(1)
    if name in ("insertion", "deletion"):
        return lambda changed, _rows: changed.flatten(1).mean(1) / 2, values, mask
    if name == "infidelity":
        return lambda changed: changed.square().flatten(1).sum(1), values, mask, torch.stack([mask, values])
    return (mask,) if name in ("SPS", "COMP", "MM") else (p, removed if name == "FF" else kept)


def accumulate(parts):
    made = {name: getattr(metrics, cls)() for name, cls in NAMES.items()}
    for part in parts:
        for name, one in made.items():
            one.update(*given(name, *part))
    return {name: float(one.compute()) for name, one in made.items()}


def test_means_of_the_functions():
    found = accumulate(batches())
    for name, function in FUNCTIONS.items():
        values = torch.cat([function(*given(name, *part)) for part in batches()])
        assert found[name] == pytest.approx(float(values.double().nanmean()), rel=1e-6), name
        assert int(values.isnan().sum()) == (name in ("SPS", "COMP", "ratio mask", "mask AUC", "SIR gain", "SI-SDR")), (
            name
        )


def test_options_directions_and_reset():
    p, kept, _, mask = batches()[0]
    drop = metrics.AverageDrop(reference=True)
    assert float(drop(p, kept)) == pytest.approx(float(functional.average_drop(p, kept, reference=True)))
    relative = metrics.Complexity(relative=True)
    assert float(relative(mask)) == pytest.approx(float(functional.complexity(mask, relative=True)))
    drop.reset()
    assert math.isnan(float(drop.total / drop.count))
    for name, kind in NAMES.items():
        assert getattr(metrics, kind).higher_is_better == {1: True, -1: False, 0: None}[METRICS[name].direction]
    with pytest.raises(AttributeError, match="AverageRise"):
        metrics.AverageRise  # noqa: B018


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
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*run, HERE / "two_metrics.py", tmp_path],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = accumulate(batches())
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found == pytest.approx(expected, rel=1e-9)
