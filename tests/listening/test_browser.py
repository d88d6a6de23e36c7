"""A listening test as a listener meets it: play, rate, reload, finish, send; and read back by the analysis."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import load, press, resize, sounding, wait
from listeners import methods

from audioxai.listening import listening_results, listening_test
from audioxai.listening.page import ListeningTest

HOSTILE = "\"'><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ListeningTest:
    return listening_test(methods(samples=8000), tmp_path_factory.mktemp("listen") / "listening.html")


@pytest.fixture
def page(browser: Any, made: ListeningTest, tmp_path: Path) -> Iterator[Any]:
    """The page, opened for the first time; downloads go to ``tmp_path``."""
    resize(browser, 1200)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    load(browser, made.page)
    browser.execute_script("localStorage.clear()")
    browser.get_log("browser"), browser.get_log("performance")
    load(browser)
    yield browser
    browser.execute_script("try { localStorage.clear() } catch {}")


def enter(page: Any, listener: str) -> None:
    field = page.find_element("id", "listener")
    field.clear()
    field.send_keys(listener)
    press(page, "\ue007")  # Enter


def shown(page: Any) -> str:
    """Id of the trial that is shown, or of another section."""
    script = "const s = document.querySelector('section:not([hidden])'); return s.dataset.trial ?? s.id"
    found: str = page.execute_script(script)
    return found


def order(page: Any) -> list[str]:
    script = "return [...document.querySelectorAll('section:not([hidden]) .stimulus')].map(n => n.dataset.stimulus)"
    found: list[str] = page.execute_script(script)
    return found


def values(page: Any) -> list[str]:
    found: list[str] = page.execute_script(
        "return [...document.querySelectorAll('section:not([hidden]) output')].map(o => o.value)"
    )
    return found


def click(page: Any, name: str) -> None:
    page.execute_script("document.getElementById(arguments[0]).click()", name)


def play_all(page: Any) -> None:
    script = "return document.querySelectorAll('section:not([hidden]) .stimulus .heard').length"
    for i in range(5):
        press(page, str(i + 1))
        wait(lambda i=i: page.execute_script(script) > i, f"hearing sound {i + 1}")


def set_all(page: Any, ratings: dict[str, tuple[int, int]]) -> None:
    """As a pointer does: an input event on each slider."""
    for stimulus, pair in ratings.items():
        for scale, value in zip(("relevance", "quality"), pair, strict=True):
            page.execute_script(
                "const i = document.querySelector(`[data-stimulus='${arguments[0]}'] [data-scale=${arguments[1]}]`);"
                "i.value = arguments[2]; i.dispatchEvent(new Event('input', {bubbles: true}))",
                stimulus, scale, value,
            )  # fmt: skip


def key_of(made: ListeningTest) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(made.key.read_text())
    return facts


def downloaded(folder: Path) -> Path:
    wait(lambda: [*folder.glob("listening-*.json")], "downloading")
    return next(folder.glob("listening-*.json"))


def expected_orders(test: str, listener: str, key: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """A second version of the page's draw: FNV-1a, xorshift, Fisher-Yates, on 32-bit whole numbers."""
    x = 2166136261
    for byte in f"{test}/{listener}".encode():
        x = ((x ^ byte) * 16777619) % 2**32
    x = x or 1

    def following() -> int:
        nonlocal x
        x ^= (x << 13) % 2**32
        x ^= x >> 17
        x ^= (x << 5) % 2**32
        return x

    for _ in range(16):
        following()

    def shuffled(items: list[str]) -> list[str]:
        for i in range(len(items) - 1, 0, -1):
            j = following() % (i + 1)
            items[i], items[j] = items[j], items[i]
        return items

    trials = shuffled(sorted(key["trials"]))
    return [(trial, shuffled(sorted(key["trials"][trial]["stimuli"]))) for trial in trials]


