"""The benchmark, end to end on small data sets in the layouts of the real ones."""

import csv
import json
import time
from pathlib import Path

import pytest
import torch
from benchmark import trees
from benchmark.trees import SMALL, quiet

import audioxai as ax
from audioxai.benchmark import stages
from audioxai.benchmark.evaluation_sets import make_set
from audioxai.benchmark.networks import halving
from audioxai.benchmark.protocol import load_data
from audioxai.benchmark.report import write_report
from audioxai.benchmark.run import run
from audioxai.benchmark.run_files import Store
from audioxai.benchmark.settings import Settings
from audioxai.errors import AudioFileError, ConfigError, OutputError
from audioxai.metrics import GROUND_TRUTH, STANDARD, Results
from audioxai.nn import CompactCNN


@pytest.fixture(scope="module")
def full(esc, tmp_path_factory):
    """A run over everything, and its folder."""
    out = tmp_path_factory.mktemp("out")
    settings = Settings(
        "esc50", esc, out, conditions=("id", "mixtures", "speech", "white-noise", "noise"), spaces=("stft", "mel"),
        speech=trees.speech(out / "said"), noise=trees.speech(out / "heard"), seeds=2, **SMALL,
    )  # fmt: skip
    report = run(settings, quiet, command="audioxai benchmark esc50 --root ESC")
    return settings, report, write_report(report)


def test_every_condition_and_space_has_its_table(full):
    _, report, written = full
    assert [(t.condition, t.space) for t in report.tables] == [
        (c, s) for c in ("id", "mixtures", "speech", "white-noise", "noise") for s in ("stft", "mel")
    ]
    for table in report.tables:
        assert list(table.results.scores) == ["AllOnes", "RandomMask", "EnergyMask", "GradCAM", "L-MAC (evidence)"]
        assert table.clips == 6
        assert set(table.accuracy) == {"network", "judge"}
        scores = table.results.scores["L-MAC (evidence)"]
        assert {*STANDARD, "AD published", "SPS published", "judge AD", "judge Fid-In"} <= set(scores)
        assert set(GROUND_TRUTH) <= set(scores) or table.condition == "id"
        assert table.results.runs["L-MAC (evidence)"] == 2
        assert table.results.mean("AllOnes", "AD") == 0
        low, high = table.spread["L-MAC (evidence)"]["MM"]
        assert low <= table.results.mean("L-MAC (evidence)", "MM") <= high
    names = {path.name for path in written}
    assert {"tables.md", "tables.tex", "tables.csv", "tables.json", "index.html", "plot-speech-mel.png"} <= names
    assert all(path.stat().st_size > 500 for path in written)


def test_what_a_reader_finds(full):
    settings, report, _ = full
    text = (settings.out / "tables.md").read_text()
    assert text.startswith("# Benchmark: esc50\n\n    audioxai benchmark esc50 --root ESC\n\n## esc50, id, stft masks")
    assert "6 clips. Accuracy: network " in text
    assert "Mean of several fits: L-MAC (evidence)." in text
    assert "| 60.63 | 4.82 | 35.85 |" in text  # the published row of L-MAC on mixtures, STFT
    assert "Does L-MAC lead" in text
    assert f"torch: {torch.__version__}" in text
    rows = list(csv.DictReader((settings.out / "tables.csv").open()))
    assert {row["condition"] for row in rows} == {"id", "mixtures", "speech", "white-noise", "noise"}
    found = json.loads((settings.out / "tables.json").read_text())
    drop = found["tables"][0]["explainers"]["GradCAM"]["metrics"]["AD"]
    assert drop["mean"] == pytest.approx(report.tables[0].results.mean("GradCAM", "AD"))
    page = (settings.out / "index.html").read_text()
    assert page.count("<audio") == 3 * 5
    assert "esc50, white-noise, mel masks, compact" in page
    assert 0 < report.facts["share of fits and evaluations inside the classifier, at least"] < 1


