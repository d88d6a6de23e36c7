"""Listening tests: the sounds, the blindness of the page, the key, bad input, the command."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from listeners import RATE, SAMPLES, Heard, explained, methods

from audioxai.commands import main as cli_module
from audioxai.errors import ConfigError, OutputError
from audioxai.explainers.explanation import Explanation, Scores
from audioxai.listening import listening_test
from audioxai.listening.stimuli import make_trials
from audioxai.sound.loudness import loudness

HOSTILE = "\"'><script>window.hacked=1</script><img src=x onerror=window.hacked=1>{{7*7}}"


class Page(HTMLParser):
    """Tags with their attributes, and all text outside style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.code: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        last = self.tags[-1][0] if self.tags else ""
        if last in ("style", "script") and last not in self.code:
            self.code[last] = data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """A page of three methods on three clips, and its key."""
    page, key = listening_test(methods(), tmp_path_factory.mktemp("made") / "listening.html", seed=3)
    assert (page.name, key.name) == ("listening.html", "listening-key.json")
    return page.read_text(encoding="utf-8"), json.loads(key.read_text())


def sounds(page: str) -> dict[str, torch.Tensor]:
    """Stimulus to its samples; the open reference of a trial under the trial's id."""
    found, owner = {}, ""
    for tag, attributes in Page(page).tags:
        owner = attributes.get("data-trial") or attributes.get("data-stimulus") or owner
        if tag == "audio":
            head, _, body = attributes["src"].partition(",")
            assert head == "data:audio/wav;base64"
            samples, rate = soundfile.read(io.BytesIO(base64.b64decode(body)), dtype="float32")
            assert rate == RATE
            found[owner] = torch.from_numpy(samples)
    return found


# --- the page --------------------------------------------------------------------------------------------------------


def test_nobody_can_read_the_methods_from_the_page(made: tuple[str, dict[str, Any]]) -> None:
    page, key = made
    without_sounds = re.sub(r"data:audio[^\"]*", "", page).casefold()
    for secret in (*methods(), "clip0", "clip1", "anchor", "hidden reference"):
        assert secret.casefold() not in without_sounds
    assert "l-mac" not in page.casefold() and "gradcam" not in page.casefold()
    assert "dog" in Page(page).text and "sea waves" in Page(page).text  # targets are asked for
    ids = [a["data-stimulus"] for a in Page(page).all("li")]
    assert len(set(ids)) == 15 and all(re.fullmatch("[0-9a-f]{10}", name) for name in ids)
    assert set(ids) == {s for trial in key["trials"].values() for s in trial["stimuli"]}


def test_places_in_the_source_say_nothing() -> None:
    at: dict[str, set[int]] = {}
    for seed in range(8):
        _, trials, _ = make_trials(methods(), seed=seed)
        for trial in trials:
            for i, stimulus in enumerate(trial.stimuli):
                at.setdefault(stimulus.method, set()).add(i)
    assert len(at) == 5 and all(places == {0, 1, 2, 3, 4} for places in at.values())


def test_the_key_tells_all(made: tuple[str, dict[str, Any]]) -> None:
    page, key = made
    assert key["methods"] == [*methods()] and Page(page).all("main")[0]["data-test"] == key["test"]
    assert {t["clip"]: t["target"] for t in key["trials"].values()} == {
        "clip0.wav": "dog", "clip1.wav": "sea_waves", "clip2.wav": "owl",
    }  # fmt: skip
    given, heard = methods(), sounds(page)
    for trial in key["trials"].values():
        clip = int(trial["clip"][4])
        for name, facts in trial["stimuli"].items():
            if facts["kind"] == "method":
                expected = given[facts["method"]].waveform[clip] * 10 ** (facts["gain_db"] / 20)
                assert (heard[name] - expected).abs().max() < 1e-3


def test_the_same_seed_gives_the_same_test(tmp_path: Path) -> None:
    first, again = (listening_test(methods(), tmp_path / n / "x.html", seed=918273) for n in "ab")
    assert first.page.read_bytes() == again.page.read_bytes() and first.key.read_bytes() == again.key.read_bytes()
    other = listening_test(methods(), tmp_path / "c" / "x.html", seed=2)
    keys = [json.loads(made.key.read_text()) for made in (first, other)]
    assert keys[0]["test"] != keys[1]["test"] and not set(keys[0]["trials"]) & set(keys[1]["trials"])
    assert "918273" not in re.sub(r"data:[^\"]*", "", first.page.read_text())  # with it, the ids could be drawn again


