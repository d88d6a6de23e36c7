"""Frozen test sets: draws that depend on names alone, exact audio, hashes, and those that come with the package."""

import json
import math
import runpy
import shutil
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data.recordings import ESC_ROWS, sound
from torch.utils.data import DataLoader

import audioxai as ax
from audioxai.data import (
    CONDITIONS,
    ESC50,
    Condition,
    LabelledClips,
    Manifest,
    ManifestDataset,
    SoundFolder,
    make_manifest,
    shipped_manifest,
    shipped_manifests,
    white_noise,
)
from audioxai.errors import AudioFileError, ConfigError, OutputError
from audioxai.sound.files import load

ROWS = [(f"{fold}-{i}-A-{k}", fold, k, f"class{k}", True) for fold in (4, 5) for i in range(6) for k in range(2)]
T = 8000
DB = 20 * math.log10(4)


@pytest.fixture
def root(esc_folder):
    return esc_folder(rows=ROWS)


@pytest.fixture
def clips(root):
    return ESC50(root, folds=[5], seconds=0.5)


@pytest.fixture
def others(root):
    return ESC50(root, folds=[4], seconds=0.5)


@pytest.fixture
def speech(speech_folder):
    return SoundFolder(speech_folder(short=3000, exact=T, long=T + 5, longer=30_000), seconds=0.5)


def audio_of(manifest, clip_root, noise_root=None):
    """The audio of a manifest from its numbers and files alone."""
    waveforms = []
    for item in manifest.items:
        clip = load(clip_root / item.clip)[0].double().numpy()
        noise = np.zeros(T)
        if item.noise is not None:
            cut = load(noise_root / item.noise)[0].double().numpy()[item.offset : item.offset + T]
            noise[: len(cut)] = cut
        elif item.noise_seed is not None:
            noise = np.random.default_rng(item.noise_seed).standard_normal(T)
        waveforms.append(torch.from_numpy((item.clip_gain * clip + item.noise_gain * noise).astype(np.float32)))
    return torch.stack(waveforms)


def test_clips_alone_are_a_manifest_too(clips):
    data = ManifestDataset(make_manifest(clips, "id"), clips)
    waveforms, classes = data.tensors()
    assert torch.equal(waveforms, clips.tensors()[0])
    assert classes.tolist() == data.classes == clips.classes
    assert data.labels == clips.labels
    clip, rest = data.stems()
    assert torch.equal(clip, waveforms)
    assert rest.eq(0).all()


@pytest.mark.parametrize("condition", ["mixtures", "speech", "white-noise", "noise"])
def test_audio_levels_and_parts(clips, others, speech, root, condition):
    noises = {"mixtures": others, "white-noise": None}.get(condition, speech)
    manifest = make_manifest(clips, condition, noises, per_clip=2, seed=3)
    data = ManifestDataset(manifest, clips, noises)
    waveforms, classes = data.tensors()
    assert waveforms.shape == (24, T)
    assert classes.tolist() == [k for k in clips.classes for _ in range(2)]
    assert torch.equal(waveforms, audio_of(manifest, root, noises and noises.root))
    clip, noise = data.stems()
    assert torch.allclose(clip + noise, waveforms, atol=1.5e-7, rtol=0)
    snr = 10 * torch.log10(clip.double().square().sum(1) / noise.double().square().sum(1))
    assert snr.tolist() == pytest.approx([manifest.snr_db] * 24, abs=1e-4)
    assert waveforms.abs().amax(1).tolist() == pytest.approx([1.0] * 24, abs=1e-7)
    for i in (0, 23):
        one = data.stems(i)
        assert torch.equal(one[0], clip[i])
        assert torch.equal(one[1], noise[i])
    batches = [x for x, _ in DataLoader(data, batch_size=7)]
    assert torch.equal(torch.cat(batches), waveforms)


