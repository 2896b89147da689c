"""The page on results: its tables are its CSV files, and its sentences quote its tables."""

import csv
import re

import pytest

from docs import make_results
from tests.conftest import ROOT
from wna_tf.experiments.reporting import rounding

TEXT = make_results.PAGE.read_text()
PLACES = make_results.PLACE.findall(TEXT)


@pytest.mark.parametrize(("flagfile", "exhibit", "table"), PLACES)
def test_a_table_has_the_numbers_of_its_file(flagfile, exhibit, table):
    assert (ROOT / "flags" / f"{flagfile}.flags").is_file()
    scale = 100 if "accuracy" in exhibit else 1  # Tables have percent.
    with (make_results.FOLDER / f"{flagfile}_{exhibit}.csv").open() as file:
        rows = list(csv.DictReader(file))
    cells = re.findall(r"(?<=\| )[^|]*?(?= *\|)", table)
    assert rows
    for row in rows:
        if row["mean"]:
            error = row["standard_error"]
            given = scale * float(row["mean"]), scale * float(error) if error else None
            number = rounding.rounded(*given).text
            assert any(cell.startswith(number) for cell in cells), row
        else:
            assert "diverged" in cells, row


def test_what_is_quoted_is_in_a_table():
    quoted = re.findall(r"\*\*(\d[^*]+)\*\*", TEXT)
    assert quoted
    tables = "".join(table for _, _, table in PLACES)
    assert not [number for number in quoted if number not in tables]


def test_every_figure_is_on_the_page():
    figures = {path.name for path in make_results.FOLDER.glob("*.png")}
    assert set(re.findall(r"\(results/(\S+\.png)\)", TEXT)) == figures