def test_a_second_run_does_nothing_and_a_change_only_what_hangs_on_it(full):
    settings, report, _ = full
    before = {
        path: path.stat().st_mtime_ns
        for kind in ("networks", "fits", "scores")
        for path in (settings.out / kind).rglob("*")
        if path.is_file()
    }
    lines = []
    again = run(settings, lines.append)
    assert len(lines) == 1  # what the data are
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    for old, new in zip(report.tables, again.tables, strict=True):
        assert old.results.to_csv() == new.results.to_csv()
    lines.clear()
    run(
        Settings(**{**vars(settings), "epochs": 2, "conditions": ("id",), "seeds": 1, "spaces": ("stft",)}),
        lines.append,
    )
    made = [line for line in lines if not line.startswith("esc50:")]
    assert made == ["fit L-MAC (evidence), stft, seed 0", "id, stft, L-MAC (evidence), seed 0"]


def test_manifests_are_kept_and_can_be_frozen(full, esc, tmp_path):
    settings, report, _ = full
    frozen = settings.out / "manifests"
    assert sorted(path.stem for path in frozen.iterdir()) == ["id", "mixtures", "noise", "speech", "white-noise"]
    where = {**vars(settings), "conditions": ("mixtures",), "spaces": ("stft",), "methods": ("gradcam",)}
    again = run(Settings(**{**where, "manifests": frozen}), quiet)
    assert again.tables[0].results.mean("GradCAM", "AD") == report.tables[2].results.mean("GradCAM", "AD")
    other = trees.esc50(tmp_path / "esc")
    clip = next((other / "audio").glob("5-*"))
    ax.save(clip, 0.1 * torch.ones(16000), 16000)
    with pytest.raises(AudioFileError, match=f"{clip.name}.*differs"):
        run(Settings(**{**where, "manifests": frozen, "root": other, "out": tmp_path / "out"}), quiet)


def made_by(settings):
    """The stages that a run makes."""
    lines = []
    report = run(settings, lines.append)
    return lines[1:], report


def test_whatever_decides_a_result_makes_it_anew(tmp_path):
    """Length, labels, layers and training clips: none may hand out what was made for another."""
    root, labels = trees.folder(tmp_path / "clips", per_class=8)
    where = {"data": "folder", "root": root, "out": tmp_path / "out", "labels": labels, "conditions": ("id",),
             **SMALL, "methods": ("gradcam", "lmac")}  # fmt: skip
    first, _ = made_by(Settings(**where))
    assert sum(line.startswith("training") for line in first) == 2
    assert made_by(Settings(**where))[0] == []
    shorter, _ = made_by(Settings(**{**where, "seconds": 0.5}))
    assert len(shorter) == len(first)
    text = labels.read_text()
    labels.write_text(text.replace("siren\n", "x\n").replace(",hiss\n", ",siren\n").replace(",x\n", ",hiss\n"))
    assert len(made_by(Settings(**where))[0]) == len(first)
    labels.write_text(text)
    mine = {**where, "classifier": own()}
    fresh, _ = made_by(Settings(**mine))
    assert [line.split(", ")[-1] for line in fresh] == [
        "seed 0", "AllOnes", "RandomMask", "EnergyMask", "GradCAM", "seed 0",
    ]  # fmt: skip
    other = ax.AudioClassifier(
        own().network, sample_rate=16000, frontend=ax.LogMel(16000), labels=own().labels, layers=["blocks.1"]
    )
    assert len(made_by(Settings(**{**where, "classifier": other.eval()}))[0]) == len(fresh)
    held_out = json.loads((tmp_path / "out" / "manifests" / "id.json").read_text())["items"]
    train = next(p for p in root.glob("*.wav") if p.name not in {item["clip"] for item in held_out})
    ax.save(train, 0.1 * torch.ones(16000), 16000)
    again, _ = made_by(Settings(**mine))  # fitted on other clips, so scored anew; the others stay
    assert [line.split(", ")[0] for line in again] == ["fit L-MAC (evidence)", "id"]
    test = root / held_out[0]["clip"]
    ax.save(test, 0.1 * torch.ones(16000), 16000)
    again, _ = made_by(Settings(**mine))
    assert [line.split(", ")[-1] for line in again] == ["AllOnes", "RandomMask", "EnergyMask", "GradCAM", "seed 0"]


