"""Exports of a listening test: read against the key, screened, summarised, and refused with a reason."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracles
import pytest
from listeners import answers, methods

from audioxai.commands import main as cli_module
from audioxai.errors import InputError, OutputError
from audioxai.listening import listening_results, listening_test
from audioxai.listening.stimuli import ANCHOR, REFERENCE

Said = dict[str, Any]
BEST = {"L-MAC": 75, "GradCAM": 50, "louder 16 %": 40, REFERENCE: 60, ANCHOR: 5}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return listening_test(methods(), tmp_path_factory.mktemp("test") / "listening.html").key


def attentive(sound: Said, rng: random.Random) -> dict[str, int]:
    """Each method has its own mean, each listener and clip some noise; the hidden reference is heard as such."""
    quality = rng.randint(92, 100) if sound["kind"] == "reference" else rng.randint(10, 80)
    return {"relevance": BEST[sound["method"]] + rng.randint(-5, 5), "quality": quality}


def deaf(sound: Said, rng: random.Random) -> dict[str, int]:
    return {**attentive(sound, rng), "quality": rng.randint(20, 89)}


def panel(key: Path, folder: Path, n: int = 8, **changes: Any) -> list[Path]:
    return [answers(key, folder, f"L{i}", attentive, **changes) for i in range(n)]


def edited(file: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    facts = json.loads(file.read_text())
    change(facts)
    file.write_text(json.dumps(facts))
    return file


# --- the figures ----------------------------------------------------------------------------------------------------


def by_hand(files: list[Path], key: Path) -> dict[tuple[str, str], list[float]]:
    """(method, scale) to one mean per listener, straight from the JSON."""
    facts = json.loads(key.read_text())
    found: dict[tuple[str, str], list[float]] = {}
    for file in files:
        mine: dict[tuple[str, str], list[float]] = {}
        for trial in json.loads(file.read_text())["trials"]:
            for stimulus, rating in trial["ratings"].items():
                method = facts["trials"][trial["trial"]]["stimuli"][stimulus]["method"]
                for scale in ("relevance", "quality"):
                    mine.setdefault((method, scale), []).append(rating[scale])
        for place, ratings in mine.items():
            found.setdefault(place, []).append(sum(ratings) / len(ratings))
    return found


def test_means_and_tests_by_hand(key: Path, tmp_path: Path) -> None:
    files = panel(key, tmp_path)
    results, expected = listening_results(files, key), by_hand(files, key)
    assert set(results.means) == set(expected) and len(expected) == 10
    for place, values in expected.items():
        mean = sum(values) / 8
        s = math.sqrt(sum((v - mean) ** 2 for v in values) / 7)
        half = 2.3646 * s / math.sqrt(8)  # t for 7 degrees of freedom
        assert results.means[place] == pytest.approx((mean, mean - half, mean + half, 8), rel=1e-4)
    for scale in ("relevance", "quality"):
        pairs = list(itertools.combinations(methods(), 2))
        found = [c for c in results.comparisons if c.scale == scale]
        assert [(c.first, c.second) for c in found] == pairs
        differences = [[a - b for a, b in zip(expected[x, scale], expected[y, scale], strict=True)] for x, y in pairs]
        p = [oracles.signed_rank_p([round(d, 9) for d in one]) for one in differences]
        assert [c.test.p for c in found] == pytest.approx(p)
        assert [c.p_holm for c in found] == pytest.approx(oracles.holm(p))
        assert [c.difference.mean for c in found] == pytest.approx([sum(d) / 8 for d in differences])
    best = next(c for c in results.comparisons if (c.scale, c.first, c.second) == ("relevance", "L-MAC", "GradCAM"))
    assert best.test.p == pytest.approx(2 / 2**8) and best.p_holm < 0.05 and best.test.n == 8


def test_the_order_of_files_changes_nothing(key: Path, tmp_path: Path) -> None:
    files = panel(key, tmp_path)
    assert listening_results(files[::-1], key).to_json() == listening_results([tmp_path], key).to_json()


def test_tables_and_files(key: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    results = listening_results(panel(key, tmp_path / "in", 3), key)
    text = results.to_markdown()
    assert "n = 3 listener(s), 3 clip(s)" in text
    rows = [line for line in text.splitlines() if line.startswith("| L-MAC")]
    mean = results.means["L-MAC", "relevance"]
    assert f"| {mean.mean:.1f} ({mean.low:.1f} to {mean.high:.1f}) |" in rows[0]
    assert (
        "no corrected p can be below 0.75: it takes at least 7 listeners" in text
        and "No listener was screened out." in text
    )
    written = results.save(tmp_path / "out")
    assert [file.name for file in written] == [
        "listening.md",
        "listening.json",
        "means.csv",
        "tests.csv",
        "ratings.csv",
    ]
    found = json.loads((tmp_path / "out" / "listening.json").read_text())
    assert found["listeners"] == ["L0", "L1", "L2"] and found["screened"] == [] and len(found["comparisons"]) == 6
    first = found["means"][0]
    assert (first["method"], first["scale"], first["n"]) == (REFERENCE, "relevance", 3)
    rows_of = {
        name: list(csv.DictReader(io.StringIO((tmp_path / "out" / name).read_text())))
        for name in ("means.csv", "tests.csv", "ratings.csv")
    }
    assert [len(rows) for rows in rows_of.values()] == [10, 6, 45]
    assert float(rows_of["means.csv"][0]["mean"]) == results.means[REFERENCE, "relevance"].mean
    assert float(rows_of["tests.csv"][0]["p_holm"]) == results.comparisons[0].p_holm
    mine = [float(r["relevance"]) for r in rows_of["ratings.csv"] if r["method"] == "L-MAC"]
    assert sum(mine) / len(mine) == pytest.approx(mean.mean)


def test_one_listener_has_no_interval(key: Path, tmp_path: Path) -> None:
    results = listening_results(panel(key, tmp_path, 1), key)
    assert "One listener: no interval can be given." in results.notes and "nan" not in results.to_markdown().lower()
    assert json.loads(results.to_json())["means"][0]["low"] is None
    assert all(c.test.p == 1 for c in results.comparisons)


# --- who counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "out"), [(0, False), (1, True), (3, True)])
def test_screening(key: Path, tmp_path: Path, low: int, out: bool) -> None:
    """One of three trials is more than 15 %; a rating of exactly 90 is none below 90."""
    bad = set(list(json.loads(key.read_text())["trials"])[:low])

    def rate(sound: Said, rng: random.Random) -> dict[str, int]:
        quality = {} if sound["kind"] != "reference" else {"quality": 89 if sound["trial"] in bad else 90}
        return {**attentive(sound, rng), **quality}

    files = [*panel(key, tmp_path, 2), answers(key, tmp_path, "X", rate)]
    results = listening_results(files, key)
    assert [a.listener for a in results.ratings.screened] == (["X"] if out else [])
    assert results.means["L-MAC", "quality"].n == (2 if out else 3)
    said = " ".join(results.notes)
    if out:
        assert "1 of 3 listener(s) screened out, hidden reference below 90 in quality in more than 15 %" in said
        assert f"listener 'X' ({low} of 3)" in said
        kept = listening_results(files, key, screen=False)
        assert kept.means["L-MAC", "quality"].n == 3 and "kept against the rule" in " ".join(kept.notes)
    else:
        assert "No listener was screened out." in said


def test_relevance_of_the_reference_screens_nobody(key: Path, tmp_path: Path) -> None:
    results = listening_results(panel(key, tmp_path, 2), key)  # attentive ones give it 60
    assert results.ratings.screened == [] and results.means[REFERENCE, "relevance"].mean < 70


def test_nobody_left(key: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no listener is left of 1 export\(s\).*'D' \(3 of 3\).*--no-screening"):
        listening_results([answers(key, tmp_path, "D", deaf)], key)


def unfinished(done: int) -> Callable[[Said, random.Random], dict[str, int] | None]:
    """Whole trials at first; the next one lacks the ratings of its methods."""
    begun: list[str] = []

    def rate(sound: Said, rng: random.Random) -> dict[str, int] | None:
        if sound["trial"] not in begun:
            begun.append(sound["trial"])
        at = begun.index(sound["trial"])
        return attentive(sound, rng) if at < done or (at == done and sound["kind"] != "method") else None

    return rate


def test_unfinished_exports(key: Path, tmp_path: Path) -> None:
    part, none = answers(key, tmp_path, "P", unfinished(2)), answers(key, tmp_path, "N", unfinished(0))
    two = panel(key, tmp_path, 2)
    results = listening_results([*two, part, none], key)
    said = "listener 'P' is unfinished, 2 of 3 trials are complete: these are used."
    assert (
        said in results.notes and "listener 'N' is unfinished, 0 of 3 trials are complete: left out." in results.notes
    )
    assert [(a.listener, a.trials) for a in results.ratings.used] == [("L0", 3), ("L1", 3), ("P", 2)]
    assert all(len(a.ratings) == 5 * a.trials for a in results.ratings.used)
    whole = listening_results([*two, part], key, complete_only=True)
    assert [a.listener for a in whole.ratings.used] == ["L0", "L1"]
    assert said.replace("these are used", "left out") in whole.notes


def test_sounds_that_were_not_played_make_no_complete_trial(key: Path, tmp_path: Path) -> None:
    file = edited(panel(key, tmp_path, 1)[0], lambda f: next(iter(f["trials"][0]["ratings"].values())).update(plays=0))
    assert listening_results([file], key).ratings.used[0].trials == 2


def test_a_listener_who_exported_twice_counts_once(key: Path, tmp_path: Path) -> None:
    early = answers(key, tmp_path, "L0", unfinished(1), exported="2026-01-01T10:30:00.000Z")
    files = panel(key, tmp_path, 2)
    for order in ([early, *files], [*files, early]):
        results = listening_results(order, key)
        assert [a.trials for a in results.ratings.used] == [3, 3]
        assert any("'L0' exported more than once" in note and files[0].name in note for note in results.notes)


# --- what cannot be read --------------------------------------------------------------------------------------------


def test_two_people_with_one_id(key: Path, tmp_path: Path) -> None:
    files = [*panel(key, tmp_path, 1), answers(key, tmp_path, "l0", attentive, session="another")]
    with pytest.raises(InputError, match="two sessions have the listener id 'l0'"):
        listening_results(files, key)


def test_one_session_under_two_ids(key: Path, tmp_path: Path) -> None:
    files = [*panel(key, tmp_path, 1), answers(key, tmp_path, "L9", attentive, session="session of L0")]
    with pytest.raises(InputError, match="one listener would count twice"):
        listening_results(files, key)


def test_the_key_of_another_test(key: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    other = listening_test(methods(), tmp_path / "other.html", seed=7).key
    with pytest.raises(InputError, match="answers the test '[0-9a-f]{16}', but the key is that of '[0-9a-f]{16}'"):
        listening_results(panel(other, tmp_path / "in", 1), key)


def first(facts: dict[str, Any]) -> dict[str, Any]:
    """A trial of an export."""
    trial: dict[str, Any] = facts["trials"][0]
    return trial


def rating(facts: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(first(facts)["ratings"].values()))
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.pop("listener"),
        lambda f: f.update(listener=" "),
        lambda f: f.update(session=5),
        lambda f: f.pop("exported"),
        lambda f: f.update(trials=None),
        lambda f: f["trials"].pop(),
        lambda f: f["trials"].append(f["trials"][0]),
        lambda f: first(f)["order"].pop(),
        lambda f: first(f).update(ratings=[1]),
        lambda f: first(f)["ratings"].update(x={}),
        lambda f: first(f).pop("ratings"),
        lambda f: rating(f).update(relevance=101),
        lambda f: rating(f).update(relevance=-1),
        lambda f: rating(f).update(quality=50.5),
        lambda f: rating(f).update(quality="50"),
        lambda f: rating(f).update(quality=True),
        lambda f: rating(f).update(plays="1"),
    ],
)
def test_damaged_exports(key: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = edited(panel(key, tmp_path, 1)[0], change)
    with pytest.raises(OutputError, match=r"the answers '.*L0-0.json' are damaged: .*ask the listener to export again"):
        listening_results([file], key)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "cannot be read as the answers"), ("[]", "its format is 'list'"), ("{}", "its format is None")],
)
def test_files_that_are_no_exports(key: Path, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    for given, against in (([file], key), ([key], file)):
        with pytest.raises(OutputError, match=said.replace("the answers", "(the answers|a key)")):
            listening_results(given, against)


def test_nothing_to_read(key: Path, tmp_path: Path) -> None:
    for given, error, said in (([], InputError, "there is no export"), ([tmp_path], OutputError, "no export")):
        with pytest.raises(error, match=said):
            listening_results(given, key)
    with pytest.raises(OutputError, match="cannot be read"):
        listening_results([tmp_path / "nowhere.json"], key)


@pytest.mark.parametrize(
    "change", [lambda k: k.pop("methods"), lambda k: k.update(trials={}), lambda k: k["methods"].pop()]
)
def test_damaged_keys(key: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    broken = tmp_path / "key.json"
    broken.write_text(key.read_text())
    with pytest.raises(OutputError, match="is damaged"):
        listening_results([tmp_path], edited(broken, change))


def test_hostile_names_in_tables(tmp_path: Path) -> None:
    hostile = "a|b\n<script>"
    made = listening_test({hostile: methods()["L-MAC"], "plain": methods()["GradCAM"]}, tmp_path / "x.html")
    (tmp_path / "in").mkdir()
    rate = lambda sound, rng: {"relevance": 1, "quality": 99}  # noqa: E731
    file = edited(answers(made.key, tmp_path / "in", "L", rate), lambda f: f.update(listener="<b>|\n"))
    results = listening_results([file], made.key, screen=False)
    text = results.to_markdown()
    assert r"| a\|b &lt;script> |" in text and "<b>" not in text
    assert all(c.test == (0, 1, 0.0, 1.0, True) for c in results.comparisons)  # no pair differs


# --- the command ----------------------------------------------------------------------------------------------------


def test_command(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli_module.main([str(a) for a in arguments])
        return ended.value.code, *capsys.readouterr()  # type: ignore[return-value]

    Path("in").mkdir()
    panel(key, Path("in"), 6)
    answers(key, Path("in"), "D", deaf)
    answers(key, Path("in"), "P", unfinished(1))
    code, out, err = run("listening-results", "in", "--key", key, "--out", "out")
    assert (code, err) == (0, "") and "n = 7 listener(s)" in out and "screened out" in out and "'D' (3 of 3)" in out
    assert out.startswith(Path("out/listening.md").read_text().rstrip())
    code, out, _ = run("listening-results", "in", "--key", key, "--no-screening", "--complete-only")
    assert code == 0 and "n = 7 listener(s)" in out and "kept against the rule" in out and "'P' is unfinished" in out
    code, _, err = run("listening-results", "in", "--key", key, "--out", "out")
    assert code == 1 and "already holds files" in err
    code, out, err = run("listening-results", "nowhere.json", "--key", key)
    assert (code, out) == (1, "") and err.startswith("error: 'nowhere.json' cannot be read")
