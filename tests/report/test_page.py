"""The HTML page: its structure, its safety, its sounds, and how it behaves in a browser."""

from __future__ import annotations

import functools
import io
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from browsing import load, press, resize, sounding, wait
from html_page import HOSTILE, Page, check_that_nothing_is_fetched, data_of
from report.fakes import RATE, SETTINGS, Fake

from audioxai.errors import InputError, OutputError
from audioxai.explainers.explanation import Scores
from audioxai.report import render, write_page
from audioxai.report.plot import Explained

SECONDS = 3


def make(samples: int = RATE * SECONDS) -> Fake:
    """Two clips of noise, seven classes; class 6, the last one of the first clip's ranking, is the target."""
    noise = 0.2 * torch.randn(2, samples, generator=torch.Generator().manual_seed(0)).clamp(-4, 4)
    falling = torch.tensor([[0.4, 0.3, 0.15, 0.08, 0.04, 0.0299, 0.0001]]).repeat(2, 1)
    return Fake(
        noise, 0.75 * noise, 0.25 * noise, torch.rand(2, SETTINGS.bins, SETTINGS.frames(samples)),
        Scores(falling, falling.roll(1, 1), torch.full((2, 7), 1 / 7)), torch.tensor([6, 0]), ["owl", "dog"],
        labels=("dog", "cat", "rain", "wind", "bell", "car", "owl"), method="Loud", scale="log1p",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing, most of the time of a page; only ``hostile_page`` is made before this takes effect."""
    monkeypatch.setattr("audioxai.report.page.overlay_png", lambda *_, **__: b"")


@functools.cache
def rendered() -> str:
    """The page of one plain fake, for the tests that only read it."""
    return render([make()])


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of three clips, with hostile and with very long names."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    one = replace(make(), names=[HOSTILE, "b.wav"], method=HOSTILE, labels=(HOSTILE,) * 7, target_names=[HOSTILE] * 2)
    write_page([one, replace(make(), names=["c" * 200], target_names=["word_" * 20])], path, title=HOSTILE)
    return path


def test_structure() -> None:
    explained: Explained = make(samples=RATE)
    page = Page(render([explained, explained], title="Two runs"))
    assert page.text["title"] == page.text["h1"] == ["Two runs"]
    assert len(page.all("article")) == 4 and len(page.all("audio")) == 12 and len(page.all("img")) == 4
    assert all(audio["aria-label"] and "controls" in audio for audio in page.all("audio"))
    assert all("a.wav" in img["alt"] or "b.wav" in img["alt"] for img in page.all("img"))
    targets = {article["id"] for article in page.all("article")}
    assert [link["href"] for link in page.all("a")] == [f"#clip-{i}" for i in (1, 2, 3, 4)]
    assert targets == {f"clip-{i}" for i in (1, 2, 3, 4)}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(label["aria-labelledby"] in ids for label in page.all("article"))


def test_nothing_is_fetched_and_only_our_script_may_run() -> None:
    check_that_nothing_is_fetched(rendered())


def test_hostile_names_are_text() -> None:
    plain = Page(rendered())
    explained = replace(make(), names=[HOSTILE, HOSTILE], target_names=[HOSTILE, HOSTILE], method=HOSTILE)
    page = Page(render([replace(explained, labels=(HOSTILE,) * 7)], title=HOSTILE))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(a) for _, a in page.tags] == [sorted(a) for _, a in plain.tags]
    assert page.text["script"] == plain.text["script"]
    assert page.text["h1"] == [HOSTILE] and page.text["bdi"].count(HOSTILE) > 4
    assert HOSTILE in page.all("img")[0]["alt"] and HOSTILE in page.all("audio")[0]["aria-label"]


def test_sounds_are_the_waveforms() -> None:
    explained = make()
    players = Page(rendered()).all("audio")
    sounds = [wave[i] for i in (0, 1) for wave in (explained.input, explained.waveform, explained.removed)]
    for player, wave in zip(players, sounds, strict=True):
        samples, rate = soundfile.read(io.BytesIO(data_of(player["src"], "audio/wav")), dtype="float32")
        assert rate == RATE and len(samples) == RATE * SECONDS
        assert (torch.from_numpy(samples) - wave).abs().max() <= 1.5 / 32768


def test_long_sounds_are_flac() -> None:
    player = Page(render([make(samples=31 * RATE)])).all("audio")[0]
    samples, rate = soundfile.read(io.BytesIO(data_of(player["src"], "audio/flac")), dtype="float32")
    assert (len(samples), rate) == (31 * RATE, RATE)


def test_loud_sounds_are_turned_down_together() -> None:
    explained = make()
    explained.waveform = explained.input / explained.input[0].abs().max() * 2
    text = render([explained])
    assert "6.0 dB quieter" in text
    loud, kept = (soundfile.read(io.BytesIO(data_of(a["src"], "audio/wav")))[0] for a in Page(text).all("audio")[:2])
    assert abs(kept).max() == pytest.approx(1, abs=1e-3)
    assert abs(loud).max() == pytest.approx(float(explained.input[0].abs().max()) / 2, abs=1e-3)
    assert "quieter" not in rendered()


def test_pictures(hostile_page: Path) -> None:
    page = Page(hostile_page.read_text(encoding="utf-8"))
    addresses = [img["src"] for img in page.all("img")] + [source["srcset"] for source in page.all("source")]
    assert len(addresses) == 6
    for address in addresses:
        assert data_of(address, "image/png").startswith(b"\x89PNG\r\n\x1a\n")


def test_scores() -> None:
    page = Page(rendered())
    rows = [" ".join(row.split()) for row in page.rows]
    assert rows[1].endswith("owl <0.001 0.030 0.143") and rows[2].endswith("dog 0.400 <0.001 0.143")
    first, second = rows[4:10], rows[11:16]
    assert [row.split()[0] for row in first] == ["dog", "cat", "rain", "wind", "bell", "owl"]
    assert first[-1].startswith("owl target <0.001") and second[0].startswith("dog target 0.400")
    assert page.all("rect")[0]["width"] == "40.0"


def test_scores_that_are_missing() -> None:
    explained = make()
    explained.scores.input[0] = math.nan
    rows = [" ".join(row.split()) for row in Page(render([explained])).rows]
    assert rows[1].endswith("owl – 0.030 0.143")
    assert any(row.startswith("owl target –") for row in rows)
    assert "nan" not in "".join(rows).lower()


def test_a_target_that_is_no_class_and_a_classifier_without_labels() -> None:
    explained = replace(make(), target=None, target_names=["margin", "margin"], labels=None)
    rows = [" ".join(row.split()) for row in Page(render([explained])).rows]
    assert rows[1].endswith("margin – – –") and rows[4].startswith("class 0 0.400") and len(rows) == 15


@pytest.mark.parametrize(("approximate", "said"), [(True, 2), (False, 0)])
def test_approximate_sound_is_said(approximate: bool, said: int) -> None:
    text = render([replace(make(), approximate=approximate, space="mel", mask=torch.rand(2, 40, 188))])
    assert text.count("only approximates") == said


def test_write_page(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write_page([replace(make(), names=["\udcff.wav", "ü犬.wav"])], path)
    assert "ü犬.wav" in path.read_text(encoding="utf-8") and list(path.parent.iterdir()) == [path]
    before = path.read_bytes()
    with pytest.raises(InputError, match="no clip to show"):
        write_page([], path)
    assert path.read_bytes() == before
    with pytest.raises(OutputError):
        write_page([make()], path / "below" / "page.html")


# --- in a browser --------------------------------------------------------------------------------------------------


@pytest.fixture
def page(browser: Any, hostile_page: Path) -> Any:
    """The browser with that page freshly opened at 1200 pixels."""
    resize(browser, 1200)
    browser.get_log("performance")
    load(browser, hostile_page)
    return browser


def moment(browser: Any, index: int) -> float:
    return float(browser.execute_script("return document.querySelectorAll('audio')[arguments[0]].currentTime", index))


def test_every_sound_loads_and_nothing_goes_wrong(page: Any) -> None:
    ready = "return [...document.querySelectorAll('audio')].every(a => a.readyState >= 2)"
    wait(lambda: page.execute_script(ready), "loading")
    durations = page.execute_script("return [...document.querySelectorAll('audio')].map(a => a.duration)")
    assert durations == pytest.approx([SECONDS] * 9, abs=0.01)
    assert all(page.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth === 900)"))
    assert page.execute_script("return window.hacked") is None
    assert page.execute_script("return getComputedStyle(document.querySelector('dl')).display") == "flex"
    assert page.get_log("browser") == []
    asked = re.findall(r'"Network.requestWillBeSent".*?"url":"([^"]{0,40})', str(page.get_log("performance")))
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)


def test_keys_play_one_sound_at_a_time(page: Any) -> None:
    press(page, "2")
    wait(lambda: moment(page, 1) > 0.1, "playing the explanation")
    assert sounding(page) == [1]
    press(page, "1")
    wait(lambda: moment(page, 0) > 0.1, "playing the input")
    assert sounding(page) == [0]
    page.execute_script("document.querySelectorAll('audio')[5].play()")
    wait(lambda: sounding(page) == [5], "pausing the others")
    press(page, " ")
    wait(lambda: sounding(page) == [], "pausing")
    press(page, "2")
    wait(lambda: 0.1 < moment(page, 4) < 2, "playing the explanation of the second clip, which played last")
    wait(lambda: moment(page, 4) > 1, "playing on")
    press(page, "2")
    assert moment(page, 4) < 1 and sounding(page) == [4]
    press(page, " ")
    assert sounding(page) == []


def test_space_pauses_when_a_player_has_the_focus(page: Any) -> None:
    press(page, "2")
    wait(lambda: moment(page, 1) > 0.05, "playing")
    page.execute_script("document.querySelectorAll('audio')[0].focus()")
    press(page, " ")
    wait(lambda: sounding(page) == [], "pausing another player")
    press(page, " ")
    wait(lambda: sounding(page) == [0], "starting the focused player by its own controls")
    press(page, " ")
    wait(lambda: sounding(page) == [], "pausing the focused player")


def test_keys_move_between_clips(page: Any) -> None:
    focused = "return [document.activeElement.id, document.querySelector('[aria-current]')?.id ?? '']"
    seen = []
    for key in "jjjjkj":
        press(page, key)
        seen.append(page.execute_script(focused))
    assert seen == [[f"clip-{i}"] * 2 for i in (1, 2, 3, 3, 2, 3)]
    width = page.execute_script("return parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
    assert width >= 2
    page.execute_script("document.getElementById('clip-1').scrollIntoView()")
    press(page, "3")
    wait(lambda: sounding(page) == [2], "playing the clip that is in the window")


def test_links_lead_to_clips_inside_a_notebook_too(browser: Any, hostile_page: Path, tmp_path: Path) -> None:
    inside = hostile_page.read_text(encoding="utf-8").replace("&", "&amp;").replace('"', "&quot;")
    path = tmp_path / "notebook.html"
    path.write_text(f'<iframe srcdoc="{inside}" width="900" height="600"></iframe>', encoding="utf-8")
    for place, frame in ((hostile_page, False), (path, True)):
        load(browser, place)
        if frame:
            browser.switch_to.frame(0)
        browser.execute_script("document.querySelectorAll('nav a')[2].click()")
        assert browser.execute_script("return document.activeElement.id") == "clip-3"
        assert abs(browser.execute_script("return document.activeElement.getBoundingClientRect().top")) < 400
        press(browser, "1")
        wait(lambda: sounding(browser) == [6], "playing the clip that was linked")
    assert browser.get_log("browser") == []
    browser.switch_to.default_content()


def test_a_phone_needs_no_sideways_scrolling(page: Any) -> None:
    resize(page, 360)
    assert page.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    wait(lambda: page.execute_script("return document.images[0].naturalWidth") == 420, "choosing the narrow picture")


def test_players_of_a_long_page_load_when_near(browser: Any, tmp_path: Path) -> None:
    explained = make(samples=RATE // 10)
    write_page([explained] * 15, tmp_path / "long.html")
    resize(browser, 1200)
    load(browser, tmp_path / "long.html")
    last = "return [...document.querySelectorAll('audio')].at(-1).readyState >= 2"
    wait(lambda: browser.execute_script("return document.querySelector('audio').readyState >= 2"), "loading the first")
    assert not browser.execute_script(last)
    browser.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    wait(lambda: browser.execute_script(last), "loading the last")


def test_tables_and_pictures_below_the_clips() -> None:
    rows = [{"": HOSTILE, "AD": "1.0"}, {"": "other", "AD": "2.0"}]
    text = render([make()], tables=[(HOSTILE, rows, [HOSTILE])], pictures=[("a plot", b"png")])
    page = Page(text)
    assert "window.hacked=1</script>" not in text
    assert any(row.split() == ["other", "2.0"] for row in page.rows)
    assert HOSTILE in page.text["caption"]
    assert data_of(page.all("img")[-1]["src"], "image/png") == b"png"
    assert page.all("section") == [{"class": "scores"}]
    assert not Page(rendered()).all("section")
