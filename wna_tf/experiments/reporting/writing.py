"""Writes the report of runs: every exhibit's files, and the page."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wna_tf import files, progress
from wna_tf.experiments import run_directory
from wna_tf.experiments.config import FigureStyle
from wna_tf.experiments.reporting import (
    exhibits,
    fields,
    figures,
    kernels,
    measures,
    page,
    styles,
    tables,
)
from wna_tf.experiments.reporting.charts import Chart, Exhibit

FOLDER = "report"
_TABLES, _FIGURES = {".csv", ".md"}, {".png", ".svg"}
_PRINT = {".tex", ".pdf"}  # Which earlier reports did not have.
_STYLE = FigureStyle()


def report(
    runs: Sequence[run_directory.Run],
    directory: pathlib.Path,
    given: Mapping[str, Sequence[Any]] | None = None,
    style: FigureStyle = _STYLE,
) -> list[Exhibit]:
    """Makes tables and figures of what varies between runs, and a page of them all.

    `report(read_runs(directory), directory)` is of all that is there.

    Args:
        runs: Finished runs.
        directory: Where `report.html` and the folder `report/` are written: for each exhibit
            a table (.md, .tex), its numbers (.csv) and a figure (.png, .svg, .pdf). Runs in it
            that failed are listed on the page.
        given: Values by field of a configuration: of all these runs, those that have one of them
            in every such field are shown, and the page says so.
        style: How figures look.

    Returns:
        The exhibits; the first shows the main result.

    Raises:
        ValueError: If no finished run is left, a field is unknown, the font is not there, or
            something else is in the place of the report.
    """
    given = given or {}
    asked = fields.describe(given)
    selected = fields.select(runs, given)
    if not selected:
        received = f"{directory}, with {asked}" if asked else directory
        raise ValueError(f"Expected a finished run to report. Received: {received}")
    check(directory, style)
    known = fields.complete([*selected, *fields.select(_failed(directory), given)])
    finished = [run for run in known if not measures.has_failed(run)]
    varying = fields.varying([run.config for run in known])
    charts = list(_charts(finished, varying))
    summaries = kernels.read(finished)
    look = styles.of_report(style, [run.config[fields.RULE] for run in known])
    with files.replacing(directory / FOLDER) as beside:
        beside.mkdir()
        made = [
            _write(chart, look, beside, directory / FOLDER)
            for chart in progress.track(charts, "Report", "figures")
        ]
        if summaries:
            table = kernels.write(summaries, varying.names, beside, look)
            made.append(_exhibit(kernels.TITLE, table, kernels.NAME, beside, directory / FOLDER))
    with files.replacing(directory / page.PAGE) as beside:
        beside.write_text(page.render(made, known, varying, asked))
    return made


def check(directory: pathlib.Path, style: FigureStyle = _STYLE) -> None:
    """Raises a ValueError if no report could be written, see `report`."""
    styles.check(style)
    files.check_own(directory / FOLDER, _is_folder, "directory for the report")
    files.check_own(directory / page.PAGE, page.is_page, "file for the report")


def _charts(finished: Sequence[run_directory.Run], varying: fields.Varying) -> Iterator[Chart]:
    """Yields the charts of every main result, under names that tell them apart."""
    for name in measures.MAIN:
        own = [run for run in finished if measures.main(run) == name]
        if not own:
            continue
        for chart in exhibits.study(own, varying):
            if len(own) < len(finished) and not chart.name.startswith(name):
                chart = dataclasses.replace(chart, name=f"{name}_{chart.name}")
            yield chart


def _is_folder(directory: pathlib.Path) -> bool:
    """Returns whether a directory has the files of charts, all of each, and no other."""
    found = {path.name for path in directory.glob("*")}
    needed = {f"{pathlib.Path(name).stem}{form}" for name in found for form in _TABLES | _FIGURES}
    further = {f"{pathlib.Path(name).stem}{form}" for name in found for form in _PRINT}
    return needed <= found <= needed | further


def _write(chart: Chart, look: styles.Look, beside: pathlib.Path, folder: pathlib.Path) -> Exhibit:
    """Writes a chart's files beside the folder that they will be in."""
    tables.write_csv(chart, beside / f"{chart.name}.csv")
    figures.draw(chart, beside / chart.name, look)
    note = " ".join(filter(None, (chart.held, chart.note)))
    return _exhibit(chart.title, tables.table(chart), chart.name, beside, folder, note)


def _exhibit(
    title: str,
    made: tables.Table,
    name: str,
    beside: pathlib.Path,
    folder: pathlib.Path,
    note: str = "",
) -> Exhibit:
    """Writes the table of an exhibit whose other files are there."""
    rows = made.texts()
    table = tables.markdown(rows)
    told = f"\n{note}\n" if note else ""
    (beside / f"{name}.md").write_text(f"{title}\n\n{table}\n{told}")
    (beside / f"{name}.tex").write_text(tables.latex(made, title, note))
    svg = (beside / f"{name}.svg").read_bytes()
    return Exhibit(title, rows, table, folder / f"{name}.png", svg, note)


def _failed(directory: pathlib.Path) -> list[run_directory.Run]:
    """Reads the runs that failed: all that they have for a result is the error."""
    places = [path.parent for path in sorted(directory.glob(f"*/{run_directory.FAILURE}"))]
    return [
        run_directory.Run(
            place,
            files.read_json(place / run_directory.CONFIG),
            {"error": str(files.read_json(place / run_directory.FAILURE).get("error"))},
            [],
        )
        for place in places
        if run_directory.state(place) == "failed"
    ]
