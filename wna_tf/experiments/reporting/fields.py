"""Fields of configurations: which vary between runs, and how they are called."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from wna_tf import rules
from wna_tf.experiments import run_directory, settings
from wna_tf.experiments.config import NONE, RECORDED, Config

# Names of axes, with units.
AXES = {
    "width": "width (units or channels a block)",
    "learning_rate": "learning rate",
    "data_limit": "training examples",
    "depth": "depth (hidden blocks)",
    "batch_size": "batch size (examples)",
    "epochs": "training (epochs)",
    "epoch": "epoch",
    "time": "learning rate times epochs",
    "num_tangents": "tangents a step",
    "ridge": "ridge (factor of the last kernel)",
    "ridge_epochs": "ridge (epochs)",
    "validation_size": "validation examples",
    "image_size": "image size (pixels)",
}
_WORDS = {"time": "rate times epochs"}
RULE, RATE, SEED = "rule", "learning_rate", "seed"
# Fields that make no line or panel: seeds are summarized, the others change no result.
SILENT = {SEED, "data_dir", "diagnostics", *RECORDED}
DEFAULTS = Config().to_dict()
_MODEL = "initial_model"
_SETTINGS = "feedback"  # Of which each is a field in a report, as feedback_decay.


def text(value: Any) -> str:
    """Returns a value of a field as text, as flags take it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown(name: str, value: Any) -> str:
    """Returns a value of a field as it is shown: a rule by its title, a model by its directory."""
    if name == RULE:
        return rules.title(value)
    if name == _MODEL and value != NONE:
        above = [part for part in pathlib.PurePath(value).parent.parts if not set(part) & set("{*")]
        return above[-1] if above else value
    return text(value)


def axis(name: str) -> str:
    """Returns the label of a field's axis, with its unit."""
    return AXES.get(name, plain_name(name))


def label(name: str, value: Any) -> str:
    """Returns a label that tells a field's value: "width 8", "Align-ada"."""
    return shown(name, value) if _is_word(value) else f"{plain_name(name)} {text(value)}"


def labels(names: Iterable[str], values: Iterable[Any]) -> str:
    """Returns what tells the values of fields: "width 8, Align-ada"."""
    return ", ".join(label(*pair) for pair in zip(names, values, strict=True))


def slug(name: str, value: Any) -> str:
    """Returns what tells a field's value in the name of a file: "width_8", "align_ada"."""
    if not _is_word(value):
        return f"{name}_{text(value)}"
    return value if name == RULE else shown(name, value)


def plain_name(name: str) -> str:
    """Returns a field's name in words."""
    return _WORDS.get(name, name.replace("_", " "))


def are_words(values: Iterable[Any]) -> bool:
    """Returns whether all values tell by themselves what they are values of."""
    return all(map(_is_word, values))


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and not value[:1].isdigit()


def rule_place(name: Any) -> tuple[int, str]:
    """Returns where a rule stands among all: as in the table of rules, others behind these."""
    names = rules.names()
    return (names.index(name), "") if name in names else (len(names), str(name))


def is_number(value: Any) -> bool:
    """Returns whether a value is a number, which a truth value is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def ordered(values: Iterable[Any]) -> list[Any]:
    """Returns the values that differ: numbers by size, others as they come."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct) if all(map(is_number, distinct)) else distinct


def ordered_rows(rows: Iterable[tuple]) -> list[tuple]:
    """Returns rows of values by their first values, then by the second, as `ordered` does."""
    rows = list(rows)
    ranks = [
        {value: rank for rank, value in enumerate(ordered(column))}
        for column in zip(*rows, strict=True)
    ]
    return sorted(rows, key=lambda row: [rank[x] for rank, x in zip(ranks, row, strict=True)])


def select(
    runs: Sequence[run_directory.Run], given: Mapping[str, Sequence[Any]]
) -> list[run_directory.Run]:
    """Returns the runs that have one of the values given, in every field given.

    Args:
        runs: Runs; a field that one lacks, which is older than the field, has its default.
        given: Values by field.

    Raises:
        ValueError: If a field is unknown.
    """
    if unknown := sorted(set(given) - set(DEFAULTS)):
        raise ValueError(f"Expected fields of a configuration. Received: {', '.join(unknown)}")
    return [
        run
        for run in runs
        if all(
            _has(name, run.config.get(name, DEFAULTS[name]), values)
            for name, values in given.items()
        )
    ]


