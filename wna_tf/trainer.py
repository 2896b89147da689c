"""A Keras model that trains by steps of its own: what `fit` needs of it beside them."""

import contextlib
import types
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from wna_tf import losses, replicas
from wna_tf.steps import Steps


class Trainer(keras.Model):
    """A model whose `train_step` finds updates by itself, on one device or on replicas.

    Losses are means over the examples of all replicas, metrics are built before the first step, and
    an optimizer is built for all that it is going to change.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._added: types.SimpleNamespace | None = None
        self._has_built_metrics = False

    @property
    def optimized_variables(self) -> list[keras.Variable]:
        """What the optimizer changes."""
        return self.trainable_variables

    def zero_outputs(self) -> Any:
        """Returns outputs of one example that are zero, as metrics are given them."""
        raise NotImplementedError

    def compile(self, *args: Any, jit_compile: bool = False, **kwargs: Any) -> None:
        """Configures the model, as `keras.Model.compile` does.

        Args:
            *args: Arguments of `keras.Model.compile`.
            jit_compile: Whether XLA compiles the step. It takes minutes for a deep network, and
                again for every batch size, so it is off unless asked for.
            **kwargs: More arguments of `keras.Model.compile`.
        """
        super().compile(*args, jit_compile=jit_compile, **kwargs)
        self._has_built_metrics = False
        if self.optimizer is not None and not self.optimizer.built:
            # Keras would build it for the variables of the first step, which may not be all.
            self.optimizer.build(self.optimized_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as recorded in a `.keras` file; Keras leaves it out if `compile` is custom."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Returns the loss as Keras computes it, of targets that the loss takes."""
        y = losses.check_targets(self.loss, y, y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    @property
    def losses(self) -> list[tf.Tensor]:
        """Losses of regularizers, and those that layers added when they were last called."""
        if self._added is None:
            return super().losses
        weights = [(v, tf.convert_to_tensor(v.value)) for v in self.trainable_variables]
        with keras.StatelessScope(weights):  # Without those of another call, as in evaluation.
            return [*super().losses, *self._added.losses]

    @contextlib.contextmanager
    def adding_losses(self, losses: Sequence[tf.Tensor]) -> Iterator[None]:
        """Lets Keras add what layers add to the loss of a training step."""
        self._added = types.SimpleNamespace(losses=losses)
        try:
            yield
        finally:
            self._added = None

    def make_train_function(self, force: bool = False) -> None:
        """Makes what trains: `train_function`, and `training_steps`; Keras calls it."""
        if force or self.train_function is None:
            self.training_steps = Steps(self, self.train_step, until_infinite=True)
        super().make_train_function(force)

    def make_test_function(self, force: bool = False) -> None:
        """Makes what evaluates: `test_function`, and `test_steps`; Keras calls it."""
        if force or self.test_function is None:
            self.test_steps = Steps(self, self.test_step)
        super().make_test_function(force)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Evaluates one batch; Keras calls it."""
        return replicas.with_axis(super().test_step(data))

    def build_metrics(self, batches: Any) -> None:
        """Makes the variables of metrics, by the shapes of batches.

        A step would make them too, but TensorFlow writes its graph twice then, and replicas cannot.

        Args:
            batches: A data set that the strategy distributes.
        """
        if self._has_built_metrics:
            return
        if self._is_distributed():
            self._build_metrics_of_replicas(next(iter(batches)))
            return

        def zeros(like: Any) -> tf.Tensor:
            return tf.zeros([1 if size is None else size for size in like.shape], like.dtype)

        _, y, _ = keras.utils.unpack_x_y_sample_weight(batches.element_spec)
        self.compute_metrics(None, keras.tree.map_structure(zeros, y), self.zero_outputs())
        self.reset_metrics()
        self._has_built_metrics = True

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Builds metrics by the shapes of a batch; Keras calls it."""
        if self._has_built_metrics or not self._is_distributed():
            return  # Keras would draw a batch for nothing.
        if iterator is not None:
            *_, batches = next(iter(iterator))
            data_batch = next(batches)
        self._build_metrics_of_replicas(data_batch)

    def _build_metrics_of_replicas(self, batch: Any) -> None:
        # Keras takes the mean of the replicas' parts, which may differ in size.
        local = self.distribute_strategy.experimental_local_results
        part = keras.tree.map_structure(lambda value: local(value)[0], batch)
        super()._maybe_symbolic_build(data_batch=part)
        self._has_built_metrics = True

    def _is_distributed(self) -> bool:
        with self.distribute_strategy.scope():
            return tf.distribute.has_strategy()
