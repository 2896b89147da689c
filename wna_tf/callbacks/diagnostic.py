"""What the diagnostics have in common."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf

from wna_tf import internals, progress


def compile_graph(function: Callable, *args: Any) -> Callable:
    """Writes a function of tensors as a graph, for arguments like `args`.

    A `tf.function` would do the same, but warn in sweeps that it is written again for every run.
    """
    return tf.function(function, autograph=False).get_concrete_function(*args)


def inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer that decays weights: that inside of one that scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)


class Sizes(NamedTuple):
    """What a plan knows of an affine map.

    Attributes:
        inputs: Size of what its kernel acts on, of one example.
        outputs: Size of what it puts out, of one example; in a recurrence, of one step.
        kernel: Shape of its kernel, [fan-in, units].
        turns: How often it is applied to an example.
        normalizes: Whether statistics of the batch follow.
        is_last: Whether no other affine map is between it and an output.
    """

    inputs: int
    outputs: int
    kernel: tuple[int, int]
    turns: int
    normalizes: bool
    is_last: bool

    @property
    def multiplications(self) -> int:
        """Multiplications of an application."""
        return self.kernel[0] * self.outputs


class Diagnostic(keras.callbacks.Callback, abc.ABC):
    """Measures a learner after every epoch, and adds what it finds to the epoch's logs.

    So it lands in the `History` that `fit` returns, and in the files of callbacks behind this one.
    What is undefined is left out, such as the angle of an update that is zero. Training is the same
    as without it.

    Attributes:
        columns: The names of what it adds; `/` and the name of an affine map may follow.
        passes_an_epoch: What it costs, for plans: forward passes of a batch each epoch, whatever
            the network (see `passes`).
        passes_a_step: The same in each training step.
    """

    columns: ClassVar[tuple[str, ...]]
    passes_an_epoch: ClassVar[float] = 0
    passes_a_step: ClassVar[float] = 0

    @classmethod
    def passes(cls, network: Sequence[Sizes], batch_size: int) -> float:
        """Returns what it costs each epoch in a network: forward passes of a batch.

        Args:
            network: The affine maps.
            batch_size: Examples of the batch.
        """
        del network, batch_size
        return cls.passes_an_epoch

    @abc.abstractmethod
    def measure(self) -> dict[str, tf.Tensor]:
        """Returns the values at the current weights, by column."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            with progress.silenced((self.params or {}).get("verbose") == 0):
                values = {name: float(value) for name, value in self.measure().items()}
            logs |= {name: value for name, value in values.items() if math.isfinite(value)}


class BatchDiagnostic(Diagnostic):
    """A diagnostic that looks at one batch, always the same one.

    Attributes:
        training_examples: How many training examples a run gives it, drawn by its seed; 0 for the
            first validation batch.

    Args:
        x: Inputs, [batch, ...]; None for the first validation batch.
        y: Targets, [batch, ...].
    """

    training_examples: ClassVar[int] = 0

    def __init__(self, x: Any = None, y: Any = None):
        super().__init__()
        self._batch = None if x is None else (x, y)
        self._graph: Callable | None = None

    def batch(self) -> tuple[Any, Any]:
        """Returns inputs and targets.

        Raises:
            ValueError: If there are none.
        """
        if self._batch is None:
            validation = internals.validation_data(self.model)
            if validation is None:
                raise ValueError(
                    f"Expected {type(self).__name__}(x, y), or validation data in every epoch of "
                    "fit, to have a batch to measure. Received: neither"
                )
            batch = next(iter(validation))
            self._batch = keras.utils.unpack_x_y_sample_weight(batch)[:2]
        return keras.tree.map_structure(
            lambda leaf: leaf if leaf is None else tf.convert_to_tensor(leaf), self._batch
        )

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._graph = None

    @abc.abstractmethod
    def measure_batch(self, x: Any, y: Any) -> dict[str, tf.Tensor]:
        """Returns the values on one batch, by column; called once, to write a graph.

        Args:
            x: Inputs, [batch, ...].
            y: Targets, [batch, ...].
        """

    def measure(self) -> dict[str, tf.Tensor]:
        batch = self.batch()
        if self._graph is None:
            self._graph = compile_graph(self.measure_batch, *batch)
        return self._graph(*batch)
