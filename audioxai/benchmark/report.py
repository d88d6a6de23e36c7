"""What a benchmark gave, written as Markdown, LaTeX, CSV, JSON and one page with players."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioxai.benchmark.tables import Table
from audioxai.explainers.explanation import Explanation
from audioxai.metrics import METRICS, STANDARD
from audioxai.report import write_page
from audioxai.report.plot import figure_png
from audioxai.support.files import write_bytes

__all__ = ["Report", "write_report"]

_DRAWN = [name for name in STANDARD if math.isfinite(METRICS[name].high)]  # COMP has no top; COMP/ln n is drawn


@dataclass(frozen=True)
class Report:
    """What a benchmark gave.

    Attributes:
        tables: one per condition and space.
        facts: versions, hardware and where the time went.
        samples: explanations of a few clips to listen to.
        folder: where all files are.
    """

    tables: list[Table]
    facts: dict[str, Any]
    samples: list[Explanation]
    folder: Path


def write_report(report: Report) -> list[Path]:
    """Tables as Markdown, LaTeX, CSV and JSON, and one page with a plot and players.

    Raises:
        OutputError: a file could not be written.
    """
    folder = report.folder
    made = {key: value for key, value in report.facts.items() if value is not None and key != "command"}
    facts = "\n".join(f"- {key}: {value}" for key, value in made.items())
    command = f"    {report.facts['command']}\n\n" if report.facts.get("command") else ""
    body = "\n\n".join(table.to_markdown() for table in report.tables)
    files = {
        "tables.md": f"# Benchmark: {report.tables[0].data}\n\n{command}{body}\n\n## How it was made\n\n{facts}\n",
        "tables.tex": "\n\n".join(f"% {t.title}\n{t.results.to_latex()}" for t in report.tables) + "\n",
        "tables.csv": _csv(report.tables),
        "tables.json": json.dumps({"tables": [t.to_json() for t in report.tables], "facts": report.facts}, indent=1),
    }
    for name, text in files.items():
        write_bytes(folder / name, text.encode())
    pictures = []
    for table in report.tables:
        picture = folder / f"plot-{table.condition}-{table.space}.png"
        write_bytes(picture, figure_png(table.results.plot(_DRAWN)))
        pictures.append(picture)
    page = folder / "index.html"
    write_page(
        report.samples,
        page,
        title="Benchmark",
        tables=[(table.title, table.results.rows(), [*table.facts, *table.results.notes()]) for table in report.tables],
        pictures=[(t.title, p.read_bytes()) for t, p in zip(report.tables, pictures, strict=True)],
    )
    return [*(folder / name for name in files), *pictures, page]


def _csv(tables: Sequence[Table]) -> str:
    lines: list[str] = []
    for table in tables:
        head, *rows = table.results.to_csv().splitlines()
        lines = lines or [f"data,condition,space,network,{head}"]
        lines += [f"{table.data},{table.condition},{table.space},{table.network},{row}" for row in rows]
    return "\n".join(lines) + "\n"
