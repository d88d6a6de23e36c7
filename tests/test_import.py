"""Importing the toolkit stays light."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("shap", "captum", "matplotlib", "torchaudio", "transformers", "torchmetrics", "accelerate")
LATE = ("jinja2", "safetensors", "typer", "tqdm.auto", "audioxai.commands.main")


def loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_import_loads_nothing_heavy() -> None:
    found = loaded_by("import audioxai; audioxai.load_pretrained")
    assert "torch" in found
    assert not found & {*HEAVY, *LATE}


def test_the_command_line_asks_before_it_loads() -> None:
    assert not loaded_by("import audioxai.commands.main") & set(HEAVY)
