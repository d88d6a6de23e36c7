"""Published numbers: every digit against a second reading, every impossible value marked as such."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import oracles
import pytest
import torch

from audioxai.benchmark import published
from audioxai.benchmark.published import PublishedTable, published_table, published_tables, violations
from audioxai.errors import ConfigError

# A second reading of the sources, made without the file under test: per column the sum of the values that are numbers
# and the sum of row number × value, so that neither a wrong digit nor two swapped rows can pass.
METRICS = ["AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP", "MM"]
READING = """
lmac-in-domain-stft       sum         79.00   120.03    44.14   0.99    1.74    3.99   52.79       -
lmac-in-domain-stft       weighted   696.11   551.94   407.75   6.62   11.95   22.14  287.24       -
lmac-in-domain-mel        sum        79.010   107.28    53.14   1.20    1.55    3.56   40.09       -
lmac-in-domain-mel        weighted  639.585   440.87   422.10   6.88   10.08   17.73  199.81       -
lmac-mixtures-stft        sum        132.24   244.82    70.48   1.67    2.81    8.16  104.59       -
lmac-mixtures-stft        weighted  1150.15  1157.27   624.60  11.40   20.20   45.90  570.39       -
lmac-mixtures-mel         sum        142.26   218.27    68.77   2.16    3.13    7.08   82.19       -
lmac-mixtures-mel         weighted  1113.54   916.64   560.62  12.63   19.91   35.28  409.62       -
lmac-mixtures-stft-rerun  sum        127.24    34.65    65.57   1.06    1.65    2.33   31.80       -
lmac-mixtures-stft-rerun  weighted   199.61    91.40    98.91   1.98    2.49    4.31   65.21       -
lmac-white-noise-stft     sum         94.36   198.94   58.221   1.42    3.07   43.24   92.25   1.430
lmac-white-noise-stft     weighted   805.14   903.59  514.268   9.81   23.43  181.01  460.39  12.218
lmac-speech-stft          sum         95.73   201.80    43.15   1.50    3.61    7.21   94.95    1.57
lmac-speech-stft          weighted   756.17   913.15   373.38  10.15   25.67   36.62  471.51   12.65
lmac-zs-esc50-mel         sum         35.55   204.27   14.684  1.378   1.318   2.791   49.57   0.746
lmac-zs-esc50-mel         weighted   139.55   573.75   59.516  4.158   4.566   8.713  147.68   1.965
lmac-zs-esc50-stft        sum        178.81   111.97    50.63   5.41    5.03    3.73   84.48  1.3996
lmac-zs-esc50-stft        weighted   801.69   368.07   214.23  21.56   21.36   14.40  339.71  5.9683
lmac-td-in-domain         sum        261.25   122.13    44.14   1.41    2.65    3.99   63.32       -
lmac-td-in-domain         weighted  2863.61   577.14   407.75  11.66   22.87   22.14  413.60       -
lmac-td-mixtures          sum        272.51    51.84   110.21   2.23    4.54    4.90   62.51       -
lmac-td-mixtures          weighted  1042.29   132.66   379.96   8.40   17.19   17.86  219.07       -
lmac-td-white-noise       sum        147.12     4.56    56.12   1.02    2.69    0.92   10.03    1.06
lmac-td-white-noise       weighted   210.62     7.62    56.12   2.05    5.52    0.92   10.03    3.06
lmac-td-speech            sum        133.38     5.68    39.64   1.11    2.73    0.93    9.70    1.05
lmac-td-speech            weighted   196.01     8.63    39.64   2.24    5.63    0.93    9.70    3.05
"""
SUMS: dict[str, dict[str, list[Decimal]]] = {}
for line in READING.strip().splitlines():
    name, _, *cells = line.split()
    for metric, text in zip(METRICS, cells, strict=True):
        if text != "-":
            SUMS.setdefault(name, {}).setdefault(metric, []).append(Decimal(text))

TABLES = {table.id: table for table in published_tables()}
HALVED = ["lmac-in-domain-stft", "lmac-in-domain-mel", "lmac-td-in-domain"]


def numbers(table: PublishedTable, metric: str) -> list[tuple[int, Decimal]]:
    cells = [(i, row.cells[metric]) for i, row in enumerate(table.rows, 1) if metric in row.cells]
    return [(i, Decimal(cell.printed)) for i, cell in cells if cell.value is not None]


@pytest.mark.parametrize("name", SUMS)
def test_every_number_is_as_in_the_second_reading(name: str) -> None:
    table = TABLES[name]
    assert list(table.columns) == list(SUMS[name])
    for metric, (total, weighted) in SUMS[name].items():
        found = numbers(table, metric)
        assert sum(value for _, value in found) == total, metric
        assert sum(i * value for i, value in found) == weighted, metric
        for row in table.rows:
            cell = row.cells.get(metric)
            if cell is not None and cell.value is not None:
                assert cell.value == float(cell.printed)


def test_the_tables_are_complete() -> None:
    assert list(TABLES) == list(SUMS)
    assert sum(len(table.rows) for table in TABLES.values()) == 98
    cells = [cell for table in TABLES.values() for row in table.rows for cell in row.cells.values()]
    assert len(cells) == 702 and sum(cell.value is None for cell in cells) == 8
    accuracy = {name: table.accuracy for name, table in TABLES.items() if table.accuracy is not None}
    assert accuracy == {
        "lmac-white-noise-stft": 38.6,
        "lmac-speech-stft": 79.3,
        "lmac-zs-esc50-mel": 80.7,
        "lmac-zs-esc50-stft": 78.9,
        "lmac-td-white-noise": 38.6,
        "lmac-td-speech": 79.3,
    }
    assert {table.source.arxiv for table in TABLES.values()} == {"2403.13086", "2405.17615", "2409.08655"}
    ours = {row.ours for table in TABLES.values() for row in table.rows}
    controls_and_learned = {"AllOnes", "LMAC", "LMAC FT", "L2I", "LMACZS", "LMACTD"}
    gradient = {"Saliency", "SmoothGrad", "IntegratedGradients", "GuidedBackprop", "GradientSHAP"}
    cams = {"GradCAM", "GradCAMPlusPlus", "GuidedGradCAM", "ScoreCAM", "GScoreCAM"}
    assert ours == controls_and_learned | gradient | cams


def test_names_of_ours_are_classes_of_the_toolkit() -> None:
    import audioxai

    later = {"LMAC FT", "L2I", "LMACZS", "LMACTD"}
    for name in {row.ours for table in TABLES.values() for row in table.rows} - later:
        assert hasattr(audioxai, name)


def test_every_note_exists_and_is_used() -> None:
    used = {note for table in TABLES.values() for note in table.notes}
    for table in TABLES.values():
        for row in table.rows:
            used |= {*row.notes, *(note for cell in row.cells.values() for note in cell.notes)}
            for metric in row.cells:
                table.notes_on(row.method, metric)
    assert used | {"rescaled"} == set(published._notes())
    assert {note.kind for note in published._notes().values()} == {"wrong", "doubtful", "note"}
    assert {note.origin for note in published._notes().values()} == {"sources", "computed"}


def faults(table: PublishedTable, method: str, metric: str) -> set[str]:
    return {note.id for note in table.notes_on(method, metric) if note.kind != "note"}


def test_every_violation_is_a_marked_error() -> None:
    for table in TABLES.values():
        for found in violations(table):
            for metric in found.metrics:
                assert faults(table, found.method, metric), (table.id, found)


def test_which_errors_the_rules_see_and_which_they_cannot() -> None:
    marked: dict[str, set[tuple[str, str, str]]] = {}
    seen: dict[str, set[tuple[str, str, str]]] = {}
    for table in TABLES.values():
        broken = {(found.method, metric) for found in violations(table) for metric in found.metrics}
        for row in table.rows:
            for metric, cell in row.cells.items():
                for note in {*row.notes, *cell.notes, *table.notes} & faults(table, row.method, metric):
                    marked.setdefault(note, set()).add((table.id, row.method, metric))
                    if (row.method, metric) in broken:
                        seen.setdefault(note, set()).add((table.id, row.method, metric))
    assert set(marked) - set(seen) == {
        "gradcam-mixtures",  # possible values, of another mask
        "l2i-label",  # possible for a useless mask
        "l2i-speech-drop",  # possible with another classifier
        "ig-gain",  # 75 % on each of six clips
        "zs-faithfulness",  # not tied to MM by any definition
        "zs-smoothgrad",
        "td-fid-in",  # one of two possible values
        "td-confidence",  # needs the classifier's confidence
    }
    assert seen["zs-clips"] == marked["zs-clips"]
    assert seen["stft-values"] == marked["stft-values"]
    assert seen["lost-exponent"] == marked["lost-exponent"]
    assert {cell[2] for cell in seen["l2i-white-noise"]} == {"AI", "AG", "SPS"}  # COMP 7.32 is possible
    assert {cell[2] for cell in seen["halved"]} == {"AI", "AG"}  # odd multiples of 100/800, and the lost exponent
    assert len([cell for cell in seen["halved"] if cell[2] == "AI"]) == 8


@pytest.mark.parametrize("name", HALVED)
def test_rescaled_is_twice_the_halved_rows_and_obeys_the_rules(name: str) -> None:
    table = TABLES[name]
    twice = table.rescaled()
    assert twice.id == f"{name}-rescaled" and "halved" not in twice.notes
    for row, new in zip(table.rows, twice.rows, strict=True):
        factor = 1 if row.ours == "LMACTD" else 2
        assert ("rescaled" in new.notes) == (factor == 2) and "halved" not in new.notes
        for metric, cell in row.cells.items():
            assert new.cells[metric].value == pytest.approx(factor * cell.value)
            assert float(new.cells[metric].printed) == new.cells[metric].value
    left = [(found.method, found.rule) for found in violations(twice)]
    assert left == ([("Guided GradCAM", "AG ≤ AI")] if name == "lmac-in-domain-mel" else [])


def test_rescaled_reads_as_in_the_second_reading() -> None:
    row = published_table("lmac-in-domain-stft").rescaled().row("LMAC")
    assert [cell.printed for cell in row.cells.values()] == ["72.50", "2.30", "47.00", "0.40", "0.84", "0.94", "9.42"]
    with pytest.raises(ConfigError, match=r"'lmac-speech-stft' is known to be halved; those of lmac-in-domain-stft,"):
        published_table("lmac-speech-stft").rescaled()


def test_a_wrong_digit_is_seen() -> None:
    table = published_table("lmac-mixtures-stft")
    assert violations(table) == ()
    for metric, printed in {
        "AI": "60.60",
        "AD": "63.30",
        "AG": "61.00",
        "FF": "1.39",
        "Fid-In": "1.01",
        "SPS": "0.99",
        "COMP": "12.40",
    }.items():
        row = table.row("L-MAC")
        cells = {**row.cells, metric: published._cell(printed, ())}
        other = replace(table, rows=(replace(row, cells=cells),))
        assert any(metric in found.metrics for found in violations(other)), metric


def test_an_all_ones_mask_must_change_nothing() -> None:
    table = published_table("lmac-speech-stft")
    row = table.row("AllOnes")
    other = replace(row, cells={**row.cells, "Fid-In": published._cell("0.98", ())})
    (found,) = violations(replace(table, rows=(other,)))
    assert (found.method, found.metrics) == ("all-ones", ("Fid-In",))


@pytest.mark.parametrize("power", [0.3, 1.0, 4.0, 30.0])
def test_no_mask_beats_the_bound_on_its_entropy(power: float) -> None:
    mask = (torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** power).tolist()
    lost = published._entropy_lost(oracles.sparseness(mask))
    assert 0 < lost < math.log(len(mask)) - oracles.complexity(mask)


@pytest.mark.parametrize("k", [0.5, 3.0, 12.0])
def test_the_bound_is_reached_by_exponential_ranks(k: float) -> None:
    rank = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    mask = torch.exp(2 * k * rank).tolist()
    lost = math.log(len(mask)) - oracles.complexity(mask)
    assert lost == pytest.approx(published._entropy_lost(oracles.sparseness(mask)), abs=1e-4)


def test_markdown_shows_the_printed_digits_and_the_notes() -> None:
    text = published_table("lmac-in-domain-mel").to_markdown()
    lines = text.split("\n")
    assert lines[0] == "| | AI | AD | AG | FF | Fid-In | SPS | COMP |"
    assert "| Guided GradCAM | 0.125 | 15.40 | 6.67¹ | 0.08 | 0.07 | 0.45 | 4.17 |" in lines
    assert "¹ (wrong) AG 6.67 at AI 0.125 breaks AG ≤ AI; probably a lost exponent." in lines
    assert any(line.startswith("All values: (wrong) Half the true value") for line in lines)
    assert "| Guided Backprop² | 0.125 |" in text and "second softmax" in text and "arXiv 2403.13086" in text
    white = published_table("lmac-white-noise-stft").to_markdown()
    assert "| all-ones | 0 | 0 | 0 | 0.34 | 1 | N.A. | N.A. | 1 |" in white and "accuracy 38.6 %" in white
    assert "| LMAC-TD alpha=1 | 66.00 | – | – | – | – | – | – |" in published_table("lmac-td-in-domain").to_markdown()
    assert "¹" in published_table("lmac-in-domain-stft").rescaled().to_markdown().split("\n")[2]


def test_errors_name_what_there_is() -> None:
    with pytest.raises(ConfigError, match="no published table 'lmac-mixture-stft'; nearest: 'lmac-mixtures-stft'"):
        published_table("lmac-mixture-stft")
    table = published_table("lmac-td-mixtures")
    with pytest.raises(ConfigError, match="no method 'L-MAC FTT'; nearest: 'L-MAC FT'"):
        table.row("L-MAC FTT")
    with pytest.raises(ConfigError, match="several rows of 'LMACTD'; choose one of 'LMAC-TD alpha=1'"):
        table.row("LMACTD")
    assert table.row("LMAC") is table.row("L-MAC")
    with pytest.raises(ConfigError, match="lmac-td-speech has no 'AG' of 'LMAC-TD 0.75'; it has AI, AD, FF, Fid-In"):
        published_table("lmac-td-speech").notes_on("LMACTD", "AG")
