"""What goes wrong while a data set is explained: a clip's own fault is noted, any other stops the run at its shard."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from dataset_clips import RATE, Rows, write_clips
from dataset_process import OPTIONS, explainer
from torch import nn

import audioxai as ax
from audioxai.bulk import shard_storage as dataset_files
from audioxai.errors import ClassifierError, InputError, OutputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


def rows(clips):
    return Rows(*({"array": clip, "sampling_rate": RATE} for clip in clips))


def failing(monkeypatch, clip, error):
    """Let the explainer fail at one clip; gives the sizes of the batches that it gets."""
    batches, honest = [], ax.EnergyMask.explain

    def explain(self, clips, *arguments, **options):
        batches.append(len(clips))
        if (clips == torch.from_numpy(clip)).all(-1).any():
            raise error
        return honest(self, clips, *arguments, **options)

    monkeypatch.setattr(ax.EnergyMask, "explain", explain)
    return batches


def noise(count, samples=2000):
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(1)).numpy()


def test_one_bad_clip_of_a_batch_does_not_lose_the_others(tmp_path, monkeypatch):
    good = noise(4)
    bad = good.copy()
    bad[1, 7] = np.nan
    batches = failing(monkeypatch, good[2], InputError("odd"))
    report = ax.explain_dataset(explainer(), rows(bad), tmp_path / "out", progress=False)
    assert batches == [3, 1, 1, 1]
    assert [name for name, _ in report.failed] == ["row 1", "row 2"]
    assert "NaN" in report.failed[0][1]
    assert report.failed[1][1] == "odd"
    assert [clip.name for clip in ax.read_dataset(tmp_path / "out")] == ["row 0", "row 3"]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("device lost"), KeyError("odd"), torch.OutOfMemoryError("out of memory"), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_that_is_not_a_clip_s_stops_the_run(tmp_path, monkeypatch, error):
    clips, out = noise(6), tmp_path / "out"
    options = {"shard_size": 2, "progress": False}
    with monkeypatch.context() as patched:
        failing(patched, clips[3], error)
        with pytest.raises(type(error)) as stopped:
            ax.explain_dataset(explainer(), rows(clips), out, **options)
    # In a batch that memory was too small for, no clip is to blame more than another.
    place = "row 2" if isinstance(error, torch.OutOfMemoryError | MemoryError) else "row 3"
    assert stopped.value is error
    assert [f"at the clip {place!r}" in note for note in error.__notes__] == [True]
    assert [path.name for path in out.glob("shard-*")] == ["shard-000000.json", "shard-000000.tar"]
    report = ax.explain_dataset(explainer(), rows(clips), out, **options)
    assert (report.made, report.failed) == (2, ())


class Short(nn.Module):
    """Takes clips of at least 1000 samples, until it breaks."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(1, 4, 1000, 50)
        self.left = -1

    def forward(self, waveform):
        self.left -= 1
        if self.left == 0:
            self.left = 1
            raise RuntimeError("device lost")
        return self.layer(waveform[:, None]).mean(2)


def test_a_network_that_fails_at_one_length_is_told_from_one_that_fails(tmp_path):
    clips = [noise(1, samples)[0] for samples in (2000, 700, 2500, 3000)]
    network = Short()
    method = ax.EnergyMask(ax.AudioClassifier(network, sample_rate=RATE))
    report = ax.explain_dataset(method, rows(clips), tmp_path / "short", progress=False)
    assert [name for name, _ in report.failed] == ["row 1"]
    assert "the network failed on an input of shape (1, 700)" in report.failed[0][1]
    network.left = 7
    with pytest.raises(ClassifierError, match="device lost") as stopped:
        ax.explain_dataset(method, rows(clips), tmp_path / "lost", progress=False)
    assert "at the clip 'row 2'" in stopped.value.__notes__[0]
    assert not list((tmp_path / "lost").glob("shard-*"))


def test_the_command_names_the_clip_that_stopped_it(cli, folder, monkeypatch):
    def lost(*_arguments, **_options):
        raise RuntimeError("device lost")

    monkeypatch.setattr(ax.EnergyMask, "explain", lost)
    code, _, err = cli("explain-dataset", folder, "--out", "out", "--method", "energy")
    assert code == 1
    assert "error: RuntimeError: device lost; at the clip 'a/0.wav'" in err


@pytest.mark.parametrize("where", ["tar", "flac"])
def test_a_full_disk(folder, tmp_path, where, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        if where == "tar":
            patched.setattr(dataset_files.ShardWriter, "add", full)
        else:
            patched.setattr(soundfile.SoundFile, "write", lambda *_: (_ for _ in ()).throw(AssertionError()))
        with pytest.raises(OutputError, match="No space left" if where == "tar" else "disk full"):
            ax.explain_dataset(explainer(), folder, tmp_path / "out", **OPTIONS)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".lock") == ["run.json"]
    assert ax.explain_dataset(explainer(), folder, tmp_path / "out", **OPTIONS).made == 4  # with room again
