"""The configuration of a run: defaults, help, validation, and what a run directory records."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from wna_tf.experiments.options import check, option

NONE = "none"
STRATEGIES = ("auto", "single", "mirrored", "multi_worker")

# Keras goes through a network by recursion, three layers a block, and Python ends it at 1,000.
_MOST_BLOCKS = 256
_POINTS = 9.0  # Of a figure's font.


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that determines the result of a run.

    Raises:
        ValueError: If a value is of the wrong type or out of range.
    """

    # The first: a grid goes through one data set after the other, of which one is kept.
    dataset: str = option("digits", "data set", grid=True)
    rule: str = option("align_ada", "learning rule", grid=True)
    feedback: tuple[str, ...] = option(
        (),
        "hyper-parameters of the rule's feedback source, as decay=0.001,0.01",
        kind=str,
        many=True,
        grid=True,
        settings=True,
    )
    credit: str = option(
        "reverse", "how updates are computed: forward is an estimate without a reverse pass"
    )
    num_tangents: int = option(1, "random tangents a step of forward credit", minimum=1, grid=True)
    data_dir: str | None = option(None, "directory of the data sets kept on disk", kind=str)
    image_size: int | None = option(
        None, "height and width of images read from files", kind=int, minimum=1
    )
    skip_corrupt: bool = option(False, "whether to leave out image files that are corrupt")
    validation_size: int | None = option(
        None, "training examples set aside for validation", kind=int, minimum=1
    )
    data_limit: int | None = option(
        None, "number of examples to train on", kind=int, minimum=1, grid=True
    )
    classes: tuple[int, ...] = option(
        (),
        "classes to learn, relabelled from 0; all by default",
        minimum=0,
        kind=int,
        many=True,
        ranges=True,
    )
    augment: str = option(
        NONE, "what is done to training images, at random in every epoch", grid=True
    )
    model: str = option("mlp", "network", grid=True)
    width: int = option(64, "units or channels of every block", minimum=1, grid=True)
    depth: int = option(3, "hidden blocks of an mlp", minimum=0, maximum=_MOST_BLOCKS, grid=True)
    strides: tuple[int, ...] = option(
        (1, 2, 2),
        "stride of each block of a cnn",
        kind=int,
        minimum=1,
        many=True,
        most=_MOST_BLOCKS,
    )
    parameterization: str = option(
        "ntk", "size of weights and outputs", choices=("ntk", "standard")
    )
    use_bias: bool = option(True, "whether blocks add a bias")
    normalize: bool = option(True, "whether blocks normalize by batch statistics")
    activation: str = option("relu", "activation", grid=True)
    statistics: str = option(
        "moving",
        "statistics that normalize at evaluation; batch is the paper's code",
        choices=("moving", "batch"),
    )
    synchronized: bool = option(False, "whether replicas normalize by the statistics of all")
    initial_model: str = option(
        NONE,
        "saved model whose weights a network begins with, {width} and the like for a run's own; "
        "none to draw them",
        grid=True,
    )
    initial_digest: str | None = option(
        None, "SHA-256 of its file, which a run records", kind=str, flag=None
    )
    data_digest: str | None = option(
        None, "SHA-256 of its data, if they are registered arrays", kind=str, flag=None
    )
    optimizer: str = option("sgd", "optimizer of Keras", lower=True)
    learning_rate: float = option(1.0, "learning rate", above=0, grid=True)
    momentum: float = option(
        0.0, "momentum; 0 is the optimizer's own default", minimum=0, maximum=1, grid=True
    )
    loss: str = option("mse", "loss, by its Keras name")
    ridge: float = option(
        0.0, "ridge term: this times the last kernel is added to its update", minimum=0, grid=True
    )
    ridge_epochs: int | None = option(
        None, "epochs after which the ridge term is switched off", kind=int, minimum=1, grid=True
    )
    precision: str = option(
        "float32",
        "dtype policy of layers",
        choices=("float32", "mixed_bfloat16", "float64"),
        grid=True,
    )
    jit_compile: bool = option(False, "whether XLA compiles the steps")
    batch_size: int = option(100, "examples a step", minimum=1)
    epochs: int = option(10, "passes over the training data", minimum=1)
    diagnostics: tuple[str, ...] = option((), "what to measure each epoch", kind=str, many=True)
    seed: int = option(
        99,
        "seed of weights, feedback weights and data order",
        minimum=0,
        maximum=2**32 - 1,
        grid=True,
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def name(self) -> str:
        """Name of its run directory: the grid's main fields, and a digest of all fields.

        Fields at their defaults do not count in the digest: a new field keeps old runs' names. Nor
        do the contents of files and arrays, without which the name is known.
        """
        parts = [self.rule, f"width{self.width}", f"rate{self.learning_rate:g}", f"seed{self.seed}"]
        if self.data_limit is not None:
            parts.append(f"limit{self.data_limit}")
        if self.augment != NONE:
            parts.append(self.augment)
        parts += [setting.replace("=", "") for setting in self.feedback]
        default = Config().to_dict()
        told = {
            key: value
            for key, value in self.to_dict().items()
            if value != default[key] and key not in RECORDED
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        return "_".join([*parts, digest[:8]])

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


# Fields that nobody gives: a run records in them what its names stand for.
RECORDED = tuple(
    field.name for field in dataclasses.fields(Config) if field.metadata.get("flag", "") is None
)


@dataclasses.dataclass(frozen=True)
class Setup:
    """How a run is trained: what does not belong to its configuration.

    The number of replicas does not change the result, unless each normalizes its own part of a
    batch (see `Config.synchronized`); `cache_frozen` changes it by rounding at most.

    Raises:
        ValueError: If a value is of the wrong type or out of range.
    """

    strategy: str = option("auto", "devices that train", choices=STRATEGIES)
    # A checkpoint takes as long as one or two steps of the smallest networks, a tenth of one of a
    # convolutional network: with 100 steps 1% of the time at most.
    checkpoint_every: int = option(100, "steps from one checkpoint to the next", minimum=1)
    tensorboard: bool = option(False, "whether to write histories for TensorBoard too")
    cache_frozen: bool = option(False, "whether to compute the frozen network only once")
    cache_gigabytes: float = option(
        4.0, "memory for that in each process that trains, in units of 1e9 bytes", above=0
    )
    imports: tuple[str, ...] = option(
        (),
        "Python files or modules of one's own, which register rules, data sets, models, ...",
        kind=str,
        many=True,
        flag="import",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class FigureStyle:
    """How the figures of a report look, for the page where they are printed.

    Raises:
        ValueError: If a value is of the wrong type or out of range.
    """

    figure_size: tuple[float, ...] = option(
        (),
        "width and height of figures in inches, the height for each row of panels: 3.25,2.4 for a "
        "column of ICML, 3.5,2.5 of IEEE or Nature, 5.5,3.2 for the text of NeurIPS or ICLR, "
        "6.75,2.6 for both columns of ICML, 7.16,2.8 of IEEE; by default as the panels need",
        kind=float,
        many=True,
        minimum=1,
        maximum=40,
        most=2,
    )
    figure_font: tuple[str, ...] = option(
        (),
        "font of figures: the name of one that is installed (as serif or Times New Roman), its "
        "size in points, or both as serif,8",
        kind=str,
        many=True,
        most=2,
    )
    figure_title: bool = option(True, "whether figures have a title and notes")

    def __post_init__(self) -> None:
        check(self)
        if len(self.figure_size) == 1:
            raise ValueError(
                "Expected figure_size to be a width and a height. "
                f"Received: figure_size={self.figure_size[0]:g}"
            )
        sizes = [text for text in self.figure_font if text != self.font]
        if len(sizes) > 1 or not all(_is_size(text) for text in sizes):
            raise ValueError(
                "Expected figure_font to be the name of a font, its size from 4 to 40 points, or "
                f"both. Received: figure_font={','.join(self.figure_font)!r}"
            )

    @property
    def font(self) -> str | None:
        """The name of the font; None for Matplotlib's."""
        return next((text for text in self.figure_font if not text[:1].isdigit()), None)

    @property
    def points(self) -> float:
        """The size of the font."""
        return next((float(text) for text in self.figure_font if _is_size(text)), _POINTS)


def _is_size(text: str) -> bool:
    try:
        return 4 <= float(text) <= 40
    except ValueError:
        return False


def from_dict(values: Mapping[str, Any]) -> Config:
    """Returns the configuration that `Config.to_dict` wrote.

    Raises:
        ValueError: If a field is unknown or a value is wrong.
    """
    fields = {field.name: field for field in dataclasses.fields(Config)}
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"Expected fields of a configuration. Received: {', '.join(unknown)}")
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return Config(**given)


def expand(grid: Mapping[str, list[Any]]) -> list[Config]:
    """Returns a configuration for every combination of values.

    Args:
        grid: Values by field; the last field varies fastest.

    Raises:
        ValueError: If a value is wrong.
    """
    configs = [
        Config(**dict(zip(grid, values, strict=True)))
        for values in itertools.product(*grid.values())
    ]
    return list(dict.fromkeys(configs))
