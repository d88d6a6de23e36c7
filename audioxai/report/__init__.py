"""Pictures of arrays, and pages that show explanations and play them."""

from audioxai.report.page import render, write_page

__all__ = ["render", "write_page"]