def test_a_method_that_does_not_work_here_has_no_row_and_a_reason(tmp_path):
    root, labels = trees.folder(tmp_path / "clips")
    torch.manual_seed(0)

    class Smooth(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = torch.nn.Conv1d(80, 8, 3), torch.nn.Linear(8, 3)

        def forward(self, mel):
            return self.head(torch.tanh(self.conv(mel.transpose(1, 2))).mean(2))

    network = ax.AudioClassifier(
        Smooth(), sample_rate=16000, frontend=ax.LogMel(16000), labels=sorted(trees.CLASSES)
    ).eval()
    settings = Settings("folder", root, tmp_path / "out", labels=labels, classifier=network, conditions=("id",),
                        **{**SMALL, "methods": ("saliency", "guided-backprop")})  # fmt: skip
    for _ in range(2):  # kept, like scores
        table = run(settings, quiet).tables[0]
        assert list(table.results.scores) == ["AllOnes", "RandomMask", "EnergyMask", "Saliency"]
        assert any(note.startswith("No row for GuidedBackprop: ClassifierError") for note in table.notes)
        assert any("may have been trained on" in note for note in table.notes)


def test_the_second_stage_goes_on_from_the_first(esc, tmp_path):
    settings = {"conditions": ("id",), **SMALL, "methods": ("lmac-ft-0.6", "lmac-ft-0.7")}
    said = []
    report = run(Settings("esc50", esc, tmp_path, **settings), said.append)
    assert list(report.tables[0].results.scores)[-2:] == ["L-MAC FT (CTH 0.6)", "L-MAC FT (CTH 0.7)"]
    assert [line for line in said if line.startswith("fit ")] == [
        f"fit L-MAC {name}, stft, seed 0" for name in ("(evidence)", "FT (CTH 0.6)", "FT (CTH 0.7)")
    ]
    fits = [json.loads(f.read_text()) for f in (tmp_path / "fits").glob("*/explainer.json")]
    assert sorted((f["learnt"]["finetuned_"] or {}).get("cth", 0) for f in fits) == [0, 0.6, 0.7]
    again = []
    run(Settings("esc50", esc, tmp_path, **settings), again.append)
    assert not [line for line in again if line.startswith("fit ")]


def test_one_fit_is_read_at_two_thresholds(esc, tmp_path):
    said = []
    settings = {"conditions": ("id",), **SMALL, "methods": ("l2i-0.4",)}
    report = run(Settings("esc50", esc, tmp_path, **settings), said.append)
    results = report.tables[0].results
    assert list(results.scores)[-1] == "L2I (RTH 0.4)"
    assert "fit L2I (RTH 0.2), stft, seed 0" in said
    both = (
        run(Settings("esc50", esc, tmp_path, **settings | {"methods": ("l2i-0.2", "l2i-0.4")}), quiet).tables[0].results
    )
    assert torch.equal(both.scores["L2I (RTH 0.4)"]["MM"], results.scores["L2I (RTH 0.4)"]["MM"])
    low, high = (both.scores[f"L2I (RTH {threshold})"]["MM"] for threshold in (0.2, 0.4))
    assert (low >= high).all()  # a higher threshold keeps fewer components
    assert (low > high).any()


def test_several_contaminations_of_a_clip_count_once(esc, tmp_path):
    settings = Settings("esc50", esc, tmp_path, conditions=("mixtures",), per_clip=3, clips=4,
                        **{**SMALL, "methods": ("gradcam",)})  # fmt: skip
    table = run(settings, quiet).tables[0]
    assert table.clips == 4
    assert table.results.runs["GradCAM"] == 3
    saved = [Results.load(p) for p in (tmp_path / "scores").glob("*.scores.npz")]
    row = next(one.scores["GradCAM"] for one in saved if "GradCAM" in one.scores)
    assert row["AD"].shape == (12,)
    expected = row["AD"].reshape(4, 3).double().mean(1)
    torch.testing.assert_close(table.results.scores["GradCAM"]["AD"], expected)


def test_a_part_of_the_same_class_is_no_truth(esc, tmp_path):
    settings = Settings("esc50", esc, tmp_path, conditions=("mixtures",), per_clip=6,
                        **{**SMALL, "methods": ("gradcam",), "classifier_epochs": 1})  # fmt: skip
    run(settings, quiet)
    manifest = json.loads((tmp_path / "manifests" / "mixtures.json").read_text())["items"]
    same = torch.tensor([item["clip"].split("-")[-1] == item["noise"].split("-")[-1] for item in manifest])
    assert 0 < same.sum() < len(same)
    data = load_data("esc50", esc, conditions=("mixtures",), seconds=1.0)
    assert make_set(data, "mixtures", 6, None, None).same == same.tolist()


def test_urbansound(tmp_path):
    settings = Settings(
        "us8k", trees.us8k(tmp_path / "us8k"), tmp_path / "out", conditions=("id", "mixtures"),
        **{**SMALL, "methods": ("gradcam",)},
    )  # fmt: skip
    report = run(settings, quiet)
    assert [table.clips for table in report.tables] == [3, 3]
    manifest = json.loads((tmp_path / "out" / "manifests" / "mixtures.json").read_text())
    assert {item["clip"].split("/")[1] for item in manifest["items"]} == {"fold10"}
    assert {item["noise"].split("/")[1] for item in manifest["items"]} == {"fold9"}
    assert report.tables[0].published() == []


def own():
    torch.manual_seed(0)
    labels = ("extra", *trees.CLASSES)
    return ax.AudioClassifier(CompactCNN(4), sample_rate=16000, frontend=ax.LogMel(16000), labels=labels).eval()


def test_a_table_with_whole_paths_beside_a_root_without(tmp_path, monkeypatch):
    root, labels = trees.folder(tmp_path / "clips")
    usual = load_data("folder", root, labels=labels, conditions=("id",), seconds=1.0)
    rows = labels.read_text().splitlines()
    whole = tmp_path / "whole.csv"
    whole.write_text("\n".join([rows[0], *(f"{root}/{row}" for row in rows[1:])]))
    monkeypatch.chdir(tmp_path)
    found = load_data("folder", Path("clips"), labels=whole, conditions=("id",), seconds=1.0)
    assert (found.train.names, found.test.names) == (usual.train.names, usual.test.names)
    whole.write_text(whole.read_text() + f"\n{tmp_path / 'outside.wav'},siren")
    (tmp_path / "outside.wav").write_bytes(usual.train.files[0].read_bytes())
    with pytest.raises(ConfigError, match=r"outside.wav' is not below root='clips'"):
        load_data("folder", Path("clips"), labels=whole, conditions=("id",), seconds=1.0)


def test_a_folder_and_a_network_of_your_own(tmp_path):
    root, labels = trees.folder(tmp_path / "clips")
    settings = Settings(
        "folder", root, tmp_path / "out", labels=labels, classifier=own(), conditions=("id", "mixtures"), **SMALL
    )
    report = run(settings, quiet)
    assert [table.network for table in report.tables] == ["own classifier"] * 2
    assert [table.clips for table in report.tables] == [3, 3]  # one of each class's four
    assert "judge AD" not in report.tables[0].results.scores["GradCAM"]
    stranger = ax.AudioClassifier(
        CompactCNN(2), sample_rate=16000, frontend=ax.LogMel(16000), labels=["hiss", "sirens"]
    )
    with pytest.raises(ConfigError, match="class 'knocks', the classifier has not"):
        run(Settings(**{**vars(settings), "classifier": stranger.eval()}), quiet)


def test_a_budget_is_kept_by_fewer_clips_and_said(esc, tmp_path):
    settings = Settings("esc50", esc, tmp_path, conditions=("id",), budget=1e-4, **SMALL)
    report = run(settings, quiet)
    table = report.tables[0]
    assert list(table.results.scores) == ["AllOnes", "RandomMask", "EnergyMask"]
    assert "Left out for the budget of 0.0001 minutes: GradCAM, L-MAC (evidence)." in table.to_markdown()
    again = run(settings, quiet)  # decided once
    assert again.tables[0].results.to_csv() == table.results.to_csv()
    roomy = run(Settings("esc50", esc, tmp_path, conditions=("id",), budget=100, **SMALL), quiet)
    assert roomy.tables[0].clips == 6
    assert roomy.tables[0].notes == []


def test_a_budget_counts_every_worker_and_what_is_spent(esc, tmp_path, monkeypatch):
    data = load_data("esc50", esc, conditions=("id",), seconds=1.0, cache=tmp_path / "clips")
    given = []
    monkeypatch.setattr(stages, "within_budget", lambda seconds, *_rest: given.append(seconds) or {})
    for workers in (1, 2):
        store = Store(tmp_path / str(workers))
        store.make("fits", "a long fit", {}, lambda _place: time.sleep(0.2))
        settings = Settings("esc50", esc, store.folder, workers=workers)
        made = stages.Stages(settings, store, data, torch.device("cpu"), quiet)
        made.networks = []
        made.plan(10.0, [], [])
    left = [600 * workers * 0.9 - seconds for workers, seconds in enumerate(given, 1)]
    assert left == pytest.approx(2 * [0.2], abs=0.15)


def test_fewer_clips_are_spread_over_the_classes(esc, tmp_path):
    settings = Settings("esc50", esc, tmp_path, conditions=("id",), clips=3, **{**SMALL, "methods": ("gradcam",)})
    run(settings, quiet)
    record = next(json.loads(p.read_text()) for p in (tmp_path / "scores").glob("*.json") if "scores" not in p.stem)
    assert len(record["inputs"]["set"]["items"]) == 3
    manifest = json.loads((tmp_path / "manifests" / "id.json").read_text())
    assert len({manifest["items"][i]["label"] for i in record["inputs"]["set"]["items"]}) == 3


def test_two_runs_into_one_folder(esc, tmp_path):
    with Store(tmp_path).locked():
        with pytest.raises(OutputError, match="another run is writing"):
            run(Settings("esc50", esc, tmp_path, **SMALL), quiet)


def test_paths_may_be_text(esc, tmp_path):
    settings = Settings(
        "esc50", str(esc), str(tmp_path / "out"), conditions=("id",), **{**SMALL, "methods": ("gradcam",)}
    )
    assert settings.root == esc
    assert write_report(run(settings, quiet))[-1] == tmp_path / "out" / "index.html"


def test_names_that_are_not_known(esc, tmp_path):
    for options, match in (
        ({"data": "esc5"}, "data set 'esc5' is not known; the nearest are 'esc50'"),
        ({"conditions": ("white_noise",)}, "condition 'white_noise'.*'white-noise'"),
        ({"methods": ("gradcan",)}, "method 'gradcan'.*'gradcam'"),
        ({"spaces": ("fft",)}, "space 'fft'.*'stft'"),
        ({"network": "cnn15"}, "network 'cnn15'.*'cnn14'"),
        ({"conditions": ()}, "must name at least one"),
        ({"spaces": ("stft", "stft")}, "each once"),
        ({"seeds": 0}, "seeds=0"),
        ({"budget": -1.0}, "budget=-1.0"),
    ):
        with pytest.raises(ConfigError, match=match):
            Settings(**{"data": "esc50", "root": esc, "out": tmp_path, **options})


def test_data_that_are_not_there(esc, tmp_path):
    with pytest.raises(AudioFileError, match=r"holds no ESC-50: expected meta/esc50.csv"):
        run(Settings("esc50", tmp_path / "none", tmp_path / "out"), quiet)
    lines = []
    with pytest.raises(AudioFileError, match="pass --speech FOLDER"):
        run(Settings("esc50", esc, tmp_path / "out", conditions=("speech",), **SMALL), lines.append)
    assert len(lines) == 1  # before any training
    root, labels = trees.folder(tmp_path / "twice")
    labels.write_text(labels.read_text() + "siren-0.wav,hiss\n")
    with pytest.raises(ConfigError, match=r"lists .*siren-0.wav' more than once"):
        run(Settings("folder", root, tmp_path / "out", labels=labels, **SMALL), quiet)
    broken = trees.esc50(tmp_path / "broken")
    clip = next((broken / "audio").glob("5-*"))
    clip.write_bytes(b"no sound")
    settings = Settings("esc50", broken, tmp_path / "out", conditions=("id",), **{**SMALL, "methods": ("gradcam",)})
    with pytest.raises(AudioFileError, match=f"1 of 6 clip.*{clip.name}.*skip_bad=True"):
        run(settings, quiet)
    lines = []
    report = run(Settings(**{**vars(settings), "skip_bad": True}), lines.append)
    assert report.tables[0].clips == 5
    assert any(line.startswith("left out") and clip.name in line for line in lines)


def test_out_of_memory_halves_the_batch_and_is_said_once():
    tried, lines = [], []

    def attempt(batch):
        tried.append(batch)
        if batch > 4:
            raise torch.OutOfMemoryError("full")
        return batch

    assert halving(attempt, 16, lines.append) == 4
    assert tried == [16, 8, 4]
    assert len(lines) == 1
    with pytest.raises(torch.OutOfMemoryError):
        halving(lambda _: attempt(100), 2, quiet)


def test_clips_of_their_own_class_are_told_or_left_out(tmp_path):
    root, labels = trees.folder(tmp_path / "clips", per_class=8)
    where = {"labels": labels, "classifier": own(), "conditions": ("mixtures",), **SMALL, "methods": ("gradcam",)}
    plain = run(Settings("folder", root, tmp_path / "plain", per_clip=3, **where), quiet)
    told = [note for note in plain.tables[0].notes if note.startswith("Measures of known parts leave out")]
    assert len(told) == 1
    write_report(plain)
    page = (tmp_path / "plain" / "index.html").read_text()
    assert told[0] in page and "Accuracy: network" in page
    data = load_data("folder", root, labels=labels, conditions=("mixtures",), seconds=1.0)
    made = make_set(data, "mixtures", 3, None, None, True)
    assert not any(made.same)
    usual = make_set(data, "mixtures", 3, None, None)
    assert any(usual.same)
    run(Settings("folder", root, tmp_path / "other", per_clip=3, exclude_same_class=True, **where), quiet)
    frozen = json.loads((tmp_path / "other" / "manifests" / "mixtures.json").read_text())
    for item in frozen["items"]:
        assert item["clip"].split("-")[0] != item["noise"].split("-")[0]


def test_lmac_is_read_out_by_its_masks_and_by_its_sounds_beside_lmac_td(esc, tmp_path):
    said = []
    settings = Settings(
        "esc50", esc, tmp_path / "out", conditions=("mixtures",), seconds=1.0, epochs=1, classifier_epochs=2,
        methods=("lmac", "lmac-heard", "lmac-td-0", "lmac-td-0.75"),
    )  # fmt: skip
    scores = run(settings, said.append).tables[0].results.scores
    names = ["L-MAC (evidence)", "L-MAC (evidence), as heard", "LMAC-TD (alpha 0)", "LMAC-TD (alpha 0.75)"]
    assert list(scores)[-4:] == names
    masks, sounds = scores[names[0]], scores[names[1]]
    for metric in ("MM", "SI-SDR", "SI-SAR", "SIR gain"):
        torch.testing.assert_close(masks[metric], sounds[metric], equal_nan=True)
    assert not torch.equal(masks["AD"], sounds["AD"])
    assert scores[names[2]]["FF"].isfinite().all()
    assert [line for line in said if line.startswith("fit ")].count("fit L-MAC (evidence), stft, seed 0") == 1
