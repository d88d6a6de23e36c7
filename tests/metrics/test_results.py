"""Tables, files and comparisons of results; impossible scores and clips that fail."""

import csv
import json
import math

import networks
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError, InputError, OutputError
from audioxai.metrics import ImpossibleScoresError, Results, evaluate


def results():
    generator = torch.Generator().manual_seed(0)
    ff = torch.rand(50, generator=generator)
    return Results(
        {
            "a & b": {"AI": torch.tensor([100.0, 0.0] * 25), "FF": ff},
            "other": {"AI": torch.full((50,), math.nan), "FF": ff - 0.1},
        },
        {"other": {3: "InputError: too short"}},
        {"a & b": 1.5},
        {"a & b": 12},
    )


def test_tables_say_the_same():
    made = results()
    cells = made.to_markdown().splitlines()[2].split(" | ")
    latex = made.to_latex().splitlines()
    assert latex[4] == r"a \& b & 50.0 & " + cells[2].strip(" |") + r" \\"
    assert latex[5].split(" & ")[1] == "--"
    assert latex[-1].startswith("% other: ")
    rows = list(csv.DictReader(made.to_csv().splitlines()))
    first = next(row for row in rows if row["explainer"] == "a & b" and row["metric"] == "FF")
    assert float(first["mean"]) == made.mean("a & b", "FF")
    assert (float(first["low"]), float(first["high"])) == made.interval("a & b", "FF")
    assert (first["clips"], first["undefined"]) == ("50", "0")


def test_notes_count_what_is_missing():
    assert results().notes() == [
        "other: undefined AI of 49 clip(s), left out of the mean.",
        "other: 1 clip(s) could not be explained; clip 3: InputError: too short",
    ]


def test_pairs_are_compared_clip_by_clip():
    mean, low, high = results().difference("a & b", "other", "FF")
    assert mean == pytest.approx(0.1, abs=1e-6)
    assert high - low < 1e-6  # the same difference on every clip, though the clips vary widely
    apart = results().interval("a & b", "FF")
    assert apart[1] - apart[0] > 0.1
    with pytest.raises(ConfigError, match="'A&B'; nearest: 'a & b'"):
        results().difference("A&B", "other", "FF")
    with pytest.raises(ConfigError, match="metric 'FD'; nearest: 'FF'"):
        results().mean("other", "FD")
    short = Results({**results().scores, "short": {"FF": torch.zeros(3)}})
    with pytest.raises(ConfigError, match="has 50 clips and 'short' 3"):
        short.difference("other", "short", "FF")


def test_saved_and_loaded(tmp_path):
    made = results()
    made.save(tmp_path / "scores")
    again = Results.load(tmp_path / "scores.npz")
    assert again.to_csv() == made.to_csv()
    assert (again.failures, again.seconds, again.passes) == (made.failures, made.seconds, made.passes)
    (tmp_path / "bad.npz").write_bytes(b"no")
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "scores.npz").read_bytes()[:300])
    (tmp_path / "cut.json").write_text((tmp_path / "scores.json").read_text())
    for name in ("bad", "missing", "cut"):
        with pytest.raises(OutputError, match="holds no saved results"):
            Results.load(tmp_path / name)


GOOD = {"AI": 100.0, "AD": 0.0, "AG": 30.0, "FF": 0.2, "Fid-In": 1.0, "SPS": 0.5, "COMP": 3.0, "MM": 0.4}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"AG": 101.0}, "AG outside 0 to 100"),
        ({"AI": 0.0}, "AG > AI"),
        ({"AG": 0.0}, "AI > 0 without AG"),
        ({"AD": 20.0}, r"AI \+ AD > 100"),
        ({"AI": 0.0, "AG": 0.0, "AD": 20.0, "MM": 1.0}, ".*keeps everything"),
        ({"SPS": 36.62}, "SPS outside 0 to 1"),
        ({"FF": -2.0}, "FF outside"),
        ({"COMP": -1.0}, "COMP outside"),
    ],
)
def test_impossible_scores_make_no_table(change, words):
    scores = {name: torch.tensor([value, value]) for name, value in GOOD.items()}
    Results({"fine": scores}).to_markdown()
    broken = {**scores, **{name: torch.tensor([GOOD[name], value]) for name, value in change.items()}}
    for table in (Results.to_markdown, Results.to_latex, Results.to_csv):
        with pytest.raises(ImpossibleScoresError, match=f"bad, clip 1: {words}"):
            table(Results({"fine": scores, "bad": broken}))


