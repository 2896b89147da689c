"""What the runs of a chart have in common, told below it."""

from collections.abc import Iterable, Sequence

from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import fields
from wna_tf.experiments.reporting.charts import Cell

# What is told in any case, and how.
_TOLD = {
    "learning_rate": "learning rate {}",
    "optimizer": "optimizer {}",
    "epochs": "{} epochs",
    "batch_size": "batches of {}",
    "loss": "loss {}",
    "width": "width {}",
}
# What titles tell, and what changes no result.
_UNTOLD = {"dataset", "model", fields.RULE, *fields.SILENT}


def describe(runs: Sequence[run_directory.Run], further: str = "") -> str:
    """Returns a sentence of what runs share: rate, optimizer, ..., and what is no default.

    Args:
        runs: Runs, whose configurations have the same fields.
        further: What else is to be told, of a field that differs.
    """
    shared = {
        name: run_value
        for name, run_value in runs[0].config.items()
        if len({run.config[name] for run in runs}) == 1 and name not in _UNTOLD
    }
    told = [further] if further else []
    told += [form.format(fields.text(shared[n])) for n, form in _TOLD.items() if n in shared]
    told += [
        f"{fields.plain_name(name)} {fields.text(value)}"
        for name, value in shared.items()
        if name not in _TOLD and value not in (None, fields.plain(fields.DEFAULTS.get(name)))
    ]
    return f"Held fixed: {', '.join(told)}." if told else ""


def seeds(cells: Iterable[Cell]) -> str:
    """Returns a sentence of how many seeds there are of each point."""
    counts = sorted({cell.count + cell.diverged for cell in cells})
    several = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return f"{several} seed{'s' * (counts[-1] > 1)} a point."
