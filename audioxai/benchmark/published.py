"""Published tables of scores of audio explainers, digit for digit, with their known errors marked.

The numbers are in ``published.toml``. They were computed with other conventions than :mod:`audioxai.metrics`, named by
each table, so compare orders of methods and, with care, values.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib.resources import files
from typing import Any

from audioxai.errors import ConfigError, nearest
from audioxai.metrics import METRICS

__all__ = [
    "Cell",
    "Note",
    "PublishedTable",
    "Row",
    "Source",
    "Violation",
    "published_table",
    "published_tables",
    "violations",
]

_HALVED, _RESCALED = "halved", "rescaled"
_UNKNOWN, _NOT_GIVEN = "?", ("N.A.", "N/A", "-")
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_EPS = 1e-9  # 32.375 is printed as 32.37 or 32.38


@dataclass(frozen=True)
class Note:
    """What a reader of a value must know."""

    id: str  # short name
    kind: str  # "wrong" cannot be right, "doubtful" does not fit the rest, "note" how to read a right value
    origin: str  # "sources" for what the authors' code or tables show, "computed" for what the numbers show
    text: str


@dataclass(frozen=True)
class Source:
    """Paper behind a table, and what its numbers were read from."""

    paper: str
    venue: str
    year: int
    arxiv: str
    read_from: str

    def __str__(self) -> str:
        return f"{self.paper}, {self.venue} {self.year}, arXiv {self.arxiv}; read from: {self.read_from}"


@dataclass(frozen=True)
class Cell:
    """One published value."""

    printed: str  # its digits as published
    value: float | None  # None where the authors print that there is none
    rounding: float  # how far the value may be from the unrounded one: half of its last digit
    notes: tuple[str, ...] = ()  # ids of the notes on this cell alone


@dataclass(frozen=True)
class Row:
    """Values of one method."""

    method: str  # as published
    ours: str  # name of the method in this toolkit
    space: str  # where its mask lives: "stft", "mel" or "waveform"
    cells: Mapping[str, Cell]  # by metric; values that are not known are left out
    notes: tuple[str, ...] = ()  # ids of the notes on all of the row's cells


@dataclass(frozen=True)
class PublishedTable:
    """One table of one data set, condition and space."""

    id: str  # for published_table
    title: str
    data: str  # name of the data set
    condition: str  # what the clips were mixed with
    space: str  # where the masks live, unless a row says otherwise
    source: Source
    accuracy: float | None  # of the classifier, in %
    clips: int  # that were scored
    grid: tuple[int, int]  # frames and bands of a mask
    double_softmax: str  # whether AD went through a second softmax: "yes" or "unknown"
    conventions: tuple[str, ...]  # how the numbers were made
    columns: tuple[str, ...]  # metrics
    rows: tuple[Row, ...]  # in the published order
    notes: tuple[str, ...] = ()  # ids of the notes on all cells

    def row(self, method: str) -> Row:
        """The row of a method by its published name, or by ours where only one row has it.

        Raises:
            ConfigError: no such row, or several.
        """
        found = [row for row in self.rows if row.method == method] or [row for row in self.rows if row.ours == method]
        if len(found) > 1:
            names = ", ".join(repr(row.method) for row in found)
            raise ConfigError(f"{self.id} has several rows of {method!r}; choose one of {names}")
        if not found:
            known = dict.fromkeys(name for row in self.rows for name in (row.method, row.ours))
            raise ConfigError(f"{self.id} has no method {method!r}; nearest: {nearest(method, known)}")
        return found[0]

    def notes_on(self, method: str, metric: str) -> tuple[Note, ...]:
        """All notes on one cell: its own, its row's and the table's.

        Raises:
            ConfigError: no such row, or no value of this metric in it.
        """
        row = self.row(method)
        if metric not in row.cells:
            raise ConfigError(
                f"{self.id} has no {metric!r} of {row.method!r}; it has {', '.join(row.cells)}. "
                "Values that were not found are left out"
            )
        return tuple(_notes()[note] for note in (*row.cells[metric].notes, *row.notes, *self.notes))

    def rescaled(self) -> PublishedTable:
        """The table with its halved rows doubled, every metric alike: our reading, and marked so.

        Raises:
            ConfigError: no row of this table is halved.
        """
        rows = tuple(_doubled(row) if _HALVED in (*row.notes, *self.notes) else row for row in self.rows)
        if rows == self.rows:
            halved = [t.id for t in published_tables() if _HALVED in (*t.notes, *(n for r in t.rows for n in r.notes))]
            raise ConfigError(f"no row of {self.id!r} is known to be halved; those of {', '.join(halved)} are")
        notes = tuple(note for note in self.notes if note != _HALVED)
        return replace(self, id=f"{self.id}-rescaled", title=f"{self.title}, doubled by us", rows=rows, notes=notes)

    def to_markdown(self) -> str:
        """The table as printed, notes as raised numbers, their texts and the conventions below it.

        A dash stands for a value that is not known.
        """
        numbers: dict[str, int] = {}

        def raised(notes: Sequence[str]) -> str:
            marks = [str(numbers.setdefault(note, len(numbers) + 1)) for note in notes]
            return ",".join(marks).translate(_SUPERSCRIPTS)

        lines = ["| | " + " | ".join(self.columns) + " |", "|---|" + "---:|" * len(self.columns)]
        for row in self.rows:
            cells = [row.method + raised(row.notes)]
            for name in self.columns:
                cell = row.cells.get(name)
                cells.append("–" if cell is None else cell.printed + raised(cell.notes))
            lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        below = [f"{str(number).translate(_SUPERSCRIPTS)} {_sentence(note)}" for note, number in numbers.items()]
        below += [f"All values: {_sentence(note)}" for note in self.notes]
        accuracy = "" if self.accuracy is None else f", classifier accuracy {self.accuracy} %"
        below += [*self.conventions, f"{self.title}: {self.data}, {self.condition}; {self.clips} clips{accuracy}."]
        return "\n\n".join(["\n".join(lines), *below, f"Source: {self.source}."])


@functools.lru_cache(maxsize=1)
def published_tables() -> tuple[PublishedTable, ...]:
    """All tables, in the order of the file."""
    sources = {name: Source(**facts) for name, facts in _file()["sources"].items()}
    return tuple(_table(facts, sources) for facts in _file()["tables"])


def published_table(id: str) -> PublishedTable:
    """One table by its id, such as ``"lmac-mixtures-stft"``.

    Raises:
        ConfigError: no such table; the message names the nearest.
    """
    tables = {table.id: table for table in published_tables()}
    if id not in tables:
        raise ConfigError(f"there is no published table {id!r}; nearest: {nearest(id, tables)}")
    return tables[id]


@functools.lru_cache(maxsize=1)
def _file() -> dict[str, Any]:
    return tomllib.loads(files("audioxai.benchmark").joinpath("published.toml").read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=1)
def _notes() -> dict[str, Note]:
    return {name: Note(name, **facts) for name, facts in _file()["notes"].items()}


def _sentence(note: str) -> str:
    found = _notes()[note]
    return found.text if found.kind == "note" else f"({found.kind}) {found.text}"


def _table(facts: Mapping[str, Any], sources: Mapping[str, Source]) -> PublishedTable:
    columns = tuple(facts["columns"].split())
    keys = ("id", "title", "data", "condition", "space", "clips", "double_softmax")
    return PublishedTable(
        **{key: facts[key] for key in keys},
        source=sources[facts["source"]],
        accuracy=facts.get("accuracy"),
        grid=(facts["grid"][0], facts["grid"][1]),
        conventions=tuple(facts["conventions"]),
        columns=columns,
        rows=tuple(_row(row, columns, facts["space"]) for row in facts["rows"]),
        notes=tuple(facts.get("note", ())),
    )


def _row(facts: Mapping[str, Any], columns: Sequence[str], space: str) -> Row:
    marks = facts.get("marks", {})
    cells = {
        name: _cell(printed, tuple(marks.get(name, ())))
        for name, printed in zip(columns, facts["cells"].split(), strict=True)
        if printed != _UNKNOWN
    }
    return Row(facts["method"], facts["ours"], facts.get("space", space), cells, tuple(facts.get("note", ())))


def _cell(printed: str, notes: tuple[str, ...]) -> Cell:
    if printed in _NOT_GIVEN:
        return Cell(printed, None, 0.0, notes)
    exponent = Decimal(printed).as_tuple().exponent
    return Cell(printed, float(printed), 0.5 * 10.0 ** int(exponent), notes)


def _doubled(row: Row) -> Row:
    cells = {
        name: cell
        if cell.value is None
        else replace(cell, printed=str(2 * Decimal(cell.printed)), value=2 * cell.value, rounding=2 * cell.rounding)
        for name, cell in row.cells.items()
    }
    return replace(row, cells=cells, notes=(_RESCALED, *(note for note in row.notes if note != _HALVED)))


@dataclass(frozen=True)
class Violation:
    """A rule that a row breaks, and the metrics involved."""

    method: str
    metrics: tuple[str, ...]
    rule: str


def violations(table: PublishedTable) -> tuple[Violation, ...]:
    """What no means over clips can be, beyond rounding, by the metrics' definitions.

    Every metric lies in its range; AI is a multiple of 100 / clips; AG is at most AI, and 0 where that is 0; AD is at
    most 63.21 after a second softmax, and else at most 100 - AI; COMP is at most ln(cells), and less for a sparse mask;
    an all-ones mask changes nothing. That AI > 0 needs AG > 0 cannot be seen: a small gain is printed as 0.00.
    """
    rules = ((row.method, rule) for row in table.rows for rule in _rules(row, table))
    return tuple(Violation(method, metrics, text) for method, (text, metrics, broken) in rules if broken)


def _rules(row: Row, table: PublishedTable) -> list[tuple[str, tuple[str, ...], bool]]:
    """Every rule that the row's known metrics allow to check: its text, the metrics, whether it is broken."""
    known = {name: (c.value, c.rounding + _EPS) for name, c in row.cells.items() if c.value is not None}
    low = {name: value - slack for name, (value, slack) in known.items()}
    high = {name: value + slack for name, (value, slack) in known.items()}
    step, flat = 100 / table.clips, math.log(math.prod(table.grid))
    tops = {name: METRICS[name].high for name in known} | {"COMP": flat}
    if table.double_softmax == "yes":
        tops["AD"] = METRICS["AD published"].high
    rules: list[tuple[str, tuple[str, ...], bool]] = []
    for name in low:
        floor, top = METRICS[name].low, tops[name]
        rules.append((f"{name} from {floor:g} to {top:.4g}", (name,), high[name] < floor or low[name] > top))
    if "AI" in low:
        multiple = math.ceil(low["AI"] / step) * step
        rules.append((f"AI is a multiple of 100/{table.clips}", ("AI",), multiple > high["AI"]))
    if {"AI", "AG"} <= low.keys():
        rules.append(("AG ≤ AI", ("AI", "AG"), low["AG"] > high["AI"]))
        rules.append(("AG > 0 needs AI > 0", ("AI", "AG"), low["AG"] > 0 and high["AI"] < step))
    if {"AI", "AD"} <= low.keys() and table.double_softmax != "yes":
        rules.append(("AI + AD ≤ 100", ("AI", "AD"), low["AI"] + low["AD"] > 100))
    if {"SPS", "COMP"} <= low.keys() and low["SPS"] < 1:
        most = flat - _entropy_lost(low["SPS"])
        rules.append(("COMP ≤ ln(cells), less what SPS costs", ("SPS", "COMP"), low["COMP"] > most))
    if row.ours == "AllOnes":
        for name, value in {"AI": 0.0, "AD": 0.0, "AG": 0.0, "Fid-In": 1.0, "MM": 1.0}.items():
            if name in low:
                off = not low[name] <= value <= high[name]
                rules.append((f"{name} of an all-ones mask is {value:g}", (name,), off))
    return rules


def _entropy_lost(gini: float) -> float:
    """Least distance in nats of a mask's entropy from ln(cells), given its Gini index in [0, 1).

    Of all masks with that index, one whose sorted values grow like exp(k · rank) has the largest entropy. The distance
    is convex in the index, so the bound holds for means over clips too.
    """
    if gini < 0.01:
        return 0.0
    low, high = 1e-6, 1 / (1 - gini)
    for _ in range(60):
        k = (low + high) / 2
        low, high = (low, k) if 1 / math.tanh(k) - 1 / k > gini else (k, high)
    log_sinh = k + math.log1p(-math.exp(-2 * k)) - math.log(2)
    return k * gini - log_sinh + math.log(k)