def test_two_items_of_a_clip_meet_different_sounds(clips, others):
    manifest = make_manifest(clips, "mixtures", others, per_clip=12)
    for i in range(12):
        part = manifest.items[12 * i : 12 * (i + 1)]
        assert {item.clip for item in part} == {clips.names[i]}
        assert {item.noise for item in part} == set(others.names)
    with pytest.raises(ConfigError, match="per_clip=13.*noises offer 12"):
        make_manifest(clips, "mixtures", others, per_clip=13)
    white = make_manifest(clips, "white-noise", per_clip=3)
    assert len({item.noise_seed for item in white.items}) == 36


def test_draws_spread_and_depend_on_the_seed(clips, others, speech):
    sets = [make_manifest(clips, "mixtures", others, seed=seed).items for seed in range(20)]
    counts = [sum(item.noise == name for items in sets for item in items) for name in others.names]
    assert min(counts) > 5  # 20 expected each
    assert max(counts) < 45
    assert sets[0] != sets[1]
    offsets = [
        item.offset
        for seed in range(10)
        for item in make_manifest(clips, "speech", speech, seed=seed).items
        if item.noise == "longer.wav"
    ]
    assert len(set(offsets)) > 0.9 * len(offsets)
    assert max(offsets) > 15_000
    assert max(offsets) <= 30_000 - T
    one = make_manifest(clips, "speech", speech, per_clip=4)
    assert {item.offset for item in one.items if item.noise in ("short.wav", "exact.wav")} == {0}
    assert max(item.offset for item in one.items if item.noise == "long.wav") <= 5


def test_an_item_depends_on_the_names_alone(clips, others, root):
    whole = {item.clip: item for item in make_manifest(clips, "mixtures", others, seed=1).items}
    backwards = LabelledClips(root, clips.files[::-1][:5], clips.classes[::-1][:5], clips.labels, seconds=0.5)
    shuffled = LabelledClips(root, others.files[::-1], others.classes[::-1], others.labels, seconds=0.5)
    for item in make_manifest(backwards, "mixtures", shuffled, seed=1).items:
        assert item == whole[item.clip]
    # A sound less changes only the items that met it.
    gone = others.names[0]
    fewer = LabelledClips(root, others.files[1:], others.classes[1:], others.labels, seconds=0.5)
    for item in make_manifest(clips, "mixtures", fewer, seed=1).items:
        assert (item == whole[item.clip]) == (whole[item.clip].noise != gone)


def in_flac(folder, target):
    """A copy of a folder with the same samples in other files."""
    import soundfile

    shutil.copytree(folder, target)
    for file in list(target.rglob("*.wav")):
        soundfile.write(file.with_suffix(".flac"), *soundfile.read(file, dtype="int16"))
        file.unlink()
    return target


def test_other_formats_and_folders_give_the_same_draws(root, speech_folder, tmp_path):
    talk = speech_folder(a=30_000, b=20_000)
    flac = in_flac(root, tmp_path / "deep" / "elsewhere")
    in_flac(talk, tmp_path / "talk")
    for condition in ("mixtures", "speech", "white-noise"):
        made = []
        for esc, folder in ((root, talk), (flac, tmp_path / "talk")):
            clips = ESC50(esc, folds=[5], seconds=0.5)
            noises = {"mixtures": ESC50(esc, folds=[4], seconds=0.5), "speech": SoundFolder(folder, seconds=0.5)}
            made.append((make_manifest(clips, condition, noises.get(condition)), clips, noises.get(condition)))
        (first, *_), (second, clips, noises) = made
        for a, b in zip(first.items, second.items, strict=True):
            assert b.clip == a.clip.replace(".wav", ".flac")
            assert (b.noise or "") == (a.noise or "").replace(".wav", ".flac")
            assert (a.offset, a.noise_seed, a.label) == (b.offset, b.noise_seed, b.label)
        # The hashes tell the copies apart; on request they serve all the same.
        with pytest.raises(AudioFileError, match=r"Other copies.*make_manifest with seed=0"):
            ManifestDataset(first, clips, noises)
        lax = ManifestDataset(first, clips, noises, check=False).tensors()[0]
        assert torch.equal(lax, ManifestDataset(second, clips, noises).tensors()[0])


