"""Ratios are collected here and printed together at the end."""

from __future__ import annotations

import pytest

_ROWS: list[tuple[str, float, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="CNN14 at full width and 16 five-second clips, as in the docs")


@pytest.fixture
def report() -> list[tuple[str, float, str]]:
    return _ROWS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _ROWS:
        terminalreporter.section("ratios")
        for what, value, budget in _ROWS:
            terminalreporter.write_line(f"{what:78} {value:8.2f}   budget {budget}")
