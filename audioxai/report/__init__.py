"""Pages that show explanations and play them; listening tests and what comes of them."""

from audioxai.report.listening import listening_test
from audioxai.report.page import render, write_page
from audioxai.report.rating_tables import listening_results

__all__ = ["listening_results", "listening_test", "render", "write_page"]
