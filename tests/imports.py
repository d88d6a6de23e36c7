"""The rooms of the package, their order, and a walk over every import in it.

``python tests/imports.py`` prints the rooms as a Mermaid graph, which CONTRIBUTING.md shows.
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "audioxai"
#: A room may import what stands before it, never what stands behind it.
ROOMS = (
    "errors", "version", "support", "sound", "data", "nn", "classifiers", "adapters", "training", "masking", "report",
    "explainers", "metrics", "listening", "bulk", "pretrained", "testing", "_moved", "__init__", "benchmark",
    "commands", "__main__",
)  # fmt: skip


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Dotted name below the package to file; the package itself is ``__init__``."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"] = path
    return found


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Each module and the modules that it imports, inside functions and for types too."""
    known = modules(package)
    return {name: {_module(asked, known) for asked in _asked(path, package.name)} for name, path in known.items()}


def _asked(path: Path, package: str) -> list[str]:
    """Dotted names that a file imports from the package, with what it takes from there."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: the package imports by whole names"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.partition(".")[0] == package]


def _module(asked: str, known: dict[str, Path]) -> str:
    """The module behind a dotted name: itself, or that which holds it."""
    parts = asked.split(".")[1:]
    while parts and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts) or "__init__"


def room(module: str) -> str:
    return module.partition(".")[0]


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports of a room by one that stands before it."""
    order = {name: place for place, name in enumerate(ROOMS)}
    pairs = [(one, other) for one, others in graph.items() for other in others]
    return [f"{one} imports {other}" for one, other in sorted(pairs) if order[room(one)] < order[room(other)]]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, by whatever way (Tarjan 1972).

    A package does not count as importing what it is made of, nor its parts it: that they are loaded together is how
    packages work.
    """
    edges = {
        one: {other for other in others if not (one.startswith(f"{other}.") or other.startswith(f"{one}."))} - {one}
        for one, others in graph.items()
    }
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in edges[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in edges:
        if name not in index:
            visit(name)
    return found


def drawing(graph: dict[str, set[str]]) -> str:
    """The rooms and what they import, as Mermaid; what follows from other arrows is left out, and so are the errors."""
    rooms = [name for name in ROOMS if name not in ("errors", "version", "_moved", "__init__", "__main__")]
    direct = {name: {room(o) for one, others in graph.items() if room(one) == name for o in others} for name in rooms}
    direct = {name: {other for other in others if other in rooms} - {name} for name, others in direct.items()}

    def reached(name: str) -> set[str]:
        return direct[name].union(*(reached(other) for other in direct[name]))

    lines = ["graph BT"]
    for name in rooms:
        shortest = {other for other in direct[name] if not any(other in reached(via) for via in direct[name])}
        lines += [f"    {name} --> {other}" for other in rooms if other in shortest]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(drawing(imports()), end="")
