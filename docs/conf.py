"""Sphinx settings: ``sphinx-build -W --keep-going docs docs/_build``."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

from audioxai.version import __version__

project = "audioxai"
author = copyright = "The audioxai developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"audioxai {version}"
html_math_renderer = "mathml"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # else an attribute in a class's docstring is described a second time
napoleon_use_rtype = False


def plain_text(_app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings as they are meant, in two places where Sphinx would read more into them.

    They write |x| for magnitudes, where reST sees a substitution. And the first line of an attribute's may hold a
    colon, before which Napoleon sees a type.
    """
    for i, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        lines[i] = "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in parts)
    if what in ("attribute", "data", "property"):
        lines.insert(0, "")


def short_names(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """Resolve a name that docstrings or signatures give in short, where only one thing is called so."""
    if node.get("refdomain") != "py":
        return None
    last = node["reftarget"].rpartition(".")[2]
    domain = env.get_domain("py")
    if node["reftype"] in ("class", "exc") and not last[:1].isupper():
        return None  # a word of prose or a builtin, in place of a type
    found = {entry.docname: (name, entry) for name, entry in domain.objects.items() if name.rpartition(".")[2] == last}
    if len(found) != 1:
        return None
    ((name, entry),) = found.values()
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Formulas become MathML, which browsers draw themselves: no script and no network, at build time or later."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-process-docstring", plain_text, priority=400)  # before Napoleon
    app.connect("missing-reference", short_names)
