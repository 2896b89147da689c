"""Writes the tables and figures of `docs/results.md`, from the runs of its flagfiles.

    python -m docs.make_results checkpoints

Each exhibit has a place in the page, between `<!-- FLAGFILE/EXHIBIT -->` and `<!-- end -->`, which
its table fills; its numbers and its figure are in `docs/results/`. Experiments without runs keep
what they have.
"""

import pathlib
import re
import shutil
import sys
import tempfile

from wna_tf import files
from wna_tf.experiments import reporting, run_directory

PAGE = pathlib.Path(__file__).with_name("results.md")
FOLDER = PAGE.with_suffix("")
PLACE = re.compile(r"<!-- (\w+)/(\w+) -->\n(.*?)<!-- end -->\n", re.DOTALL)


def main() -> None:
    """Fills the page from the runs below a directory."""
    (above,) = map(pathlib.Path, sys.argv[1:])
    text = PAGE.read_text()
    for flagfile in dict.fromkeys(name for name, _, _ in PLACE.findall(text)):
        runs = run_directory.read_runs(above / flagfile) if (above / flagfile).is_dir() else []
        if not runs:
            print(f"No runs of {flagfile} in {above}.")
            continue
        with tempfile.TemporaryDirectory() as folder:
            made = reporting.report(runs, pathlib.Path(folder))
            exhibits = {exhibit.figure.stem: exhibit for exhibit in made}
            text = PLACE.sub(lambda m, name=flagfile, of=exhibits: _fill(m, name, of), text)
    with files.replacing(PAGE) as beside:
        beside.write_text(text)


def _fill(match: re.Match, flagfile: str, exhibits: dict[str, reporting.Exhibit]) -> str:
    """Returns what takes a place of the page, and copies the files of the exhibit."""
    if match[1] != flagfile:
        return match[0]
    exhibit = exhibits[match[2]]
    for form in (".csv", ".png"):
        source = exhibit.figure.with_suffix(form)
        shutil.copy(source, FOLDER / f"{flagfile}_{source.name}")
    return f"<!-- {flagfile}/{match[2]} -->\n{exhibit.table}\n\n{exhibit.note}\n<!-- end -->\n"


if __name__ == "__main__":
    main()
