"""What a benchmark gave, written as Markdown, LaTeX, CSV, JSON and one page with players."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from audioxai.benchmark.run_files import Store
from audioxai.benchmark.tables import Table
from audioxai.explainers.explanation import Explanation
from audioxai.metrics import METRICS, STANDARD
from audioxai.report import write_page
from audioxai.report.plot import figure_png
from audioxai.support.files import write_bytes
from audioxai.version import __version__

__all__ = ["Report", "machine", "time_spent", "write_report"]

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


def machine(device: torch.device) -> dict[str, Any]:
    """Versions and hardware."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "audioxai": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": gpu or f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
    }


def time_spent(store: Store, seconds: float) -> dict[str, Any]:
    """Seconds by kind of stage, and the classifier's share of them.

    Args:
        store: knows its stages, their times, and the seconds of fits and evaluations inside the classifier.
        seconds: of this run.
    """
    kinds: dict[str, float] = {}
    made = inside = 0.0
    for kind, _, facts, _ in store.log.values():
        kinds[kind] = kinds.get(kind, 0.0) + facts["seconds"]
        if "inside" in facts:
            made, inside = made + facts["seconds"], inside + facts["inside"]
    return {
        "seconds of this run": round(seconds, 1),
        "seconds of all stages, kept ones included": {kind: round(value, 1) for kind, value in kinds.items()},
        "share of fits and evaluations inside the classifier, at least": round(inside / made, 3) if made else None,
    }
