"""The directive ``metrics``: a table of every page of a metric, by what is registered and by the pages' heads."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from audioxai.metrics import METRICS, Metric

PAGES = Path(__file__).parents[1] / "metrics"
_BETTER = {1: "higher", -1: "lower", 0: ""}


def page_of(name: str) -> Path:
    """The page of a metric."""
    return PAGES / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".md")


def table() -> str:
    """A line a page, in Markdown: first the registered metrics in their order, then what is no metric of one mask."""
    pages = {page_of(name): metric for name, metric in METRICS.items()}
    others = [page for page in sorted(PAGES.glob("*.md")) if page not in pages and page.name != "index.md"]
    lines = ["| metric | | better | range | torchmetrics class |", "|---|---|---|---|---|"]
    lines += [_line(page, metric) for page, metric in pages.items()]
    return "\n".join([*lines, *(_line(page, None) for page in others)])


def _line(page: Path, metric: Metric | None) -> str:
    name, _, what = page.read_text().splitlines()[0].removeprefix("# ").partition(": ")
    cells = [f"[{name}]({page.name})", what]
    if metric is None:
        cells += ["", "", ""]
    else:
        cells += [_BETTER[metric.direction], _range(metric), f"`{metric.class_name}`" if metric.class_name else ""]
    return f"| {' | '.join(cells)} |"


def _range(metric: Metric) -> str:
    if math.isfinite(metric.high):
        return f"{metric.low:g} to {metric.high:.4g}"
    return f"from {metric.low:g}" if math.isfinite(metric.low) else "any"


def setup(app: Any) -> dict[str, Any]:
    """Of Sphinx, which the table itself, and so the tests, do without."""
    from docutils import nodes
    from docutils.statemachine import StringList
    from sphinx.util.docutils import SphinxDirective

    class MetricTable(SphinxDirective):
        """The table in the place of the directive."""

        def run(self) -> list[nodes.Node]:
            for page in PAGES.glob("*.md"):
                self.env.note_dependency(str(page))
            holder = nodes.container()
            self.state.nested_parse(StringList(table().splitlines(), "metrics"), self.content_offset, holder)
            return holder.children

    app.add_directive("metrics", MetricTable)
    return {"parallel_read_safe": True}