def test_the_test_s_id_knows_every_sound() -> None:
    plain, changed = methods(), methods()
    changed["GradCAM"].waveform[2, 100] += 0.01
    renamed = {("GradCAM 2" if name == "GradCAM" else name): value for name, value in plain.items()}
    assert len({make_trials(m, seed=0)[0] for m in (plain, changed, renamed)}) == 3


def test_nothing_is_fetched_and_only_our_script_may_run(made: tuple[str, dict[str, Any]]) -> None:
    page = Page(made[0])
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:") and "href" not in attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert not re.search(r"(?:https?:)?//[a-z]|@import|url\(", re.sub(r"data:[^\"]*", "", made[0]))
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag, code in page.code.items():
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'" in policy


def test_hostile_names_are_text(tmp_path: Path, made: tuple[str, dict[str, Any]]) -> None:
    given = {
        name: replace(heard, target_names=[HOSTILE, "\udcff", "owl"], names=[HOSTILE] * 3)
        for name, heard in zip((HOSTILE + "1", HOSTILE + "2", "\udcff"), methods().values(), strict=True)
    }
    page, key = listening_test(given, tmp_path / "x.html", title=f"T {HOSTILE}", instructions=f"{HOSTILE}\n\n{HOSTILE}")
    hostile, plain = Page(page.read_text()), Page(made[0])
    assert [tag for tag, _ in hostile.tags if tag != "p"] == [tag for tag, _ in plain.tags if tag != "p"]
    assert [sorted(a) for tag, a in hostile.tags if tag != "p"] == [sorted(a) for tag, a in plain.tags if tag != "p"]
    assert hostile.code == plain.code
    assert hostile.text.count(HOSTILE) == 4 + 1  # title twice, two paragraphs, target
    assert json.loads(key.read_text())["methods"] == [*given]


def test_own_instructions_replace_the_first_paragraph(tmp_path: Path) -> None:
    page, _ = listening_test(methods(), tmp_path / "x.html", instructions="First.\nStill first.\n\n  Second. ")
    text = page.read_text()
    assert "<p>First.\nStill first.</p>" in text and "<p>Second.</p>" in text
    assert "A computer heard" not in text and "Quality" in text


# --- the sounds and the key ------------------------------------------------------------------------------------------


def test_sounds_of_a_trial_are_equally_long_and_loud(made: tuple[str, dict[str, Any]]) -> None:
    page, key = made
    heard = sounds(page)
    for trial, facts in key["trials"].items():
        levels = [loudness(heard[name], RATE) for name in (trial, *facts["stimuli"])]
        assert levels == pytest.approx([facts["loudness_lufs"]] * 6, abs=0.05)
        reference = next(s for s, value in facts["stimuli"].items() if value["kind"] == "reference")
        assert torch.equal(heard[reference], heard[trial])
    assert all(len(wave) == SAMPLES and wave.abs().max() <= 10 ** (-1 / 20) + 1e-4 for wave in heard.values())


def test_nearly_silent_explanations_are_said(tmp_path: Path) -> None:
    given = methods()
    given["GradCAM"].waveform[1] *= 1e-4
    with pytest.warns(UserWarning, match=r"GradCAM: its sound of clip 'clip1.wav' is more than 30 dB quieter"):
        _, key = listening_test(given, tmp_path / "x.html")
    assert len(json.loads(key.read_text())["notes"]) == 1


@pytest.mark.parametrize("text", ["Is l-mac good?", "GradCAM", "the louder 16 %, too"])
def test_texts_that_name_a_method(text: str, tmp_path: Path) -> None:
    for option in ("title", "instructions"):
        with pytest.raises(ConfigError, match=f"the {option} names the method"):
            listening_test(methods(), tmp_path / "x.html", **{option: text})
    listening_test(methods(), tmp_path / "x.html", title="L-MACs and GradCAM2")