class Louder(ax.EnergyMask):
    """An explainer that breaks its promise: the clip is louder after it."""

    def _solve(self, analysis, target):
        solution = super()._solve(analysis, target)
        object.__setattr__(solution, "mask", 1.0005 * solution.mask)
        return solution


def test_an_explainer_that_breaks_an_invariant_is_found():
    made = evaluate({"louder": Louder(networks.log_mel_cnn(), share=1.0, scale="magnitude")}, [networks.clips(2, 4000)])
    with pytest.raises(ImpossibleScoresError, match="louder, clip 0: MM outside 0 to 1"):
        made.to_markdown()


class Moody(ax.EnergyMask):
    def _solve(self, analysis, target):
        if (analysis.waveform[:, 0] > 0.9).any():
            raise RuntimeError("not this one")
        return super()._solve(analysis, target)


def test_a_clip_that_cannot_be_explained_is_recorded():
    classifier = networks.log_mel_cnn()
    clips = networks.clips(5, 4000)
    clips[3, 0] = 0.95
    named = {"moody": Moody(classifier), "energy": ax.EnergyMask(classifier)}
    made = evaluate(named, [clips[:2], clips[2:]])
    assert made.failures == {"moody": {3: "RuntimeError: not this one"}, "energy": {}}
    assert made.scores["moody"]["MM"].isnan().tolist() == [False, False, False, True, False]
    keep = [0, 1, 2, 4]
    for name, values in made.scores["energy"].items():
        torch.testing.assert_close(made.scores["moody"][name][keep], values[keep], rtol=1e-4, atol=1e-4)
    assert "1 clip(s) could not be explained; clip 3: RuntimeError: not this one" in made.to_markdown()
    clips[:, 0] = 0.95
    with pytest.raises(RuntimeError, match="not this one"):
        evaluate(named, [clips])


def test_time_and_passes_are_counted():
    classifier = networks.log_mel_cnn()
    clips = networks.clips(4, 4000)
    made = evaluate({"energy": ax.EnergyMask(classifier), "occlusion": ax.Occlusion(classifier, tiles=(2, 2))}, [clips])
    # Energy: clip, kept, removed. Occlusion: whole and four tiles, one pass to name the class, and kept and removed.
    assert made.passes == {"energy": 4 * 3, "occlusion": 4 * (5 + 1 + 2)}
    assert all(seconds > 0 for seconds in made.seconds.values())
    assert not classifier.network._forward_pre_hooks


def test_a_judge_takes_an_stft_of_the_callers_own():
    classifier, judge = networks.log_mel_cnn(), networks.log_mel_cnn()
    stft = ax.dsp.STFT(512, 400, 100)
    explainer = ax.EnergyMask(classifier, space=ax.STFTSpace(classifier, "magnitude", stft=stft))
    made = evaluate({"energy": explainer}, [networks.clips(2, 4000)], judges=[judge])
    found = made.scores["energy"]
    torch.testing.assert_close(found["judge AD"], found["AD"], rtol=1e-3, atol=1e-3)


def test_names_with_dots_are_kept_apart(tmp_path):
    for rate, value in (("0.1", 0.25), ("0.2", 0.5)):
        Results({"a": {"FF": torch.tensor([value])}}).save(tmp_path / f"lr{rate}")
    assert Results.load(tmp_path / "lr0.1").mean("a", "FF") == 0.25


def test_no_scores_make_no_table():
    for table in (Results.to_markdown, Results.to_latex, Results.to_csv):
        with pytest.raises(InputError, match="no scores to make a table of"):
            table(Results())


