"""Every Python block of the README and of CONTRIBUTING runs as it stands, in order, in one namespace."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def test_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teaser, *rest = blocks("README.md")
    namespace = {}
    torch.manual_seed(0)
    for block in rest:
        exec(compile(block, "README.md", "exec"), namespace)
    exec("from audioxai import LMAC\nwaveform, target = clips[0], 'rain'", namespace)
    exec(compile(teaser.replace("fit(loader)", "fit(loader, epochs=1)"), "README.md", "exec"), namespace)
    assert namespace["mask"].shape == (1, 513, 87)
    assert namespace["audio"].shape == (1, 16000)
    assert (tmp_path / "glass" / "index.html").stat().st_size > 10_000
    assert {p.name for p in (tmp_path / "glass" / "clip_0").iterdir()} == {
        "mask.npz", "input.wav", "explanation.wav", "removed.wav", "picture.png", "explanation.json",
    }  # fmt: skip


def test_contributing(tmp_path):
    import networks

    namespace = {}
    for block in blocks("CONTRIBUTING.md"):
        exec(compile(block, "CONTRIBUTING.md", "exec"), namespace)
    explanation = namespace["InputXGradient"](networks.log_mel_cnn()).explain(networks.clips())
    assert explanation.attribution.min() < 0
    assert explanation.mask.amax((1, 2)) == pytest.approx([1.0, 1.0, 1.0])


def test_wrapping_takes_at_most_five_lines():
    wraps = [b[b.index("classifier = ax") :] for b in blocks("README.md") if "classifier = ax" in b]
    assert len(wraps) == 2
    assert all(len(wrap.strip().splitlines()) <= 5 for wrap in wraps)
