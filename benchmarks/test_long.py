"""A recording of an hour: memory, real-time factor, and its result against the definition of the windows.

pytest benchmarks/test_long.py --benchmark-only            # some minutes, and 2 GB of disk
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("long_recording.py")
Report = list[tuple[str, float, str]]
Flat = Callable[[str, float, float], None]


def explained(minutes: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), str(minutes), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_hour(benchmark: Callable[..., object], report: Report, flat: Flat, tmp_path: Path) -> None:
    """The peak of a process that does nothing else, over 60 minutes and over 6."""
    short = explained(6, tmp_path)
    long = benchmark.pedantic(explained, args=(60, tmp_path), rounds=1)  # type: ignore[attr-defined]
    flat("explain_dataset over 60 minutes / over 6", long["peak MiB"], short["peak MiB"])
    report.append(("its real-time factor, one thread", long["real-time factor"], "1"))
    report.append(("the same in seconds of the core", long["of one core"], ""))
    print(json.dumps(long))
    assert long["minutes"] == 60
    assert long["windows"] == 400
    gaps = long["differences"]
    assert gaps["windows"] == 0  # as many as the definition says, and the same targets
    assert max(gaps["kept"], gaps["removed"]) < 1e-4  # 16 bits
    assert gaps["mask"] < 5e-4  # 16-bit floats
    assert gaps["scores"] < 1e-4
