"""The page of a report: one HTML file that needs no other."""

import base64
import collections
import html
import pathlib
from collections.abc import Sequence

from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import fields, held, measures, tables
from wna_tf.experiments.reporting.charts import Exhibit
from wna_tf.experiments.reporting.rounding import rounded

PAGE = "report.html"
_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fdfdfd; --line: #d0d0d0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --paper: #16181b; --line: #44484e; }
}
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  margin: 0 auto; max-width: 68rem; padding: 1rem 1.5rem 4rem; }
h2 { border-top: 1px solid var(--line); font-size: 1.15rem; margin-top: 2.5rem; padding-top: 1rem; }
img { background: #fff; border-radius: 4px; max-width: 100%; }
figure { margin: 1rem 0; }
figcaption { font-size: .9rem; opacity: .8; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid var(--line); padding: .2rem .7rem; text-align: left;
  white-space: nowrap; }
summary { cursor: pointer; }
"""
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Report of """
_NUMBERS = """<p>Numbers are means over seeds; ±, bars and bands are standard errors of the mean,
for one seed that of the measurement, where it is known. Numbers are rounded to two digits of their
error, without one to three. Runs that diverged are counted, and left out of means. Results on
validation and test examples are those after the last epoch, unless they are said to be the best.
</p>"""
_MANY_ROWS = 40
_OUTCOMES = (
    "train_accuracy",
    "train_loss",
    "validation_accuracy",
    "best_validation_loss",
    "test_accuracy",
    "test_loss",
    "seconds",
)


def render(
    exhibits: Sequence[Exhibit],
    runs: Sequence[run_directory.Run],
    varying: fields.Varying,
    asked: str = "",
) -> str:
    """Returns the page: every exhibit, the runs, and the configuration that they share.

    Args:
        exhibits: The exhibits, whose figures (.svg) the page takes in.
        runs: All runs, those that failed among them.
        varying: The fields that vary.
        asked: What all these runs were chosen for having; "" if they were not chosen.
    """
    counts = collections.Counter(measures.status(run).split(":")[0] for run in runs)
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    if asked:
        summary += f"; only runs with {html.escape(asked)}"
    followers = "".join(
        f"<p>{html.escape(name)} differs as {html.escape(leader)} does.</p>\n"
        for name, leader in varying.followers.items()
    )
    return "\n".join(
        [
            f"{_HEAD}{len(runs)} runs</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>Report of {len(runs)} runs</h1>\n<p>{summary}</p>",
            f"<p>{html.escape(held.describe(runs))} {_seeds(runs)}</p>",
            _NUMBERS,
            *map(_section, exhibits),
            "<h2>Runs</h2>",
            _table(_run_rows(runs, varying)),
            f"<h2>Shared configuration</h2>\n{followers}",
            _table(_shared_rows(runs)),
            "</body>\n</html>\n",
        ]
    )


def is_page(path: pathlib.Path) -> bool:
    """Returns whether a file is a page that `render` made."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD.encode()


def _section(exhibit: Exhibit) -> str:
    image = base64.b64encode(exhibit.svg).decode()
    title = html.escape(exhibit.title, quote=True)
    files = f"{exhibit.figure.parent.name}/{exhibit.figure.stem}.png, .svg, .pdf, .csv, .md, .tex"
    caption = f"{exhibit.note} {files}".strip()
    return (
        f"<section>\n<h2>{title}</h2>\n<figure>"
        f'<img alt="{title}" src="data:image/svg+xml;base64,{image}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
        f"{_table(exhibit.rows)}\n</section>"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table that can be folded, and is if it is long."""
    is_open = "" if len(rows) > _MANY_ROWS else " open"
    return (
        f"<details{is_open}><summary>Table ({len(rows) - 1} rows)</summary>\n"
        f"{tables.html_table(rows)}\n</details>"
    )


def _seeds(runs: Sequence[run_directory.Run]) -> str:
    seeds = fields.ordered(run.config[fields.SEED] for run in runs)
    return f"Seeds: {', '.join(map(fields.text, seeds))}."


def _run_rows(runs: Sequence[run_directory.Run], varying: fields.Varying) -> list[list[str]]:
    names = [*varying.names, *varying.followers, fields.SEED]
    outcomes = [name for name in _OUTCOMES if any(name in run.result for run in runs)]

    def number(run: run_directory.Run, name: str) -> str:
        value = run.result.get(name)
        shown = measures.measure(name)
        return "-" if value is None else rounded(shown.factor * value).text

    rows = [
        [
            *(fields.shown(name, run.config[name]) for name in names),
            *(number(run, name) for name in outcomes),
            measures.status(run),
            run.directory.name,
        ]
        for run in runs
    ]
    heads = [*names, *(measures.measure(name).label for name in outcomes), "status", "directory"]
    return [list(map(fields.plain_name, heads)), *rows]


def _shared_rows(runs: Sequence[run_directory.Run]) -> list[list[str]]:
    first = runs[0].config
    shared = [name for name in first if len({run.config[name] for run in runs}) == 1]
    return [["field", "value"], *([name, fields.text(first[name])] for name in shared)]
