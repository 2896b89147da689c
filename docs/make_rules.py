"""Writes the pages of the rules, `docs/rules/*.md`, and their figure.

    python -m docs.make_rules

A page is made of what the code knows of a rule (its row, its hyper-parameters and what their
docstring says, the passes that a step makes), of what a person wrote in `rules.toml`, and of what
was measured: `digits.csv` by `python -m benchmarks.accuracies`, `cost.csv` by
`python -m benchmarks.rules --network digits kmnist --widths 32 128 --csv docs/rules/cost.csv`.
"""

import csv
import dataclasses
import inspect
import pathlib
import re
import tomllib
from typing import Any

import matplotlib.figure

from wna_tf import feedback, rules
from wna_tf.experiments import costs

FOLDER = pathlib.Path(__file__).parent / "rules"
ENTRIES = tomllib.loads((FOLDER / "rules.toml").read_text())
INDEX, FIGURE = "README.md", "digits.png"
_NETWORKS = {"digits": "mlp", "kmnist": "cnn"}  # Of benchmarks, and what they are.
# Markers and colours of widths; Okabe and Ito's.
_WIDTHS = (("o", "#0072b2"), ("s", "#d55e00"))


def read(name: str) -> list[dict[str, str]]:
    """Returns the rows of a table; none if it is not there."""
    path = FOLDER / name
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


def passes(name: str) -> float:
    """Returns how often a step of a rule runs the products of a network; backprop 3."""
    work = costs.passes(name)
    return work.forward + work.carried + work.learned + work.further


def parameters(source: feedback.Feedback) -> list[tuple[str, Any, str]]:
    """Returns name, value and description of the hyper-parameters of a feedback source."""
    text = inspect.cleandoc(type(source).__doc__ or "")
    _, _, section = text.partition("\nAttributes:\n")
    section = section.partition("\n\n")[0]
    told = re.findall(r"^    (\w+): ((?:.|\n     )*)", section, re.MULTILINE)
    described = {name: " ".join(words.split()) for name, words in told}
    return [
        (field.name, getattr(source, field.name), described[field.name])
        for field in dataclasses.fields(source)
    ]


def page(name: str) -> str:
    """Returns the page of a rule."""
    rule, entry = rules.get(name), ENTRIES[name]
    source = rule.feedback
    (what, *_) = inspect.cleandoc(type(source).__doc__ or "").split("\n\n")
    short = f" ({entry['abbreviation']})" if "abbreviation" in entry else ""
    parts = [
        f"# {rules.title(name)}{short}",
        f'`--rule={name}`, `wna_tf.Learner(network, rule="{name}")`: {entry["summary"]}. '
        "What the letters mean: [all rules](README.md).",
        f"```\n{entry['equation'].strip()}\n```",
        _table(
            ["", ""],
            [
                ["feedback `V`", f"`{source.name}`: {' '.join(what.split())}"],
                ["derivative `D`", f"of the {rule.derivative} network"],
                ["activity `p`", f"of the {rule.activity} network"],
                ["error `e`", f"of the {rule.error} network"],
            ],
        ),
        "## What it stands for",
        entry["about"].strip(),
        "## Parameters",
        _parameters(source),
        "## Cost",
        _cost(name),
    ]
    if reached := _reached(name):
        parts += ["## On digits", reached]
    parts += ["## Source", "\n".join(f"- {work}." for work in entry["source"])]
    return "\n\n".join(parts) + "\n"


def _parameters(source: feedback.Feedback) -> str:
    found = parameters(source)
    if not found:
        return "None but the learning rate."
    rows = [[f"`{name}`", f"`{_write(value)}`", text] for name, value, text in found]
    example = next(f"{name}={_write(value)}" for name, value, _ in found if value)
    return (
        f"Set by `--feedback={example}`, or in code by a `wna_tf.Rule` whose feedback is "
        f"`wna_tf.feedback.{type(source).__name__}(...)`.\n\n"
        + _table(["parameter", "default", "meaning"], rows)
    )


def _cost(name: str) -> str:
    entry, work = ENTRIES[name], costs.passes(name)
    made = [
        (work.forward, "forward"),
        (work.carried, "to carry deltas back"),
        (work.learned, "to make updates"),
        (work.further, "to learn feedback weights"),
    ]
    told = ", ".join(f"{_write(float(count))} {what}" for count, what in made if count)
    many = passes(name)
    text = f"{_write(many)} pass{'es' * (many != 1)} over the network's affine maps a step: {told}."
    parts = [f"{text} {entry['cost']}" if "cost" in entry else text]
    rows = [
        [_NETWORKS[row["network"]], row["width"], row["ratio"], row["processor"]]
        for row in read("cost.csv")
        if row["rule"] == name
    ]
    if rows:
        heads = ["network", "width", "a step to `keras.Model.fit`", "the same in processor time"]
        parts.append(_table(heads, rows))
    return "\n\n".join(parts)


def _reached(name: str) -> str:
    rows = [
        [row["model"], row["width"], row["learning_rate"], _accuracy(row), _of_seeds(row)]
        for row in read("digits.csv")
        if row["rule"] == name
    ]
    heads = ["network", "width", "learning rate", "test accuracy, %", "seeds"]
    return _table(heads, rows) if rows else ""