@pytest.mark.parametrize("seed", [1.5, "1", True, None])
def test_bad_seed(seed: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="whole number"):
        listening_test(methods(), tmp_path / "x.html", seed=seed)


def test_the_key_of_another_test_is_kept(tmp_path: Path) -> None:
    made = listening_test(methods(), tmp_path / "x.html", seed=1)
    before = made.key.read_bytes()
    listening_test(methods(), tmp_path / "x.html", seed=1)
    with pytest.raises(OutputError, match="key of another test"):
        listening_test(methods(), tmp_path / "x.html", seed=2)
    assert made.key.read_bytes() == before
    listening_test(methods(), tmp_path / "x.html", seed=2, overwrite=True)
    assert made.key.read_bytes() != before
    made.key.write_text("not a key")
    with pytest.raises(OutputError, match="key of another test"):
        listening_test(methods(), tmp_path / "x.html", seed=2)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli_module.main([str(a) for a in arguments])
        return ended.value.code, *capsys.readouterr()

    return run


def save(heard: Heard, method: str, folder: Path) -> None:
    """As ``audioxai explain`` leaves it, clips in another order."""
    for i in reversed(range(len(heard))):
        one = slice(i, i + 1)
        cache = {"removed": heard.input[one] - heard.waveform[one], "scores": Scores(*[torch.full((1, 3), 1 / 3)] * 3)}
        Explanation(
            torch.ones(1, SAMPLES), heard.waveform[one], heard.input[one], torch.tensor([i]), heard.target_names[one],
            ("dog", "sea_waves", "owl"), method, "waveform", "magnitude", "none", heard.sample_rate,
            names=heard.names[one], _cache=cache,
        ).save(folder)  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: lmac and gradcam with three clips; loud, loud2, and mixed, of two methods, with one."""
    root, one = tmp_path_factory.mktemp("saved"), explained(clips=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audioxai.report.plot.figure_png", lambda *_, **__: b"picture")
        patch.setattr(Explanation, "plot", lambda _: None)
        save(methods()["L-MAC"], "LMAC", root / "lmac")
        save(methods()["GradCAM"], "GradCAM", root / "gradcam")
        for folder in ("loud", "loud2", "mixed"):
            save(one, "Loud", root / folder)
        save(replace(one, names=["other"]), "Quiet", root / "mixed")
    return root


def test_command(cli: Callable[..., Any], saved: Path, tmp_path: Path) -> None:
    folders = f"L-MAC={saved / 'lmac'}", saved / "gradcam"
    Path("words.txt").write_text("Own words.")
    code, out, err = cli("listening-test", *folders, "--seed", "2", "--instructions", "words.txt")
    assert (code, err) == (0, "")
    page, key = Path("listening/listening.html"), Path("listening/listening-key.json")
    assert f"give to listeners: {page}" in out and f"keep to yourself:  {key}" in out and "3 clip(s), 2 methods" in out
    assert json.loads(key.read_text())["methods"] == ["L-MAC", "GradCAM"] and "Own words." in page.read_text()
    pair = {name: methods()[name] for name in ("L-MAC", "GradCAM")}
    by_hand = listening_test(pair, tmp_path / "by-hand.html", seed=2, instructions="Own words.")
    assert by_hand.page.read_text() == page.read_text()
    code, _, err = cli("listening-test", *folders)
    assert code == 1 and "already holds files" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["loud"], 2, "at least two methods; got ['Loud']"),
        (["loud", "loud2"], 2, "two folders are named 'Loud'"),
        (["=loud", "loud2"], 2, "the name is empty"),
        (["loud", "x=nowhere"], 1, "no saved explanation in 'nowhere'"),
        (["loud", "x=mixed"], 2, "holds explanations by Loud and Quiet"),
        (["loud", "x=loud2", "--instructions", "nowhere.txt"], 2, "cannot be read as text"),
        (["loud", "x=loud2", "--title", "the loud one"], 2, "names the method 'Loud'"),
        (["loud", "x=lmac"], 1, "Loud lacks ['clip1.wav', 'clip2.wav']"),
    ],
)
def test_command_errors(
    cli: Callable[..., Any], saved: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(saved)
    found, out, err = cli("listening-test", *arguments)
    assert (found, out) == (code, "") and said in err and err.startswith("error: ") and not Path("listening").exists()
