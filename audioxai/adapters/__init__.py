"""Foreign models as :class:`audioxai.AudioClassifier`, one file each.

This is the list of them. Each is imported on use, and its function is found here and in ``audioxai``; the other two
mentions are for type checkers.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audioxai.adapters.callable import from_callable
    from audioxai.adapters.clap import from_clap
    from audioxai.adapters.huggingface import from_huggingface
    from audioxai.adapters.images import from_image_network
    from audioxai.adapters.msclap import from_msclap
    from audioxai.adapters.speechbrain import from_speechbrain
    from audioxai.adapters.torchaudio import from_torchaudio

#: Function to the module that holds it.
ADAPTERS = {
    "from_callable": "audioxai.adapters.callable",
    "from_clap": "audioxai.adapters.clap",
    "from_huggingface": "audioxai.adapters.huggingface",
    "from_image_network": "audioxai.adapters.images",
    "from_msclap": "audioxai.adapters.msclap",
    "from_speechbrain": "audioxai.adapters.speechbrain",
    "from_torchaudio": "audioxai.adapters.torchaudio",
}

__all__ = [
    "from_callable", "from_clap", "from_huggingface", "from_image_network", "from_msclap", "from_speechbrain",
    "from_torchaudio",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in ADAPTERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(ADAPTERS[name]), name)