def test_no_contamination_with_the_own_class(clips, others, speech):
    noise_class = {name: others.labels[k] for name, k in zip(others.names, others.classes, strict=True)}
    free = make_manifest(clips, "mixtures", others, per_clip=6)
    assert any(noise_class[item.noise] == item.label for item in free.items)
    strict = make_manifest(clips, "mixtures", others, per_clip=6, exclude_same_class=True)
    assert all(noise_class[item.noise] != item.label for item in strict.items)
    with pytest.raises(ConfigError, match="needs noises with labels"):
        make_manifest(clips, "speech", speech, exclude_same_class=True)


def test_what_makes_no_manifest(clips, others, root, speech_folder):
    with pytest.raises(ConfigError, match="'mixture' is not known.*'mixtures'"):
        make_manifest(clips, "mixture", others)
    with pytest.raises(ConfigError, match="needs recordings; pass noises="):
        make_manifest(clips, "speech")
    with pytest.raises(ConfigError, match="takes no recordings"):
        make_manifest(clips, "id", others)
    for count, condition in ((0, "white-noise"), (2, "id")):
        with pytest.raises(ConfigError, match=f"per_clip={count}"):
            make_manifest(clips, condition, per_clip=count)
    with pytest.raises(ConfigError, match=r"seed=1\.5"):
        make_manifest(clips, "id", seed=1.5)
    with pytest.raises(ConfigError, match=r"share 12 file\(s\).*another fold"):
        make_manifest(clips, "mixtures", ESC50(root, seconds=0.5))
    for options in ({"seconds": 0.25}, {"seconds": 0.5, "sample_rate": 8000}):
        with pytest.raises(ConfigError, match="differ in rate or length"):
            make_manifest(clips, "mixtures", ESC50(root, folds=[4], **options))
    clash = SoundFolder(speech_folder("clash", **{clips.names[0].removesuffix(".wav"): 99}), seconds=0.5)
    with pytest.raises(ConfigError, match="both have a file"):
        make_manifest(clips, "speech", clash)


def test_a_condition_of_ones_own_costs_one_entry(clips, others, monkeypatch):
    def hum(samples, seed):
        return np.sin(np.arange(samples) * (0.01 + seed % 100 / 1e4))

    monkeypatch.setitem(CONDITIONS, "hum", Condition("hum", 3.0, hum))
    manifest = make_manifest(clips, "hum")
    data = ManifestDataset(manifest, clips)
    clip, noise = data.stems(2)
    assert 10 * math.log10(clip.double().square().sum() / noise.double().square().sum()) == pytest.approx(3, abs=1e-4)
    expected = hum(T, manifest.items[2].noise_seed) * manifest.items[2].noise_gain
    assert noise.tolist() == pytest.approx(expected.tolist(), abs=1e-7)
    # Or pass it, without an entry.
    rain = Condition("rain", 0.0, hum, peak=None)
    own = make_manifest(clips, rain)
    assert {item.clip_gain for item in own.items} == {1.0}
    with pytest.raises(ConfigError, match="'rain' is not known"):
        ManifestDataset(own, clips)
    assert torch.allclose(ManifestDataset(own, clips, condition=rain).stems(0)[0], clips[0][0])
    louder = make_manifest(clips, replace(CONDITIONS["mixtures"], snr_db=0.0), others)
    clip, noise = ManifestDataset(louder, clips, others).stems(0)
    assert clip.norm().item() == pytest.approx(noise.norm().item(), rel=1e-5)
    for bad in (lambda samples, seed: np.zeros(3), lambda samples, seed: np.full(samples, np.nan)):
        with pytest.raises(ConfigError, match=f"must make {T} finite samples"):
            make_manifest(clips, Condition("bad", 0.0, bad))


