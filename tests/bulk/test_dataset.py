"""Explained data sets: what is in them, the same from any number of processes, and what becomes of a killed one."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import networks
import numpy as np
import pytest
import soundfile
import torch
from dataset_clips import ENVIRONMENT, HERE, RATE, SECONDS, Rows, files, write_clips
from dataset_process import OPTIONS, explainer

import audioxai as ax
from audioxai.bulk import dataset
from audioxai.commands import main as cli_module
from audioxai.errors import AudioFileError, ConfigError, MissingDependencyError, OutputError, TargetError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """What one process makes of it."""
    out = tmp_path_factory.mktemp("whole")
    return ax.explain_dataset(explainer(), folder, out, **OPTIONS)


def process(folder, out, dies=-1):
    command = [sys.executable, str(HERE / "dataset_process.py"), str(folder), str(out), str(dies)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# What is written --------------------------------------------------------------------------------------------------


def test_every_clip_as_if_explained_alone(folder, whole):
    clips = {clip.name: clip for clip in ax.read_dataset(whole.folder)}
    assert set(clips) == {f"{name}.wav" for name in SECONDS}
    for name, clip in clips.items():
        if name == "long.wav":
            continue
        alone = explainer().explain(folder / name)
        assert clip.seconds == SECONDS[name[:-4]]
        assert clip.target == alone.target_names[0]
        k = int(alone.target[0])
        assert clip.scores == pytest.approx([float(p[0, k]) for p in alone.scores], abs=1e-5)
        torch.testing.assert_close(clip.mask, alone.mask[0], rtol=0, atol=3e-4)
        torch.testing.assert_close(clip.kept, alone.waveform[0], rtol=0, atol=1e-4)
        torch.testing.assert_close(clip.removed, alone.removed[0], rtol=0, atol=1e-4)
        assert (clip.sample_rate, clip.windows, clip.meta["scale"]) == (RATE, (), "magnitude")


def test_a_long_recording_by_the_definition(folder, whole):
    """Windows of 0.5 s every 0.4 s, the last up to half as long again, each explained alone, weighted by ramps."""
    (clip,) = (clip for clip in ax.read_dataset(whole.folder) if clip.name == "long.wav")
    waveform = ax.load(folder / "long.wav", RATE)[0]
    total, hop = len(waveform), clip.meta["stft"]["hop_length"] or 256
    starts = [0, 3200, 6400, 9600, 12800]
    ends = [4000, 7200, 10400, 13600, total]
    sums = {name: torch.zeros(total) for name in ("kept", "removed")}
    masks = torch.zeros(clip.mask.shape)
    assert clip.mask.shape[1] == explainer().space.analyse(waveform[None]).values.shape[2]
    scores = []
    for start, end in zip(starts, ends, strict=True):
        weight = torch.zeros(total + hop)
        weight[start : end if end < total else None] = 1
        ramp = (torch.arange(800) + 0.5) / 800
        if start:
            weight[start : start + 800] = ramp
        if end < total:
            weight[end - 800 : end] = 1 - ramp
        one = explainer().explain(waveform[start:end])
        for name, sound in (("kept", one.waveform), ("removed", one.removed)):
            sums[name][start:end] += weight[start:end] * sound[0]
        for n in range(masks.shape[1]):
            nearest = min(max(round((n * hop - start) / hop + 1e-9), 0), one.mask.shape[2] - 1)
            masks[:, n] += weight[n * hop] * one.mask[0, :, nearest]
        k = int(one.target[0])
        scores.append([float(p[0, k]) for p in one.scores])
    torch.testing.assert_close(clip.kept, sums["kept"], rtol=0, atol=1e-4)
    torch.testing.assert_close(clip.removed, sums["removed"], rtol=0, atol=1e-4)
    torch.testing.assert_close(clip.mask, masks, rtol=0, atol=1e-3)
    assert [(round(w.start * RATE), round(w.end * RATE)) for w in clip.windows] == list(zip(starts, ends, strict=True))
    assert np.allclose([w.scores for w in clip.windows], scores, atol=1e-4)
    assert clip.scores == pytest.approx(np.mean(scores, 0), abs=1e-4)


def test_the_index_lists_every_clip(whole):
    rows = list(csv.DictReader(io.StringIO(whole.index.read_text())))
    assert [row["name"] for row in rows] == [
        f"{n}.wav" for n in ("a/0", "a/1", "b/0", "b/deep/1", "b/text", "long", "z")
    ]
    assert [row["key"] for row in rows] == [f"{i:08d}" for i in range(7)]
    clips = {clip.key: clip for clip in ax.read_dataset(whole.folder)}
    for number, row in enumerate(rows):
        if row["name"] == "b/text.wav":
            assert row["shard"] == row["target"] == row["kept"] == ""
            assert "cannot be read as audio" in row["error"]
            continue
        clip = clips[row["key"]]
        assert row["shard"] == f"shard-{number // 2:06d}.tar"
        assert (row["target"], float(row["seconds"])) == (clip.target, clip.seconds)
        assert tuple(float(row[which]) for which in ("input", "kept", "removed")) == clip.scores
    assert (whole.clips, whole.made) == (7, 4)
    assert [name for name, _ in whole.failed] == ["b/text.wav"]


def test_shards_are_plain_tars_of_plain_files(whole):
    with tarfile.open(whole.folder / "shard-000000.tar") as tar:
        members = tar.getmembers()
        suffixes = ("json", "kept.flac", "mask.npz", "removed.flac")
        assert [m.name for m in members] == [f"{key}.{s}" for key in ("00000000", "00000001") for s in suffixes]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
        with np.load(io.BytesIO(tar.extractfile(members[2]).read())) as arrays:
            assert arrays["mask"].dtype == np.float16
        assert soundfile.info(io.BytesIO(tar.extractfile(members[1]).read())).format == "FLAC"


def test_loud_sounds_keep_their_level(tmp_path):
    loud = 3 * torch.sin(torch.arange(4000) / 5)
    source = Rows({"array": loud.numpy(), "sampling_rate": RATE})
    ax.explain_dataset(ax.AllOnes(networks.log_mel_cnn(), scale="magnitude"), source, tmp_path / "out", progress=False)
    (clip,) = ax.read_dataset(tmp_path / "out")
    torch.testing.assert_close(clip.kept, loud, rtol=0, atol=3e-4)


def test_a_target_for_all_and_targets_without_a_class(folder, tmp_path):
    paths = [folder / "a" / "0.wav", str(folder / "long.wav")]
    ax.explain_dataset(explainer(), paths, tmp_path / "bell", target="bell", **OPTIONS)
    assert [(c.name, c.target) for c in ax.read_dataset(tmp_path / "bell")] == [
        (paths[0].as_posix(), "bell"),
        (paths[1], "bell"),
    ]
    ax.explain_dataset(explainer(), paths, tmp_path / "any", target=lambda logits: logits.sum(1), **OPTIONS)
    for clip in ax.read_dataset(tmp_path / "any"):
        assert clip.scores is None
        assert all(window.scores is None for window in clip.windows)
    with pytest.raises(ax.ConfigError, match="target"):  # another lambda of the same name
        ax.explain_dataset(explainer(), paths, tmp_path / "any", target=lambda logits: logits[:, 0], **OPTIONS)


def test_windows_of_several_targets_have_no_one_target(tmp_path, folder, monkeypatch):
    turns = iter([0, 0, 1, 0, 1, 0, 1])
    method = explainer()
    honest = method.explain
    monkeypatch.setattr(method, "explain", lambda clip, _target, **options: honest(clip, next(turns), **options))
    ax.explain_dataset(method, [folder / "long.wav"], tmp_path / "out", **OPTIONS)
    (clip,) = ax.read_dataset(tmp_path / "out")
    assert (clip.target, clip.scores) == ("", None)
    assert [window.target for window in clip.windows] == ["dog", "dog", "rain", "dog", "rain"]


# Processes --------------------------------------------------------------------------------------------------------


def test_two_processes_give_the_files_of_one(folder, whole, tmp_path):
    both = [process(folder, tmp_path / "out") for _ in range(2)]
    made = [one.communicate(timeout=200) for one in both]
    assert [one.returncode for one in both] == [0, 0], made
    assert sum(int(out) for out, _ in made) == 4
    assert files(tmp_path / "out") == files(whole.folder)


def test_a_killed_process_loses_its_shard_and_nothing_is_done_twice(folder, whole, tmp_path):
    out = tmp_path / "out"
    for dies in (1, 4):  # in the second shard, and in the long recording of the third
        killed = process(folder, out, dies)
        killed.communicate(timeout=200)
        assert killed.returncode == -9
        with pytest.raises(OutputError, match="is not finished"):
            ax.read_dataset(out)
    assert [*out.glob(".shard-*.part")]
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}
    assert set(before) == {"shard-000000.tar", "shard-000001.tar"}
    assert ax.explain_dataset(explainer(), folder, out, **OPTIONS).made == 2
    assert files(out) == files(whole.folder)
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    assert [path.name for path in out.glob(".*")] == [".run.lock"]
    again = ax.explain_dataset(explainer(), folder, out, **OPTIONS)
    assert (again.made, again.failed) == (0, whole.failed)


def test_a_shard_that_is_deleted_is_made_again(folder, whole, tmp_path):
    ax.explain_dataset(explainer(), folder, tmp_path / "out", **OPTIONS)
    (tmp_path / "out" / "shard-000001.tar").unlink()
    assert ax.explain_dataset(explainer(), folder, tmp_path / "out", **OPTIONS).made == 1
    assert files(tmp_path / "out") == files(whole.folder)


# Sources ----------------------------------------------------------------------------------------------------------


def test_rows_with_bytes_paths_or_samples(folder, whole, tmp_path):
    names = [clip.name for clip in ax.read_dataset(whole.folder)]
    samples, rate = soundfile.read(folder / "long.wav", dtype="float32")
    audio = [{"bytes": (folder / name).read_bytes(), "path": name} for name in names[:3]]
    audio += [
        {"bytes": None, "path": str(folder / names[3])},
        {"array": samples, "sampling_rate": rate, "path": "x/long"},
    ]
    audio += [{"array": np.stack([ax.load(folder / names[5])[0].numpy()] * 2), "sampling_rate": RATE}]
    assert names[4] == "long.wav"
    audio += [{"bytes": (folder / "long.wav").read_bytes(), "path": None}, {"bytes": b"no sound", "path": "noise.wav"}]
    report = ax.explain_dataset(explainer(), Rows(*audio), tmp_path / "out", **OPTIONS)
    found = list(ax.read_dataset(tmp_path / "out"))
    assert [clip.name for clip in found] == ["0.wav", "1.wav", "0.wav", "1.wav", "long", "row 5", "row 6"]
    expected = list(ax.read_dataset(whole.folder))
    for one, other in zip(found, [*expected, expected[4]], strict=True):
        assert (one.target, one.seconds, one.windows) == (other.target, other.seconds, other.windows)
        torch.testing.assert_close(one.kept, other.kept, rtol=0, atol=0)
    ((name, reason),) = report.failed
    assert name == "noise.wav"
    assert reason.startswith("'noise.wav' cannot be read as audio")


def test_the_real_library(folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"audio": datasets.Audio()})
    files = [folder / "a" / "0.wav", folder / "long.wav"]
    column = [{"bytes": file.read_bytes(), "path": str(file)} for file in files]
    table = pytest.importorskip("pyarrow").table({"audio": column}).cast(features.arrow_schema)
    info = datasets.DatasetInfo(features=features)
    rows = datasets.Dataset(datasets.table.InMemoryTable(table), info=info, fingerprint="clips")
    rows.save_to_disk(str(tmp_path / "saved"))
    ax.explain_dataset(explainer(), rows, tmp_path / "out", **OPTIONS)
    ax.explain_dataset(explainer(), tmp_path / "saved", tmp_path / "again", **OPTIONS)
    first, again = (list(ax.read_dataset(tmp_path / name)) for name in ("out", "again"))
    assert [clip.name for clip in first] == [clip.name for clip in again] == ["0.wav", "long.wav"]
    assert [len(clip.windows) for clip in first] == [0, 5]


@pytest.mark.parametrize(
    ("make", "kind", "problem"),
    [
        (lambda root: root / "gone", AudioFileError, "is missing"),
        (lambda root: root / "z.wav", AudioFileError, "is no folder"),
        (lambda root: (root / "empty").mkdir() or root / "empty", AudioFileError, "no audio file below"),
        (lambda root: [], ConfigError, "got list without any clip"),
        (lambda root: [3], ConfigError, "got list"),
        (lambda root: 3, ConfigError, "got int"),
        (lambda root: Rows(), ConfigError, "holds no rows"),
        (lambda root: type("Other", (Rows,), {"column_names": ["sound"]})({}), ConfigError, "needs a column 'audio'"),
        (lambda root: type("Stream", (), {"column_names": ["audio"]})(), ConfigError, "streaming=False"),
    ],
)
def test_sources_that_are_none(tmp_path, make, kind, problem):
    soundfile.write(tmp_path / "z.wav", np.zeros(100), RATE)
    with pytest.raises(kind, match=problem):
        ax.explain_dataset(explainer(), make(tmp_path), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_saved_data_sets_need_the_library_and_one_split(tmp_path, monkeypatch):
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match=r"audioxai\[datasets\]"):
        ax.explain_dataset(explainer(), tmp_path, tmp_path / "out", progress=False)
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(ConfigError, match="several splits"):
        ax.explain_dataset(explainer(), tmp_path, tmp_path / "out", progress=False)


def test_results_inside_the_folder_are_no_clips(folder, tmp_path):
    (tmp_path / "a.wav").write_bytes((folder / "z.wav").read_bytes())
    (tmp_path / "out").mkdir()
    first = ax.explain_dataset(explainer(), tmp_path, tmp_path / "out", **OPTIONS)
    (tmp_path / "out" / "extracted.wav").write_bytes((folder / "z.wav").read_bytes())
    assert ax.explain_dataset(explainer(), tmp_path, tmp_path / "out", **OPTIONS).clips == first.clips == 1


# What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", ["weights", "activation", "method", "option", "source", "same size", "target", "function", "version"]
)
def test_the_folder_of_another_run_is_refused(folder, tmp_path, change, monkeypatch):
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.wav").write_bytes((folder / "z.wav").read_bytes())
    ax.explain_dataset(explainer(), root, tmp_path / "out", **OPTIONS)
    before = files(tmp_path / "out")
    method, options = explainer(), dict(OPTIONS)
    if change == "weights":
        next(method.classifier.network.parameters()).data += 1e-3
        fault = "explainer.classifier.fingerprint='[0-9a-f]{64}', now '[0-9a-f]{64}'"
    elif change == "activation":
        method.classifier.network.blocks[0][-1] = torch.nn.GELU()
        fault = "explainer.classifier.fingerprint=.*, now '[0-9a-f]{64}'"
    elif change == "method":
        method, fault = ax.Saliency(method.classifier), "explainer.method='EnergyMask', now 'Saliency'"
    elif change == "option":
        options["shard_size"], fault = 3, "options.shard_size=2, now 3"
    elif change == "target":
        options["target"], fault = 1, "options.target=None, now 1"
    elif change == "function":
        options["target"], fault = (lambda x: x[:, 0]), "options.target=None, now '<lambda> [0-9a-f]{16}'"
    elif change == "source":
        (root / "b.wav").write_bytes(b"")
        fault = "source.clips=1, now 2"
    elif change == "same size":
        size = (root / "a.wav").stat().st_size
        (root / "a.wav").write_bytes((folder / "z.wav").read_bytes()[::-1])
        assert (root / "a.wav").stat().st_size == size
        fault = "source.fingerprint='[0-9a-f]{64}', now"
    else:
        monkeypatch.setattr(dataset, "__version__", "99")
        fault = "version=.*, now '99'"
    with pytest.raises(ConfigError, match=f"holds another run: {fault}"):
        ax.explain_dataset(method, root, tmp_path / "out", **options)
    assert files(tmp_path / "out") == before


def test_a_run_of_an_earlier_version_is_refused(folder, tmp_path):
    ax.explain_dataset(explainer(), folder, tmp_path, **OPTIONS)
    run = json.loads((tmp_path / "run.json").read_text())
    run |= {"format": 1, "explainer": {"method": "EnergyMask", "fingerprint": "0" * 64}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(
        ConfigError, match="a run that another version of audioxai began, in format 1; .* format 2 only"
    ):
        ax.explain_dataset(explainer(), folder, tmp_path, **OPTIONS)


def test_an_explainer_that_keeps_notes_goes_on(folder, tmp_path):
    class Noting(ax.EnergyMask):
        notes = ()

        def _solve(self, analysis, target):
            self.notes = (*self.notes, analysis.values.mean())
            return super()._solve(analysis, target)

    method = Noting(explainer().classifier)
    ax.explain_dataset(method, folder, tmp_path, **OPTIONS)
    (tmp_path / "shard-000001.tar").unlink()
    assert ax.explain_dataset(method, folder, tmp_path, **OPTIONS).made == 1


def test_folders_that_hold_something_else(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"already holds 'notes.txt'"):
        ax.explain_dataset(explainer(), folder, tmp_path, **OPTIONS)
    with pytest.raises(OutputError, match="cannot be written"):
        ax.explain_dataset(explainer(), folder, tmp_path / "notes.txt", **OPTIONS)
    with pytest.raises(OutputError, match="holds no explained data set"):
        ax.read_dataset(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    with pytest.raises(OutputError, match=r"run.json' cannot be read"):
        ax.explain_dataset(explainer(), folder, tmp_path / "broken", **OPTIONS)


def test_what_is_wrong_with_all_clips_is_told_before_the_work(folder, tmp_path):
    for options, kind in (
        ({"shard_size": 0}, ConfigError),
        ({"longest": 0}, ConfigError),
        ({"longest": float("nan")}, ConfigError),
        ({"window": 1, "overlap": 0.6}, ConfigError),
        ({"target": "cow"}, TargetError),
        ({"target": [1, 2]}, TargetError),
    ):
        with pytest.raises(kind):
            ax.explain_dataset(explainer(), folder, tmp_path / "out", **{**OPTIONS, **options})
        assert not (tmp_path / "out").exists()
    with pytest.raises(ax.NotFittedError):
        ax.explain_dataset(ax.LMAC(networks.log_mel_cnn(), start=None), folder, tmp_path / "out", **OPTIONS)
    with pytest.raises(TargetError, match="out of range"):
        ax.explain_dataset(explainer(), folder, tmp_path / "other", target=9, **OPTIONS)
    for out in ("out", "other"):
        assert not list((tmp_path / out).glob("shard*"))


def test_broken_results_are_told(folder, tmp_path):
    out = tmp_path / "out"
    ax.explain_dataset(explainer(), folder, out, **OPTIONS)
    (out / "shard-000001.tar").write_bytes(b"no tar")
    with pytest.raises(OutputError, match=r"shard-000001.tar' cannot be read"):
        list(ax.read_dataset(out))
    (out / "shard-000000.json").write_text("{")
    with pytest.raises(OutputError, match=r"shard-000000.json' cannot be read"):
        ax.explain_dataset(explainer(), folder, out, **OPTIONS)


def test_the_command(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_for_dataset.py").write_text("import networks\nbuild = networks.log_mel_cnn\n")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli_module.main([str(a) for a in arguments])
        return ended.value.code, *capsys.readouterr()

    own = ("--classifier", "mine_for_dataset:build", "--method", "gradcam", "--target", "rain")
    asked = ("explain-dataset", folder, "--out", "out", *own, "--shard-size", "4", "--longest", "1", "--window", "0.5")
    code, out, err = run(*asked, "--overlap", "0.1")
    assert (code, out) == (1, f"explained 6 of 7 clip(s); index: {Path('out/index.csv')}\n")
    assert err.count("error: ") == 1
    assert "text.wav' cannot be read as audio" in err
    assert {clip.target for clip in ax.read_dataset("out")} == {"rain"}
    assert json.loads(Path("out/run.json").read_text())["options"]["shard_size"] == 4
    code, out, err = run(*asked, "--overlap", "0.2")
    assert (code, out) == (2, "")
    assert "options.overlap=0.1, now 0.2" in err
