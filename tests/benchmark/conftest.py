"""What tests of the benchmark share."""

import pytest
from benchmark import trees


@pytest.fixture(scope="module")
def esc(tmp_path_factory):
    """ESC-50 in its real layout, with few clips of one second."""
    return trees.esc50(tmp_path_factory.mktemp("data") / "esc")