def test_from_the_first_sound_to_the_table(page: Any, made: ListeningTest, tmp_path: Path) -> None:
    key = key_of(made)
    kinds = {s: facts["method"] for trial in key["trials"].values() for s, facts in trial["stimuli"].items()}
    wanted = {
        "hidden reference": (50, 100),
        "low anchor": (0, 9),
        "L-MAC": (80, 70),
        "GradCAM": (40, 30),
        "louder 16 %": (90, 60),
    }
    assert shown(page) == "start"
    enter(page, "  Ann   B ")
    for number in (1, 2, 3):
        text = page.find_element("tag name", "main").text
        assert f"Recording {number} of 3" in text and not any(name.casefold() in text.casefold() for name in methods())
        assert values(page) == ["–"] * 10
        play_all(page)
        set_all(page, {s: wanted[kinds[s]] for s in order(page)})
        assert values(page) == [str(v) for s in order(page) for v in wanted[kinds[s]]]
        click(page, "next")
    assert shown(page) == "end"
    page.execute_script("document.querySelector('#end .download').click()")
    export = downloaded(tmp_path)
    facts = json.loads(export.read_text())
    assert re.fullmatch(r"listening-[0-9a-f]{6}-Ann_B\.json", export.name) and facts["complete"] is True
    assert [(t["trial"], t["order"]) for t in facts["trials"]] == expected_orders(key["test"], "Ann B", key)
    results = listening_results([export], made.key)
    assert [a.listener for a in results.ratings.used] == ["Ann B"]
    found = {m: tuple(results.means[m, s].mean for s in ("relevance", "quality")) for m in results.ratings.methods}
    assert found == wanted
    assert all(r.plays == 1 for r in results.ratings.used[0].ratings)
    assert page.get_log("browser") == []
    asked = re.findall(r'"Network.requestWillBeSent".*?"url":"([^"]{0,40})', str(page.get_log("performance")))
    assert asked and all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def test_a_reload_keeps_answers_and_place(page: Any) -> None:
    enter(page, "L1")
    first, sounds = shown(page), order(page)
    play_all(page)
    set_all(page, {s: (10 * i, 10 * i + 5) for i, s in enumerate(sounds)})
    before = values(page)
    load(page)
    assert (shown(page), order(page), values(page)) == (first, sounds, before)
    click(page, "next")
    second = shown(page)
    set_all(page, {order(page)[0]: (33, 44)})
    load(page)
    assert shown(page) == second != first
    assert values(page) == ["33", "44", *["–"] * 8]
    click(page, "back")
    assert (shown(page), order(page), values(page)) == (first, sounds, before)
    click(page, "change")
    load(page)  # the latest listener goes on
    assert shown(page) == first


def test_each_listener_has_an_order_and_answers_of_their_own(page: Any, made: ListeningTest) -> None:
    key = key_of(made)
    orders = []
    for listener in ("L1", "Ω 犬", "L3"):
        enter(page, listener)
        state = page.execute_script(
            "return JSON.parse(localStorage.getItem(arguments[0]))", f"audioxai-listening/{key['test']}/{listener}"
        )
        orders.append([(t["trial"], t["order"]) for t in state["trials"]])
        assert orders[-1] == expected_orders(key["test"], listener, key)
        set_all(page, {order(page)[0]: (1, 2)})
        click(page, "change")
    assert orders[0] != orders[1] != orders[2] != orders[0]
    enter(page, "L1")
    assert values(page) == ["1", "2", *["–"] * 8] and order(page) == orders[0][0][1]


def test_nothing_goes_on_before_all_is_heard_and_rated(page: Any) -> None:
    enter(page, "  ")
    assert shown(page) == "start" and "listener id" in page.find_element("id", "message").text
    enter(page, "L1")
    first, sounds = shown(page), order(page)
    click(page, "next")
    assert shown(page) == first
    assert "A: play, relevance, quality; B: play" in page.find_element("id", "message").text
    assert page.execute_script("return document.activeElement.ariaLabel") == "Play sound A"
    play_all(page)
    set_all(page, {s: (50, 50) for s in sounds[1:]})
    click(page, "next")
    assert page.find_element("id", "message").text == "Still to do. A: relevance, quality."
    assert page.execute_script("return document.activeElement.ariaLabel") == "relevance of sound A"