def test_silent_clips_stay_finite(tmp_path, others):
    ax.save(tmp_path / "silent" / "a.wav", torch.zeros(T), 16000)
    clips = LabelledClips(tmp_path / "silent", [tmp_path / "silent" / "a.wav"], [0], others.labels, seconds=0.5)
    assert ManifestDataset(make_manifest(clips, "id"), clips)[0][0].eq(0).all()
    clip, noise = ManifestDataset(make_manifest(clips, "mixtures", others), clips, others).stems(0)
    assert clip.eq(0).all()
    assert noise.abs().max() == 1
    manifest = make_manifest(clips, "white-noise")
    manifest.save(tmp_path / "m.json")
    assert Manifest.load(tmp_path / "m.json") == manifest


def test_saved_and_loaded(clips, speech, tmp_path):
    manifest = make_manifest(clips, "speech", speech, per_clip=2, name="talk")
    path = tmp_path / "new" / "talk.json"
    manifest.save(path)
    assert Manifest.load(path) == manifest  # to the last bit of the gains
    lines = path.read_text().splitlines()
    assert sum('"clip": ' in line for line in lines) == len(manifest) == 24
    assert sum(line.startswith(f'"{clips.names[0]}"') for line in lines) == 1  # one line per file
    assert json.loads(path.read_text())["name"] == "talk"
    other = tmp_path / "again.json"
    Manifest.load(path).save(other)
    assert other.read_bytes() == path.read_bytes()
    with pytest.raises(FrozenInstanceError):
        manifest.seed = 3


def test_what_is_no_manifest(clips, tmp_path):
    path = tmp_path / "m.json"
    with pytest.raises(OutputError, match="cannot be read"):
        Manifest.load(path)
    make_manifest(clips, "id").save(path)
    whole = path.read_text()
    for damaged in (
        whole[:-30],
        whole.replace('"seed"', '"seeds"'),
        whole.replace('"offset": 0', '"offset": -1'),
        whole.replace('"clip_gain": 1.0', '"clip_gain": NaN'),
        whole.replace('{"clip": "audio/5-0-A-0.wav"', '{"clip": "audio/other.wav"'),
        "[]",
        "",
    ):
        path.write_text(damaged)
        with pytest.raises(OutputError, match="no manifest or a damaged one"):
            Manifest.load(path)
    path.write_text(whole.replace('"format": 1', '"format": 2'))
    with pytest.raises(OutputError, match="format 2, this version reads 1"):
        Manifest.load(path)
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(OutputError):
        Manifest.load(path)


def test_changed_and_missing_files_are_named(clips, others, root):
    manifest = make_manifest(clips, "mixtures", others)
    manifest.check(root)
    assert len(manifest.files) == len({item.clip for item in manifest.items} | {item.noise for item in manifest.items})
    for name in sorted(manifest.files)[:6]:
        ax.save(root / name, sound(T, 999), 16000)
    (root / sorted(manifest.files)[6]).unlink()
    pattern = rf"7 of {len(manifest.files)} files.*\(differs\).*and 2 more"
    with pytest.raises(AudioFileError, match=pattern):
        manifest.check(root)
    with pytest.raises(AudioFileError, match=pattern):
        ManifestDataset(manifest, clips, others)
    with pytest.raises(AudioFileError, match="missing"):
        manifest.check(root / "meta")
    with pytest.raises(ConfigError, match="needs the folders"):
        manifest.check()


def test_a_file_may_lie_in_any_of_the_folders(clips, speech, root, tmp_path):
    manifest = make_manifest(clips, "speech", speech)
    manifest.check(speech.root, root)
    shutil.copytree(root, tmp_path / "copy")
    ax.save(tmp_path / "copy" / manifest.items[0].clip, sound(T, 5), 16000)
    manifest.check(tmp_path / "copy", root, speech.root)
    with pytest.raises(AudioFileError, match="1 of"):
        manifest.check(tmp_path / "copy", speech.root)


