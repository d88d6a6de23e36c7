"""A folder with weights (safetensors) and settings (JSON): written and read, never unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audioxai.errors import OutputError
from audioxai.support.files import write_bytes

__all__ = ["read_saved", "write_saved"]


def write_saved(folder: Path, names: tuple[str, str], tensors: Mapping[str, Tensor], settings: Any) -> Path:
    """Write the two files, weights and settings, by their names; returns the folder.

    Raises:
        TypeError: settings that JSON cannot hold; nothing is written.
        OutputError: the files could not be written.
    """
    from safetensors.torch import save

    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    text = json.dumps(settings, indent=2).encode()
    write_bytes(folder / names[0], weights)
    write_bytes(folder / names[1], text)
    return folder


def read_saved(folder: Path, names: tuple[str, str], what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and settings.

    Raises:
        OutputError: no such thing is saved there, or it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        settings = json.loads((folder / names[1]).read_text())
        weights = load((folder / names[0]).read_bytes())
        if not isinstance(settings, dict):
            raise ValueError(f"{names[1]} holds a {type(settings).__name__}")
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise OutputError(f"no saved {what} in {str(folder)!r}: it has no {name}; check the folder") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise OutputError(f"the {what} saved in {str(folder)!r} cannot be read: {error!r}") from error
    return weights, settings