def test_sliders_by_keyboard(page: Any) -> None:
    enter(page, "L1")
    page.execute_script("document.querySelector('section:not([hidden]) input').focus()")
    assert page.execute_script("return document.activeElement.getAttribute('aria-valuetext')") == "not rated"
    press(page, "\ue012")  # arrow left
    assert values(page)[:2] == ["49", "–"]
    press(page, "\ue010")  # End
    assert values(page)[0] == "100"
    press(page, "\ue010")
    press(page, "\ue004")  # Tab
    page.find_element("css selector", "section:not([hidden]) [data-scale=quality]").click()
    assert values(page)[:2] == ["100", "50"]  # where it stood; the click rates it
    assert page.execute_script("return document.activeElement.getAttribute('aria-valuetext')") == "50 of 100"
    width = page.execute_script("return parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
    assert width >= 2


def test_one_sound_at_a_time_from_the_same_moment(page: Any) -> None:
    enter(page, "L1")
    at = "return document.querySelectorAll('section:not([hidden]) audio')[arguments[0]].currentTime"
    press(page, "0")
    wait(lambda: page.execute_script(at, 0) > 0.3, "playing the recording")
    moment = page.execute_script(at, 0)
    recording = sounding(page)
    press(page, "2")
    wait(lambda: len(sounding(page)) == 1 and sounding(page) != recording, "changing over")
    assert page.execute_script(at, 2) >= moment
    pressed = "return [...document.querySelectorAll('section:not([hidden]) .play')].map(b => b.ariaPressed)"
    wait(lambda: page.execute_script(pressed) == ["false", "false", "true", "false", "false", "false"], "showing it")
    press(page, " ")
    wait(lambda: sounding(page) == [], "pausing")
    press(page, "2")
    wait(lambda: len(sounding(page)) == 1, "starting again")
    press(page, "2")
    wait(lambda: sounding(page) == [], "the same key stops")
    press(page, "9")
    assert sounding(page) == []


def test_an_export_before_the_end(page: Any, made: ListeningTest, tmp_path: Path) -> None:
    enter(page, "L1")
    play_all(page)
    set_all(page, {s: (50, 95) for s in order(page)})
    page.execute_script("document.querySelector('#bar .download').click()")
    export = downloaded(tmp_path)
    facts = json.loads(export.read_text())
    assert (
        facts["complete"] is False
        and page.execute_script("return document.getElementById('text').value") == export.read_text()
    )
    results = listening_results([export], made.key)
    assert "listener 'L1' is unfinished, 1 of 3 trials are complete: these are used." in results.notes


def test_a_browser_that_keeps_nothing_says_so(page: Any, made: ListeningTest) -> None:
    assert not page.find_element("id", "forgets").is_displayed()
    refuse = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }})"
    script = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refuse})
    load(page)
    try:
        assert page.find_element("id", "forgets").is_displayed()
        enter(page, "L1")
        set_all(page, {order(page)[0]: (1, 2)})
        assert values(page)[:2] == ["1", "2"]
    finally:
        page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_kept_answers_that_are_damaged(page: Any, made: ListeningTest) -> None:
    place = f"audioxai-listening/{key_of(made)['test']}/L1"
    page.execute_script("localStorage.setItem(arguments[0], '{\"test\": 1')", place)
    enter(page, "L1")
    assert "could not be read" in page.find_element("id", "message").text
    assert values(page) == ["–"] * 10
    load(page)
    assert page.find_element("id", "message").text == ""


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_needs_no_sideways_scrolling(page: Any, dark: bool) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    resize(page, 360)
    width = "return [innerWidth, document.documentElement.scrollWidth]"
    assert page.execute_script(width) == [360, 360]
    enter(page, "L1")
    click(page, "next")
    assert page.execute_script(width) == [360, 360]
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(21, 24, 28)" if dark else "rgb(255, 255, 255)")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_hostile_names_do_nothing(browser: Any, tmp_path: Path) -> None:
    given = {name: replace(h, target_names=[HOSTILE] * 3, names=[HOSTILE] * 3) for name, h in methods().items()}
    with pytest.warns(UserWarning, match="made of the clip itself"):
        made = listening_test(given, tmp_path / "x.html", title=HOSTILE, instructions=HOSTILE)
    browser.get_log("browser")
    load(browser, made.page)
    enter(browser, HOSTILE[:60])
    assert browser.find_element("id", "who").text == HOSTILE[:60]
    assert f"Listen for: {HOSTILE}" in browser.find_element("tag name", "main").text
    assert browser.execute_script("return window.hacked") is None and browser.get_log("browser") == []
