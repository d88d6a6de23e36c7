"""The weights of the general decoder that the package ships: L-MAC without fitting."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from audioxai.errors import OutputError
from audioxai.explainers.planes import PLANES
from audioxai.nn.general_decoder import GeneralDecoder

__all__ = ["FORMAT", "load_general"]

#: Of the planes that the weights were fitted on; kept with them.
FORMAT = "general decoder, planes 1"


def load_general(file: Path | None = None) -> GeneralDecoder:
    """The general decoder with its shipped weights, or with those of another file, on the CPU and frozen.

    Args:
        file: safetensors with the entry ``format`` in its metadata, as ``examples/general_decoder.py`` writes them.

    Raises:
        OutputError: it cannot be read, or holds weights of another format.
    """
    from safetensors import SafetensorError, safe_open

    file = file or Path(str(files("audioxai") / "pretrained" / "general" / "decoder.safetensors"))
    try:
        with safe_open(file, "pt") as saved:
            found = (saved.metadata() or {}).get("format")
            weights = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"no weights of the general decoder can be read in {str(file)!r}: {error}") from error
    if found != FORMAT:
        raise OutputError(f"{str(file)!r} holds weights of the format {found!r}; this version reads {FORMAT!r}")
    decoder = GeneralDecoder(PLANES)
    try:
        decoder.load_state_dict(weights)
    except RuntimeError as error:
        raise OutputError(f"{str(file)!r} holds weights of another decoder: {error}") from error
    return decoder.eval().requires_grad_(False)