def _has(name: str, value: Any, wanted: Sequence[Any]) -> bool:
    """Returns whether a field has one of the values wanted, or settings with all of one's."""
    if name == _SETTINGS:
        return any(set(some) <= set(value) for some in wanted)
    return plain(value) in map(plain, wanted)


def describe(given: Mapping[str, Sequence[Any]]) -> str:
    """Returns what `select` is given as text: "rule=backprop or readout, width=8"."""
    return ", ".join(
        f"{name}={' or '.join(text(plain(value)) for value in values)}"
        for name, values in given.items()
    )


def complete(runs: Sequence[run_directory.Run]) -> list[run_directory.Run]:
    """Returns runs in a fixed order, whose configurations all have the same fields.

    A field that a run lacks, which is older than the field, has its default. A run on all
    training examples has their number for its limit, if others have one. Lists become text, and
    each setting of a feedback source a field.
    """
    runs = [dataclasses.replace(run, config=_open_settings(run.config)) for run in runs]
    defaults = {name: value for name, value in DEFAULTS.items() if name != _SETTINGS}
    names = dict.fromkeys(name for run in runs for name in run.config)
    is_limited = any(run.config.get("data_limit") is not None for run in runs)
    known = [run.result.get("examples", {}).get("train") for run in runs]
    sizes = [size for size in known if size is not None]

    def config(run: run_directory.Run) -> dict[str, Any]:
        values = {name: run.config.get(name, defaults.get(name)) for name in [*defaults, *names]}
        if is_limited and values["data_limit"] is None:
            own = run.result.get("examples", {})  # A run that failed does not say.
            values["data_limit"] = own.get("train", max(sizes, default=None))
        return {name: plain(value) for name, value in values.items()}

    def rank(run: run_directory.Run) -> list:
        pairs = [(is_number(value), value) for value in run.config.values()]
        return [rule_place(run.config[RULE])] + [
            (number, value if number else 0, str(value)) for number, value in pairs
        ]

    return sorted((dataclasses.replace(run, config=config(run)) for run in runs), key=rank)


def _open_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration in which each setting of the feedback source is a field."""
    split = settings.split(config.get(_SETTINGS, ()))
    own = {f"{_SETTINGS}_{name}": settings.plain(value) for name, value in split.items()}
    return {name: value for name, value in config.items() if name != _SETTINGS} | own


def keys(run: run_directory.Run, names: Iterable[str]) -> dict[str, Any]:
    """Returns the values of some of a run's fields."""
    return {name: run.config[name] for name in names}


def plain(value: Any) -> Any:
    """Returns a value of a field as one that can be compared, a list of them as text."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value


class Varying(NamedTuple):
    """The fields that differ between runs, seeds excepted.

    Attributes:
        names: Those that make lines and panels: the rule (always), other names, numbers.
        numbers: Those of them that make axes.
        followers: Fields that differ only as another one does, with that one.
    """

    names: list[str]
    numbers: list[str]
    followers: dict[str, str]


def varying(configs: Sequence[Mapping[str, Any]]) -> Varying:
    """Finds the fields that vary.

    Args:
        configs: Configurations that have the same fields.
    """
    values = {name: [config[name] for config in configs] for name in configs[0]}
    counts = {name: len(set(column)) for name, column in values.items()}
    numeric = {name for name, column in values.items() if all(map(is_number, column))}
    differ = [name for name in values if counts[name] > 1 and name not in {RULE, *SILENT}]
    # A field that follows another one comes after it: those with the most values are first.
    words = [name for name in differ if name not in numeric]
    words.sort(key=counts.__getitem__, reverse=True)
    names, followers = [RULE], {}
    for name in [*words, *(name for name in differ if name in numeric)]:
        leader = next(
            (x for x in names if len(set(zip(values[x], values[name], strict=True))) == counts[x]),
            None,
        )
        if leader is None:
            names.append(name)
        else:
            followers[name] = leader
    return Varying(names, [name for name in names if name in numeric], followers)
