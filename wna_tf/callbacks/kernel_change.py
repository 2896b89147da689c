"""How the tangent kernel changes in training."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from wna_tf import measures, ntk
from wna_tf.callbacks.diagnostic import BatchDiagnostic, Sizes
from wna_tf.graph.forward_pass import Remembered


class KernelChange(BatchDiagnostic):
    """How far the tangent kernel is from the initial one, and how it aligns with the labels.

    Of some training examples it takes the network's tangent kernel, traced over the outputs (see
    `ntk.empirical_ntk`; where examples depend on each other by statistics of their batch, that of
    them as one batch), at the current and at the initial weights. Columns:

    * `kernel_change`, see `measures.kernel_change`: 0 before the first step, and for ever in the
      lazy regime;
    * `label_alignment`, see `measures.label_alignment`;
    * `label_alignment_initial`, that of the kernel at the initial weights.

    With the rule `linearized` it is the kernel of the network itself at these weights: that of the
    linearized one never changes.

    An epoch costs about `1.5 (C + 10)` forward passes of the examples for C outputs: 0.05 s of
    processor time in the KMNIST network of width 16, 0.3 s at width 64 (two cores, 50 examples).
    Where examples depend on each other it takes a reverse and a forward pass of all for each output
    of each example, some `3.5 C` passes times their number: 3.3 s in that network of width 16 with
    batch statistics. Loops over time take several times as long as their arithmetic.

    Args:
        x: Inputs of training examples, [examples, ...]; None for the first validation batch.
        y: Their targets, [examples, ...].
        examples: How many of them are looked at, if there are more.
        seed: Seed of which these are.

    Raises:
        ValueError: If `examples` is not an integer at least 1; in training, if there are no
            examples, or the network has several outputs.
    """

    columns = ("kernel_change", "label_alignment", "label_alignment_initial")
    training_examples = 50

    def __init__(
        self, x: Any = None, y: Any = None, examples: int = training_examples, seed: int = 0
    ):
        super().__init__(x, y)
        if isinstance(examples, bool) or not isinstance(examples, int) or examples < 1:
            raise ValueError(
                f"Expected examples to be an integer at least 1. Received: examples={examples!r}"
            )
        self.examples = examples
        self.seed = seed
        self._initial: np.ndarray | None = None

    @classmethod
    def passes(cls, network: Sequence[Sizes], batch_size: int) -> float:
        examples = cls.training_examples
        outputs = sum(some.turns * some.outputs for some in network if some.is_last)
        is_coupled = any(some.normalizes for some in network)
        of_examples = 3.5 * examples * outputs if is_coupled else 1.5 * (outputs + 10)
        return of_examples * examples / batch_size

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._initial = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self._batch is not None:  # There are no validation batches yet.
            self.measure()

    def batch(self) -> tuple[Any, Any]:
        x, y = super().batch()
        count = len(keras.tree.flatten(x)[0])
        if count > self.examples:
            chosen = np.random.default_rng(self.seed).choice(count, self.examples, replace=False)
            x, y = keras.tree.map_structure(
                lambda leaf: leaf if leaf is None else tf.gather(leaf, np.sort(chosen)), (x, y)
            )
        return Remembered.of(x).inputs, y

    def measure(self) -> dict[str, tf.Tensor]:
        # Kernels have graphs of their own.
        return self.measure_batch(*self.batch())

    def measure_batch(self, x: Any, y: Any) -> dict[str, tf.Tensor]:
        """Returns the values on one batch, by column.

        Args:
            x: Inputs, [examples, ...].
            y: Targets, [examples, ...]; None for none to align with.
        """
        # Nothing to save: it is at weights that the learner keeps.
        if self._initial is None:
            self._initial = ntk.empirical_ntk(self.model, x, output="trace", weights="initial")
        kernel = ntk.empirical_ntk(self.model, x, output="trace", weights="current")
        values = {"kernel_change": measures.kernel_change(kernel, self._initial)}
        for target in filter(tf.is_tensor, keras.tree.flatten(y)):
            classes = self._classes(target)
            values |= {
                "label_alignment": measures.label_alignment(kernel, target, classes),
                "label_alignment_initial": measures.label_alignment(self._initial, target, classes),
            }
        return values

    def _classes(self, target: tf.Tensor) -> int | None:
        """Returns the number of classes if targets are labels: a number for each row of outputs."""
        (output,) = keras.tree.flatten(self.model.zero_outputs())
        *rows, last = output.shape
        are_labels = target.shape.rank == len(rows) or target.shape[-1] == 1
        return last if last > 1 and are_labels else None
