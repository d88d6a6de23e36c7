"""The cache of decoded clips: same clips, made once, whole or not at all, mended when damaged."""

import multiprocessing
import os
import pickle
import warnings

import pytest
import torch
from torch.utils.data import DataLoader

import audioxai as ax
import audioxai.data.clips as module
from audioxai.data import ESC50, SoundFolder
from audioxai.errors import AudioFileError, OutputError


@pytest.fixture
def root(esc_folder):
    return esc_folder(rate=8000)


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that have been decoded."""
    names = []
    honest = module.load
    monkeypatch.setattr(module, "load", lambda path, *args: names.append(path.name) or honest(path, *args))
    return names


def open_cached(root, cache, **options):
    return ESC50(root, seconds=0.5, cache=cache, **options)


def test_same_clips_decoded_once(root, tmp_path, decoded):
    plain = ESC50(root, seconds=0.5).tensors()
    decoded.clear()
    for _ in range(3):
        cached = open_cached(root, tmp_path / "cache")
        assert all(torch.equal(a, b) for a, b in zip(cached.tensors(), plain, strict=True))
    assert len(decoded) == 5
    (file,) = (tmp_path / "cache").iterdir()
    assert file.suffix == ".f32"
    stored = torch.frombuffer(bytearray(file.read_bytes()[: 4 * 5 * 8000]), dtype=torch.float32)
    assert torch.equal(stored.view(5, 8000), plain[0])


def test_clips_are_writable_copies(root, tmp_path):
    data = open_cached(root, tmp_path / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip = data[0][0]
        clip.zero_()
    assert data[0][0].abs().max() > 0
    assert data[-1][1] == data.classes[-1]


@pytest.mark.parametrize("change", ["bytes", "time", "rate", "seconds", "folds"])
def test_what_changes_the_clips_makes_a_new_cache(root, tmp_path, decoded, change):
    cache, options = tmp_path / "cache", {"seconds": 0.5}
    ESC50(root, cache=cache, **options)
    file = root / "audio" / "1-1-A-0.wav"
    if change == "bytes":
        ax.save(file, torch.zeros(1234), 8000)
    elif change == "time":
        os.utime(file, (1, 1))
    else:
        options |= {"rate": {"sample_rate": 8000}, "seconds": {"seconds": 0.4}, "folds": {"folds": [1, 2]}}[change]
    decoded.clear()
    fresh = ESC50(root, cache=cache, **options)
    assert decoded
    assert torch.equal(fresh.tensors()[0], ESC50(root, **options).tensors()[0])
    assert len(list(cache.iterdir())) == 2


def test_a_moved_data_set_keeps_its_cache(root, tmp_path, decoded):
    open_cached(root, tmp_path / "cache")
    root.rename(tmp_path / "moved")
    decoded.clear()
    open_cached(tmp_path / "moved", tmp_path / "cache").tensors()
    assert not decoded


@pytest.mark.parametrize("damage", ["cut", "half", "empty", "longer", "table", "clip", "other"])
def test_a_damaged_cache_is_made_anew(root, tmp_path, damage):
    data = open_cached(root, tmp_path / "cache")
    expected, path = data.tensors()[0], next((tmp_path / "cache").iterdir())
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-1],
        "half": whole[: len(whole) // 2],
        "empty": b"",
        "longer": whole + b"\0",
        "table": whole[:-60] + bytes([whole[-60] ^ 1]) + whole[-59:],
        "clip": whole[:50_000] + bytes([whole[50_000] ^ 1]) + whole[50_001:],
        "other": b"not a cache" * 100,
    }[damage]
    path.unlink()  # an open map keeps the old file
    path.write_bytes(damaged)
    assert torch.equal(open_cached(root, tmp_path / "cache").tensors()[0], expected)
    assert path.read_bytes() == whole


def test_bad_clips_are_tried_again(root, tmp_path):
    file, cache = root / "audio" / "2-3-A-0.wav", tmp_path / "cache"
    stamp, whole = file.stat(), file.read_bytes()
    file.write_bytes(bytes(len(whole)))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    for _ in range(2):
        with pytest.raises(AudioFileError, match=r"1 of 5 clip.*2-3-A-0"):
            open_cached(root, cache)
    left = open_cached(root, cache, skip_bad=True)
    assert len(left) == 4
    assert [f.name for f, _ in left.bad] == ["2-3-A-0.wav"]
    assert torch.equal(left[2][0], ESC50(root, folds=[3], seconds=0.5)[0][0])
    # As if a disk had failed for a moment: same size, same time.
    file.write_bytes(whole)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert len(list(cache.iterdir())) == 1
    assert len(open_cached(root, cache, skip_bad=True)) == 5
    assert torch.equal(open_cached(root, cache).tensors()[0], ESC50(root, seconds=0.5).tensors()[0])


def test_nothing_is_left_of_a_cache_that_was_not_finished(root, tmp_path, monkeypatch):
    def stop(path, *args):
        if "3-4" in path.name:
            raise KeyboardInterrupt
        return honest(path, *args)

    honest = module.load
    monkeypatch.setattr(module, "load", stop)
    with pytest.raises(KeyboardInterrupt):
        open_cached(root, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_is_none(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not write"):
        open_cached(root, tmp_path / "file")


def test_pickled_and_in_workers(root, tmp_path):
    data = open_cached(root, tmp_path / "cache")
    expected = data.tensors()[0]
    pickled = pickle.dumps(data)
    assert len(pickled) < 20_000  # no clips in it
    assert torch.equal(pickle.loads(pickled).tensors()[0], expected)
    loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="fork")
    assert torch.equal(torch.cat([x for x, _ in loader]), expected)


def _sum(root, cache, start, results):
    start.wait()
    results.put(float(SoundFolder(root, seconds=0.5, cache=cache).tensors().double().sum()))


def test_two_processes_at_once(speech_folder, tmp_path):
    root, cache = speech_folder(**{f"s{i}": 8000 for i in range(40)}), tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_sum, args=(root, cache, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sums == [float(SoundFolder(root, seconds=0.5).tensors().double().sum())] * 2
    assert len(list(cache.iterdir())) == 1


def test_an_empty_data_set_needs_no_cache(root, tmp_path):
    data = ESC50(root, folds=[4], cache=tmp_path / "cache")
    assert data.tensors()[0].shape == (0, 80000)
    assert not (tmp_path / "cache").exists()
