"""What every page is made of: the templates' environment, data addresses, and text that any page can hold."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["audio_address", "data_address", "page_text", "templates"]

_WAV_SECONDS = 30.0  # longer clips are embedded as FLAC


@functools.cache
def templates(package: str = "audioxai.report") -> Environment:
    """The templates of a package and, behind them, of this one, autoescaped.

    The filter ``csp_hash`` gives the hash of a script or style.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("audioxai.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["csp_hash"] = _csp_hash
    return environment


def _csp_hash(code: str) -> str:
    """The source expression that lets exactly this script or style run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def audio_address(wave: Tensor, sample_rate: int) -> str:
    """A waveform (T,) within ±1 as 16-bit WAV, or as FLAC when it is long."""
    import soundfile

    kind = "FLAC" if len(wave) / sample_rate > _WAV_SECONDS else "WAV"
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.numpy(), sample_rate, "PCM_16", format=kind)
    return data_address(f"audio/{kind.lower()}", buffer.getvalue())


def data_address(kind: str, data: bytes) -> str:
    """Bytes of a media type as the address of themselves."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def page_text(value: str) -> str:
    """A name as valid Unicode: file names that are no UTF-8 come with lone surrogates, which no page can hold."""
    return value.encode("utf-8", "replace").decode()