def index() -> str:
    """Returns the page with the table of all rules."""
    digits = {(row["rule"], row["model"], row["width"]): row for row in read("digits.csv")}
    columns = list(dict.fromkeys(key[1:] for key in digits))
    heads = ["rule", "feedback `V`", "derivative", "activity", "passes"]
    heads += [f"{model} {width}" for model, width in columns]
    rows = []
    for name in rules.names():
        rule = rules.get(name)
        choices = [f"`{rule.feedback.name}`", rule.derivative, rule.activity]
        reached = [digits.get((name, *column)) for column in columns]
        cells = ["" if row is None else _accuracy(row) for row in reached]
        rows.append([f"[`{name}`]({name}.md)", *choices, _write(passes(name)), *cells])
    parts = [_HEAD, _table(heads, rows), _LEGEND]
    if digits:
        parts += [f"![Test accuracy of every rule on digits]({FIGURE})", _protocol(digits)]
    return "\n\n".join(parts) + "\n"


_HEAD = """# Rules

With `d_l` the delta of block l, `h_l` its activity, `A(x; W)` its affine map, `D_l` the derivative
of what follows that (normalization and activation), and `e` the derivative of the loss by the
output `f`, every rule is

```
d_l  = D_l^T A^T(d_{l+1}; V_{l+1})      d = e at the last map
dW_l = d_l (outer) p_{l-1}
```

`W(0)`, `h(0)` and `D(0)` are those at initialization, `rate` is a feedback source's own learning
rate, `mean` is over the batch. `dW`, `dB`, `dF`, `dR` are what the optimizer receives as gradients;
`<-` is done after its step. What the words mean: [glossary](../glossary.md)."""

_LEGEND = """"Passes" is how often a step runs the products of the network's affine maps; a forward
pass is 1. What else a step does is on each page. The pages are made from the code, `rules.toml` and
the tables here by `python -m docs.make_rules`."""

_PROTOCOL = """Accuracy on the 297 test images of scikit-learn's digits, in percent: mean and
standard error of {seeds} seeds, at the learning rate of {rates} at which the first of them had the
best validation accuracy after the last epoch, chosen for each rule, network and width. `mlp` has
three hidden blocks, `cnn` three of 3x3 convolutions, with batch normalization; NTK
parameterization, squared error, plain SGD, every feedback source at its defaults
(`flags/rules_digits.flags`). One protocol for all, and nothing tuned
but the rate: a rule at other hyper-parameters may do better. Chance is 10%.

The largest rate is the best of most rows, so that more might do better still; at 10 `backprop`
diverges. Rules whose source lets the weights decay (`kolen_pollack`, `product_feedback_alignment`,
`regularized_kolen_pollack`) are above `backprop` in the mlp, which has no decay here: what they
gain may be that of a regularizer, and says nothing of their feedback."""


def _protocol(digits: dict[tuple, dict[str, str]]) -> str:
    rates = sorted({rate for row in digits.values() for rate in row["chosen_from"].split()})
    seeds = sorted({row["seeds"] for row in digits.values()})
    return _PROTOCOL.format(seeds=" or ".join(seeds), rates=", ".join(rates))


def _accuracy(row: dict[str, str]) -> str:
    return f"{float(row['test_accuracy']):.1f} ± {float(row['standard_error']):.1f}"


def _of_seeds(row: dict[str, str]) -> str:
    diverged = int(row["diverged"])
    return row["seeds"] + (f", {diverged} diverged" if diverged else "")


def _write(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(path: pathlib.Path) -> None:
    """Draws accuracies: a row for each rule, a panel for each network, a marker for each width."""
    rows = read("digits.csv")
    models = list(dict.fromkeys(row["model"] for row in rows))
    widths = list(dict.fromkeys(row["width"] for row in rows))
    names = [name for name in rules.names() if any(row["rule"] == name for row in rows)]
    figure = matplotlib.figure.Figure(figsize=(10, 7.5), layout="constrained")
    panels = figure.subplots(1, len(models), sharey=True, sharex=True, squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        for offset, (width, (marker, colour)) in enumerate(zip(widths, _WIDTHS, strict=True)):
            own = {r["rule"]: r for r in rows if (r["model"], r["width"]) == (model, width)}
            y = [place + 0.3 * (offset - 0.5) for place, name in enumerate(names) if name in own]
            x, errors = (
                [float(own[name][column]) for name in names if name in own]
                for column in ("test_accuracy", "standard_error")
            )
            style = {"fmt": marker, "color": colour, "markersize": 4.5, "capsize": 2}
            axes.errorbar(x, y, xerr=errors, label=f"width {width}", **style)
            if "backprop" in own:
                level = float(own["backprop"]["test_accuracy"])
                axes.axvline(level, color=colour, linewidth=0.8, linestyle=":")
        axes.set_title(model)
        axes.set_xlabel("test accuracy (%)")
        axes.grid(axis="x", alpha=0.3)
        for place in range(0, len(names), 2):  # Rows are told apart by bands.
            axes.axhspan(place - 0.5, place + 0.5, color="black", alpha=0.04, linewidth=0)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def render() -> dict[str, str]:
    """Returns the text of every page, by the name of its file."""
    return {INDEX: index()} | {f"{name}.md": page(name) for name in rules.names()}


def main() -> None:
    """Writes all pages, and the figure if there are numbers."""
    for name, text in render().items():
        (FOLDER / name).write_text(text)
    if read("digits.csv"):
        draw(FOLDER / FIGURE)


if __name__ == "__main__":
    main()
