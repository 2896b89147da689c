"""The alignment of the weights' change with the correlation of inputs weighted by errors."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from wna_tf import measures, progress
from wna_tf.callbacks.diagnostic import Diagnostic, Sizes, compile_graph, inner
from wna_tf.credit import reverse_mode
from wna_tf.feedback import Initial
from wna_tf.graph.operators import Affine

_PROBES = 100
# Applications of a map that a score and its control take for each vector: of a basis, and drawn.
_OF_BASIS, _DRAWN = 10, 25


class AlignmentScore(Diagnostic):
    """Alignment score of every affine map that learns, whatever the rule.

    A companion network starts from the same initial weights and takes, at every step, the
    `align_zero` update for the error of the network that is being trained. The score is the cosine
    between the changes of both, as correlations of the map's whole input. Columns:

    * `alignment_score/<map>`, see `measures.alignment_score`;
    * `alignment_score_error/<map>`, its standard error, 0 where the score is exact;
    * `alignment_score_shuffled/<map>`, the control, see `measures.shuffle`.

    The companion adds a forward and a backward pass of the initial network to every step, less what
    the rule does itself: a step took 1.96 times the processor time with `backprop`, 1.29 with
    `align_ada` and 0.99 with `align_zero` (KMNIST network of width 64, batch 100, two cores). The
    scores of that network took 0.3 seconds an epoch. In memory it adds the weights once more, and
    the optimizer's variables.

    There is no baseline of frozen blocks: a block that stays at its initial weights has no score,
    and a head on such blocks has 1, since it learns as the companion's does.

    The companion must see every step from the first. A second `fit` of the same learner goes on
    with it; it uses the optimizer that the learner had at the beginning, and follows its learning
    rate.

    Source: Boopathy and Fiete (2022).

    Args:
        probes: Number of random probes, where the score is not exact.
        seed: Seed of the probes and of the shuffling.
    """

    columns = ("alignment_score", "alignment_score_error", "alignment_score_shuffled")
    passes_a_step = 3

    def __init__(self, probes: int = _PROBES, seed: int = 0):
        super().__init__()
        self.probes = probes
        self.seed = seed
        self._learner = None

    @classmethod
    def passes(cls, network: Sequence[Sizes], batch_size: int) -> float:
        def applications(some: Sizes) -> int:
            basis = measures.exact_basis(some.inputs, some.outputs, some.kernel)
            return _DRAWN * _PROBES if basis is None else _OF_BASIS * basis

        scores = sum(applications(some) * some.multiplications for some in network)
        forward = sum(some.turns * some.multiplications for some in network)
        return scores / (batch_size * forward)

    @property
    def companion(self) -> list[keras.Variable]:
        """The companion's weights, one for each trainable variable of the learner."""
        return list(self._weights.values())

    @property
    def variables(self) -> list[keras.Variable]:
        """All that training goes on from: the companion's weights and its optimizer's variables."""
        return [*self.companion, *self._optimizer.variables]

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if model is self._learner:
            return
        self._learner = model
        self._scores: dict[Affine, Callable] = {}
        _, initial = model.weight_values()
        with model.distribute_strategy.scope():
            self._weights = {
                id(variable): keras.Variable(
                    initial[id(variable)], trainable=True, dtype=variable.dtype, name=variable.name
                )
                for variable in model.trainable_variables
            }
            optimizer = model.optimizer
            self._optimizer = type(optimizer).from_config(optimizer.get_config())
            # The update is the rule's alone, whatever decays the learner's weights.
            inner(self._optimizer).exclude_from_weight_decay(var_list=self.companion)
            self._optimizer.build(self.companion)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._watch((*self.model.observers, self._follow))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._watch(tuple(other for other in self.model.observers if other != self._follow))

    def _watch(self, observers: Iterable[Callable]) -> None:
        self.model.observers = tuple(dict.fromkeys(observers))
        self.model.make_train_function(force=True)

    def _follow(self, step: Any) -> None:
        """Updates the companion, in the graph of a training step."""
        learner = self.model
        context = dataclasses.replace(
            step.context,
            networks=step.networks.anew(),  # In the graph they are one.
            derivative="initial",
            activity="initial",
        )
        credit = reverse_mode.transpose(context, Initial(), step.errors).updates
        rate = learner.optimizer.learning_rate
        if isinstance(rate, keras.Variable):  # Not a schedule, which the companion has too.
            self._optimizer.learning_rate.assign(rate)
        if isinstance(learner.optimizer, keras.optimizers.LossScaleOptimizer):
            # The learner's error has its scale, and what is not finite is left out by each.
            self._optimizer.dynamic_scale.assign(learner.optimizer.dynamic_scale)
        self._optimizer.apply_gradients(
            [(credit[key], weight) for key, weight in self._weights.items() if key in credit]
        )
        learned = {
            id(variable)
            for variable, update in zip(learner.trainable_variables, step.updates, strict=True)
            if update is not None
        }
        # What the graph tells of shapes, which the network may leave open.
        self._shapes = {
            affine: measures.kernel_input_shape(
                affine, step.networks["current"].records[affine].inputs[0].shape
            )
            for affine in learner.program.affine_maps
            if id(affine.kernel) in learned
        }

    def measure(self) -> dict[str, tf.Tensor]:
        current, initial = self.model.weight_values()
        names = self.model.program.affine_names
        values: dict[str, tf.Tensor] = {}
        for affine, shape in progress.track(self._shapes.items(), "Alignment scores", "layers"):
            key, name = id(affine.kernel), names[affine]
            kernels = current[key], initial[key], tf.convert_to_tensor(self._weights[key])
            if affine not in self._scores:
                self._scores[affine] = self._compile_score(affine, shape, kernels)
            score, shuffled = self._scores[affine](*kernels)
            columns = zip(self.columns, (score.value, score.error, shuffled.value), strict=True)
            values |= {f"{column}/{name}": value for column, value in columns}
        return values

    def _compile_score(
        self, affine: Affine, shape: Sequence[int | None], kernels: Sequence[tf.Tensor]
    ) -> Callable:
        def scores(
            trained: tf.Tensor, initial: tf.Tensor, companion: tf.Tensor
        ) -> list[measures.Score]:
            return [
                measures.operator_alignment(
                    affine, shape, weights - initial, companion - initial, self.probes, self.seed
                )
                for weights in (trained, measures.shuffle(trained, self.seed))
            ]

        return compile_graph(scores, *kernels)
