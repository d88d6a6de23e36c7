"""Options of the benchmarks; ratios are collected here and printed together at the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_ROWS: list[tuple[str, float, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", help="folder of ESC-50 or its ten-class subset, for test_tables.py")
    parser.addoption("--speech", help="folder of speech recordings; default a folder speech beside the data")
    parser.addoption("--out", default="runs/tables", help="where the tables go; a second run there goes on")
    parser.addoption("--network", default="compact", help="compact or cnn14")
    parser.addoption("--seeds", type=int, default=1, help="fits of each learned method")
    parser.addoption("--clips", type=int, help="explain only so many of each test set")
    parser.addoption("--full", action="store_true", help="CNN14 at full width and 16 five-second clips, as in the docs")


@pytest.fixture
def report() -> list[tuple[str, float, str]]:
    return _ROWS


@pytest.fixture
def flat(report: list[tuple[str, float, str]]) -> Callable[[str, float, float], None]:
    """Reports the memory, in MiB, of a large task over that of a small one, which it must not exceed by a tenth."""

    def check(what: str, large: float, small: float) -> None:
        report.append((f"memory of {what} ({large:.0f} / {small:.0f} MiB)", large / small, "1 (flat)"))
        assert large < 1.1 * small

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _ROWS:
        terminalreporter.section("ratios")
        for what, value, budget in _ROWS:
            terminalreporter.write_line(f"{what:78} {value:8.2f}   budget {budget}")
