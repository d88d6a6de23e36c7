"""Memory: peaks of processes that do nothing else.

pytest benchmarks/test_memory.py --benchmark-only
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

Report = list[tuple[str, float, str]]
Flat = Callable[[str, float, float], None]
PEAK = """
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""

MANY_STEPS = """
import torch, warnings
import audioxai as ax
from audioxai.nn import CompactCNN
warnings.simplefilter("ignore")
torch.manual_seed(0)
classifier = ax.AudioClassifier(CompactCNN(10), sample_rate=16000, frontend=ax.LogMel(16000))
clips = 0.1 * torch.randn(64, 80000, generator=torch.Generator().manual_seed(0))
explanation = ax.IntegratedGradients(classifier).explain(clips)
explanation.scores, explanation.removed
"""

MANY_CLIPS = """
import sys, torch
import audioxai as ax
from audioxai.nn import CompactCNN
count = int(sys.argv[1])
torch.manual_seed(0)
classifier = ax.AudioClassifier(CompactCNN(10), sample_rate=16000, frontend=ax.LogMel(16000))
clip = lambda i: 0.1 * torch.randn(2, 80000, generator=torch.Generator().manual_seed(i))
explainer = ax.LMAC(classifier).fit([clip(0)], epochs=1, progress=False)
for i in range(count // 2):
    explanation = explainer.explain(clip(i))
    explanation.scores, explanation.removed
ax.evaluate([explainer, ax.EnergyMask(classifier)], (clip(i) for i in range(count // 2)))
"""

LONG_RECORDING = """
import sys, tempfile, numpy, soundfile, torch
import audioxai as ax
from audioxai.bulk.streaming import explain_long
from audioxai.nn import CompactCNN
torch.manual_seed(0)
classifier = ax.AudioClassifier(CompactCNN(10), sample_rate=16000, frontend=ax.LogMel(16000))
explainer = ax.LMACTD(classifier).fit([0.1 * torch.randn(1, 80000)], epochs=1, progress=False)
with tempfile.TemporaryDirectory() as folder:
    with soundfile.SoundFile(folder + "/long.wav", "w", 44100, 2) as file:
        for _ in range(int(sys.argv[1])):
            file.write(0.1 * numpy.random.default_rng(0).standard_normal((60 * 44100, 2)))
    explain_long(explainer, folder + "/long.wav", folder + "/out")
"""


# glibc keeps freed blocks by chance; large ones are handed back at once here, so that a peak is what was in use.
HANDED_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


def mebibytes(script: str, *arguments: int, **environment: str) -> float:
    command = [sys.executable, "-c", script + PEAK, *map(str, arguments)]
    return float(subprocess.check_output(command, env={**os.environ, **environment}, text=True))


def test_integrated_gradients(benchmark: Callable[..., object], report: Report) -> None:
    """One call on 64 clips of five seconds, fifty steps each."""
    gibibytes = benchmark.pedantic(mebibytes, args=(MANY_STEPS,), rounds=1) / 1024  # type: ignore[attr-defined]
    report.append(("memory of IntegratedGradients.explain on 64 clips of 5 s, GiB", gibibytes, "4"))
    assert gibibytes < 4


def test_many_clips(benchmark: Callable[..., object], flat: Flat) -> None:
    few = benchmark.pedantic(mebibytes, (MANY_CLIPS, 50), HANDED_BACK, rounds=1)  # type: ignore[attr-defined]
    flat("explain and evaluate over 500 clips / over 50", mebibytes(MANY_CLIPS, 500, **HANDED_BACK), few)


def test_a_long_recording(benchmark: Callable[..., object], flat: Flat) -> None:
    short = benchmark.pedantic(mebibytes, (LONG_RECORDING, 1), HANDED_BACK, rounds=1)  # type: ignore[attr-defined]
    flat("explain_long over 10 minutes / over 1", mebibytes(LONG_RECORDING, 10, **HANDED_BACK), short)
