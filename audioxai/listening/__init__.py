"""The listening test: stimuli, its page, ratings and their tables."""

from audioxai.listening.page import listening_test
from audioxai.listening.tables import listening_results

__all__ = ["listening_results", "listening_test"]