def test_a_reason_stays_on_its_line():
    made = Results({"a": {"FF": torch.tensor([0.1, math.nan])}}, {"a": {1: "RuntimeError: one\ntwo"}})
    assert made.to_latex().splitlines()[-1] == "% a: 1 clip(s) could not be explained; clip 1: RuntimeError: one two"


def test_json_has_everything_and_no_nan():
    found = json.loads(results().to_json(), parse_constant=lambda name: pytest.fail(name))
    one, other = found["explainers"]["a & b"], found["explainers"]["other"]
    assert one["metrics"]["FF"]["mean"] == results().mean("a & b", "FF")
    assert [one["metrics"]["FF"]["low"], one["metrics"]["FF"]["high"]] == list(results().interval("a & b", "FF"))
    assert (one["clips"], one["failed"], one["seconds"], one["passes"]) == (50, 0, 1.5, 12)
    assert other["metrics"]["AI"] == {"mean": None, "low": None, "high": None, "undefined": 50}
    assert (other["failed"], other["seconds"]) == (1, None)
    assert found["notes"] == results().notes()


def test_costs_per_clip():
    head, _, first, second = results().to_markdown(costs=True).splitlines()[:4]
    assert head.endswith("| s/clip | passes/clip |")
    assert first.endswith("| 0.030 | 0.2 |")
    assert second.endswith("| nan | nan |")
    assert str(results()) == results().to_markdown()
    with pytest.raises(ConfigError, match="explainer 'b'; nearest"):
        results().clips("b")


def test_a_single_clip_has_no_interval_and_the_table_says_so():
    one = Results({"cam": {"AD": torch.tensor([3.0])}})
    assert all(math.isnan(bound) for bound in one.interval("cam", "AD"))
    assert one.notes() == ["Fewer than two clips: no interval can be given."]


def test_increases_are_counts_of_clips_and_runs():
    half = {"a": {"AI": torch.tensor([50.0, 0.0])}}
    with pytest.raises(ImpossibleScoresError, match="AI that no count of rises gives"):
        Results(half).rows()
    assert Results(half, runs={"a": 2}).rows()[0]["AI"] == "25.0"


def test_constant_masks_are_counted():
    sps, half = torch.tensor([0.0, 0.3, math.nan]), torch.tensor([0.5, 0.2, 0.0])
    notes = Results({"cam": {"SPS": sps, "MM": half}, "ones": {"SPS": torch.zeros(3), "MM": torch.ones(3)}}).notes()
    assert notes == [
        "cam: undefined SPS of 1 clip(s), left out of the mean.",
        "cam: the mask of 1 clip(s) is constant.",
    ]


def test_columns_are_joined_by_name():
    made = Results(
        {"a": {"MM": torch.ones(2), "FF": torch.zeros(2)}, "b": {"FF": torch.ones(2), "my_%": torch.zeros(2)}}
    )
    lines = made.to_markdown().splitlines()
    assert lines[0] == "| | MM | FF | my_% |"
    assert lines[2:4] == ["| a | 1.00 | 0.00 | – |", "| b | – | 1.00 | 0.00 |"]
    assert r" & MM & FF & my\_\% \\" in made.to_latex()


def test_no_negative_zero():
    assert Results({"a": {"FF": torch.tensor([-1e-9, 0.0])}}).rows()[0]["FF"] == "0.00"


def test_rows_of_different_scales_are_told(tmp_path):
    classifier, clips = networks.log_mel_cnn(), networks.clips(2, 4000)
    both = {"a": ax.EnergyMask(classifier, scale="magnitude"), "b": ax.EnergyMask(classifier, scale="log1p")}
    found = ax.evaluate(both, [clips], metrics=["AD"])
    note = "Masks of different scales do not compare. log1p: b; magnitude: a."
    assert note in found.to_markdown() and note in found.to_latex() and note in found.to_json()
    found.save(tmp_path / "scores")
    assert Results.load(tmp_path / "scores").notes() == found.notes()
    one = ax.evaluate({"a": both["a"]}, [clips], metrics=["AD"])
    assert one.scales == {"a": "magnitude"} and not any("scale" in note for note in one.notes())