def test_data_sets_that_do_not_fit(clips, others, root, esc_folder):
    manifest = make_manifest(clips, "mixtures", others)
    with pytest.raises(ConfigError, match="needs noises"):
        ManifestDataset(manifest, clips)
    with pytest.raises(AudioFileError, match=r"of 12 clips of the manifest 'mixtures' are not in the data set"):
        ManifestDataset(manifest, others, clips)
    with pytest.raises(ConfigError, match=r"sample_rate=16000, seconds=0\.5"):
        ManifestDataset(manifest, ESC50(root, folds=[5]), others)
    with pytest.raises(ConfigError, match="noises differ in rate"):
        ManifestDataset(manifest, clips, ESC50(root, folds=[4]))
    with pytest.raises(ConfigError, match="classes that clips lack"):
        ManifestDataset(manifest, ESC50(esc_folder("plain", rows=ESC_ROWS), seconds=0.5), others)
    more = ESC50(root, seconds=0.5)  # a data set may hold more than is needed
    assert torch.equal(
        ManifestDataset(manifest, more, more).tensors()[0], ManifestDataset(manifest, clips, others).tensors()[0]
    )


def test_an_empty_manifest(root):
    none = ESC50(root, folds=[1], seconds=0.5)
    data = ManifestDataset(make_manifest(none, "white-noise"), none)
    assert data.tensors()[0].shape == (0, T)
    assert data.stems()[1].shape == (0, T)


def test_shipped_names():
    assert shipped_manifests() == tuple(f"esc10-fold5-{c}" for c in ("id", "mixtures", "speech", "white-noise"))
    with pytest.raises(ConfigError, match=r"'esc10-fold5-mixture' .*nearest are 'esc10-fold5-mixtures'"):
        shipped_manifest("esc10-fold5-mixture")


def test_the_shipped_manifests_are_what_the_example_makes(data_root):
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "manifests.py"))
    for made in example["esc10_manifests"](data_root / "esc10", data_root / "speech"):
        frozen = shipped_manifest(made.name)
        assert frozen.files == made.files
        assert replace(frozen, items=()) == replace(made, items=())
        for a, b in zip(frozen.items, made.items, strict=True):
            assert replace(a, clip_gain=0, noise_gain=0) == replace(b, clip_gain=0, noise_gain=0)
            # Decoding and resampling may round otherwise on another machine.
            assert (a.clip_gain, a.noise_gain) == pytest.approx((b.clip_gain, b.noise_gain), rel=1e-4)


def test_the_shipped_manifests_on_the_real_clips(data_root):
    clips = ESC50(data_root / "esc10", folds=[5], esc10=True)
    noises = {
        "mixtures": ESC50(data_root / "esc10", folds=[4], esc10=True),
        "speech": SoundFolder(data_root / "speech"),
    }
    for condition in ("id", "mixtures", "speech", "white-noise"):
        manifest = shipped_manifest(f"esc10-fold5-{condition}")
        data = ManifestDataset(manifest, clips, noises.get(condition))
        waveforms, classes = data.tensors()
        assert waveforms.shape == (80, 80_000)
        assert classes.tolist() == clips.classes
        assert waveforms.isfinite().all()
        clip, noise = data.stems()
        assert torch.allclose(clip + noise, waveforms, atol=1.5e-7, rtol=0)
        if condition == "id":
            assert torch.equal(waveforms, clips.tensors()[0])
            continue
        assert waveforms.abs().amax(1).tolist() == pytest.approx([1.0] * 80, abs=1e-3)
        snr = 10 * torch.log10(clip.double().square().sum(1) / noise.double().square().sum(1))
        assert snr.tolist() == pytest.approx([{"white-noise": 6.0206}.get(condition, DB)] * 80, abs=1e-2)
    assert len({item.noise for item in shipped_manifest("esc10-fold5-mixtures").items}) > 40
    assert len({item.noise for item in shipped_manifest("esc10-fold5-speech").items}) == 4
    item = shipped_manifest("esc10-fold5-white-noise").items[0]
    expected = item.clip_gain * clips[0][0].double() + item.noise_gain * torch.from_numpy(
        white_noise(80_000, item.noise_seed)
    )
    assert torch.equal(waveforms[0], expected.float())
