"""The Learner: a Keras model that trains a network by a learning rule."""

import dataclasses
import itertools
import os
import pathlib
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from wna_tf import credit as credits
from wna_tf import exports, linearize, replicas, rules
from wna_tf.feedback import Context, Moment
from wna_tf.graph.errors import Errors, Watched
from wna_tf.graph.forward_pass import Networks, Remembered, Weights
from wna_tf.graph.maps import Map
from wna_tf.graph.operators import Affine
from wna_tf.graph.program import Program
from wna_tf.graph.registry import Refused, register_layer
from wna_tf.graph.tracing import trace
from wna_tf.own_weights import OwnWeights, choose_trained
from wna_tf.trainer import Trainer


class Step(NamedTuple):
    """What a learner found out about one batch, before it changes a weight.

    Attributes:
        networks: The network at its current and its initial weights.
        errors: Derivatives of the loss, [batch, ...], with their places.
        updates: One for each of `trainable_variables`; None where the rule has none.
        learned: Updates of the feedback weights that the optimizer trains, with their variables.
        context: What the feedback source saw.
        loss: The loss, scaled for the sum over replicas.
        outputs: The outputs at which the error was taken, [batch, ...] each.
    """

    networks: Networks
    errors: Errors
    updates: list[tf.Tensor | None]
    learned: list[tuple[tf.Tensor, keras.Variable]]
    context: Context
    loss: tf.Tensor
    outputs: list[tf.Tensor]


_numbers = itertools.count()

Observer = Callable[[Step], None]
"""Is told each training step while its graph is written, in the context of a replica.

What it computes from the step then runs with every step; it may change variables of its own.
"""


@keras.saving.register_keras_serializable("wna_tf")
class Learner(Trainer):
    """A network that learns by a rule, with everything else as in Keras.

    The learner owns what the rule needs: the weights at initialization, which are the network's
    as it is when wrapped, and the feedback weights. The network itself stays clean: it can be
    used, saved and exported alone.

    ```python
    learner = wna_tf.Learner(network, rule="align_ada")
    learner.compile(optimizer=keras.optimizers.SGD(2.0), loss="mse", metrics=["accuracy"])
    learner.fit(train, validation_data=validation, epochs=10)
    ```

    Args:
        network: A built functional or sequential Keras model.
        rule: Name of a rule, a `Rule`, or its serialized dict.
        seed: Seed of random feedback weights, and of forward credit.
        credit: How updates are computed from the error: `"reverse"`, or
            `wna_tf.credit.Forward(num_tangents)` for an estimate without a reverse pass.
        trained: Indices of those of `network.variables` whose initial weights are kept; None for
            the trainable ones. A learner that is loaded has those that it had.
        **kwargs: Arguments of `keras.Model`.

    Attributes:
        initial_weights: The weights at initialization, variables in the order of the network.
        feedback_weights: The feedback weights that the rule owns, variables.
        observers: Functions that are told every training step, see `Observer`. `train_function` is
            to be made again when they change.

    Raises:
        ValueError: If the rule is unknown or not one for this credit, or the network has a layer
            that no rule trains rightly.
    """

    def __init__(
        self,
        network: keras.Model,
        rule: str | dict | rules.Rule = "align_ada",
        seed: int = 0,
        credit: str | dict | credits.Credit = "reverse",
        trained: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"Expected seed to be an integer at least 0. Received: seed={seed!r}")
        if isinstance(network, Learner):
            raise ValueError(
                "Expected a network. Received: a Learner, whose rule would not be followed: "
                f"{network.name!r}"
            )
        self.rule = rules.get(rule)
        self.credit = credits.get(credit)
        self.credit.check(self.rule)
        # Not the learner's own, as what follows: a seed is no weight.
        self._seed = types.SimpleNamespace(
            value=seed, variable=keras.Variable(seed, dtype="int64", trainable=False, name="seed")
        )
        self._number = next(_numbers)
        self.network = network
        variables = choose_trained(network, trained)
        self._program = trace(network, [id(variable) for variable in variables])
        if self._program.losses and (
            self.rule.error != "current" or self.credit != credits.Reverse()
        ):
            raise ValueError(
                "Expected a network whose layers add no losses, for a linearized network and for "
                f"forward credit. Received: {len(self._program.losses)} of them"
            )
        self.output_names = self._program.signature.output_names  # Keras names losses by them.
        # Its attributes are not the learner's own: Keras would save those of the network twice.
        self._own = OwnWeights(
            self._add_own_weight, variables, self._program, self.rule.feedback, seed
        )
        self.initial_weights = self._own.initial
        self.feedback_weights = self._own.feedback
        # A tuple: what is added to a list would become a part of checkpoints.
        self.observers: tuple[Observer, ...] = ()
        self.built = True

    @property
    def seed(self) -> int:
        """Seed of random feedback weights, and of forward credit."""
        return self._seed.value

    def begin_anew(self, network: keras.Model, seed: int) -> None:
        """Sets all weights to what they would be if another network was wrapped now.

        What was compiled and traced stays, so that a training of other values costs its steps
        alone. Optimizer and metrics are as they were.

        Args:
            network: A network of the same architecture, whose variables are copied.
            seed: Seed of random feedback weights, and of forward credit.
        """
        for variable, other in zip(self.network.variables, network.variables, strict=True):
            variable.assign(other)
        self._seed.value = seed
        self._seed.variable.assign(seed)
        self._own.begin_anew(seed)

    @property
    def trained(self) -> tuple[int, ...]:
        """The `id` of every variable that the learner trains, in the order of `initial_weights`."""
        return self._own.trained

    def zero_outputs(self) -> Any:
        """Returns outputs of one example that are zero, nested as the network returns them."""
        shapes = [self._program.shapes[place.index] for place in self._program.outputs]
        return self._program.pack([tf.zeros([size or 1 for size in shape]) for shape in shapes])

    @property
    def optimized_variables(self) -> list[keras.Variable]:
        """What the optimizer changes: `trainable_variables`, and feedback weights that learn."""
        return [*self.trainable_variables, *self._own.learned]

    @property
    def program(self) -> Program:
        """The network as a sequence of maps."""
        return self._program

    @property
    def maps_by_key(self) -> dict[str, Affine]:
        """Affine maps, by keys `number/name` that no map of another learner has."""
        return self._name_maps(self._program)

    def _name_maps(self, program: Program) -> dict[str, Affine]:
        return {f"{self._number}/{name}": step for step, name in program.affine_names.items()}

    def weight_values(self) -> tuple[Weights, Weights]:
        """Returns the current and the initial weights, by the `id` of the variable."""
        return self._own.values()

    def moment(self, networks: Networks | None = None) -> Moment:
        """Returns the weights as they are now, for the rule's source of feedback weights.

        Args:
            networks: Whose weights are taken; None to read them.
        """
        if networks is None:
            current, initial = self.weight_values()
        else:
            current, initial = networks.weights["current"], networks.weights["initial"]
        optimizer = getattr(self, "optimizer", None)  # There is none before `compile`.
        step = tf.cast(0 if optimizer is None else optimizer.iterations, "int64")
        return Moment(
            program=self._program,
            current=current,
            initial=initial,
            owned=self._own.owned(),
            step=step,
            # A variable: the graph of a step is the same for every seed.
            seed=tf.stack([tf.convert_to_tensor(self._seed.variable), step]),
        )

    def _add_own_weight(self, name: str, shape: Any, initializer: Any, dtype: str) -> Any:
        variable = self.add_weight(
            name=name, shape=shape, initializer=initializer, dtype=dtype, trainable=False
        )
        # tf.train.Checkpoint does not see Keras variables in lists, only those in attributes.
        setattr(self, name, variable)
        return variable

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the output at which the rule takes the error, [batch, ...].

        It is the network's; with the rule `linearized`, that of the linearized network, which
        normalizes by the statistics of the batch that it is given (see `linearize.outputs`).

        Args:
            inputs: What the network takes, [batch, ...].
            training: Whether layers are in training mode; None for Keras's choice.
        """
        if self.rule.error == "linearized":
            return linearize.outputs(self, inputs, training=bool(training))
        return self.network(Remembered.of(inputs).inputs, training=training)

    def evaluate_networks(self, x: Any, training: bool = True) -> Networks:
        """Returns the network at its current and initial weights, on one batch.

        Args:
            x: Inputs, [batch, ...], or `Remembered` ones.
            training: Whether layers are in training mode; False keeps normalizations in it.

        Raises:
            ValueError: If layers were made trainable after the network was wrapped, or the inputs
                were remembered for another learner.
        """
        if not {id(variable) for variable in self.trainable_variables}.issubset(self.trained):
            raise ValueError(
                "Expected the layers that were trainable when the network was wrapped, whose "
                "initial weights were kept. Received: more of them; wrap the network again"
            )
        program = self._program if training else self._program.for_jacobians
        current, initial = self.weight_values()
        inputs, outputs = Remembered.of(x)
        maps = self._name_maps(program)
        if not outputs.keys() <= maps.keys():
            raise ValueError(
                f"Expected inputs that were remembered for this learner, with {', '.join(maps)}. "
                f"Received: ones of another, with {', '.join(outputs)}"
            )
        known: dict[Map, tf.Tensor] = {maps[key]: output for key, output in outputs.items()}
        return Networks(
            program, program.signature.standardize(inputs), current, initial, self.trained, known
        )

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Exports what predicts, without any training state; see `exports.write`.

        It is the network alone; with the rule `linearized`, the linearized network, which needs
        the initial weights beside the current ones.

        Args:
            filepath: Directory of the SavedModel, or file of another format.
            format: `"tf_saved_model"`, `"onnx"` or `"litert"`.
            verbose: Whether to print where it is.
            input_signature: Shapes and dtypes of the inputs; None for batches of any size.
            **kwargs: Options of the format, as `keras.Model.export` takes them.
        """
        predicts = self if self.rule.error == "linearized" else self.network
        path = pathlib.Path(filepath)
        exports.write(self.network, predicts, path, format, input_signature, **kwargs)
        if verbose:
            print(f"Exported to {path}")

    @tf.autograph.experimental.do_not_convert
    def updates(self, x: Any, y: Any, sample_weight: Any = None) -> list[tf.Tensor]:
        """Returns the update directions of the rule on one batch, without applying them.

        Args:
            x: Inputs, [batch, ...].
            y: Targets, [batch, ...].
            sample_weight: Weights of the examples, [batch], or None.

        Returns:
            What the optimizer would receive as gradients, one for each of
            `trainable_variables`; zeros where the rule does not train a variable.
        """
        updates = self._learn(x, y, sample_weight).updates
        return [
            tf.zeros(variable.shape, variable.dtype) if update is None else update
            for variable, update in zip(self.trainable_variables, updates, strict=True)
        ]

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Applies the updates of one batch; Keras calls it.

        Args:
            data: Inputs, targets and sample weights, as Keras packs them.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        step = self._learn(x, y, sample_weight)
        for observe in self.observers:
            observe(step)
        # Whatever predicts: the network keeps its moving statistics, at its current weights.
        state = step.networks["current"].state
        states = [*self.network.non_trainable_variables, *self.network.metrics_variables]
        for variable in states:
            value = state.get_current_value(variable)
            if value is not None and id(variable) not in self._program.variables:
                variable.assign(value)
        pairs = [
            (update, variable)
            for update, variable in zip(step.updates, self.trainable_variables, strict=True)
            if update is not None
        ]
        pairs += step.learned
        if not pairs:
            raise ValueError(
                "Expected trainable weights that the rule updates. Received: "
                f"{len(self.trainable_variables)} trainable weights, of which it updates none"
            )
        updates = step.context.once_read([update for update, _ in pairs])
        self.optimizer.apply_gradients(
            [(update, variable) for update, (_, variable) in zip(updates, pairs, strict=True)]
        )
        after = self.moment()
        # Not while gradients are accumulated, nor if they were not finite for their scale.
        self._own.evolve(step.context, after, applied=after.step > step.context.step)
        for metric in self.metrics:
            if metric.name == "loss":
                # Keras scales the loss for the sum over replicas; the metric is a mean.
                count = tf.distribute.get_strategy().num_replicas_in_sync
                metric.update_state(step.loss * count, sample_weight=replicas.batch_size(x))
        y_pred = self._program.pack(step.outputs)
        return replicas.with_axis(self.compute_metrics(x, y, y_pred, sample_weight=sample_weight))

    def _learn(self, x: Any, y: Any, sample_weight: Any) -> Step:
        """Evaluates a batch, and applies the rule to its error."""
        variables = self.trainable_variables
        networks = self.evaluate_networks(x)
        outputs, masks = networks.outputs(self.rule.error), networks.masks(self.rule.error)
        with tf.GradientTape() as tape:
            watched = Watched(networks, outputs, masks, tape)
            y_pred = self._program.pack(watched.outputs)
            with self.adding_losses(watched.losses):
                loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            scaled_loss = self.optimizer.scale_loss(loss) if self.optimizer else loss
        # A loss depends on variables themselves by regularizers alone.
        derivatives, penalties = tape.gradient(scaled_loss, [watched.tensors, variables])
        context, errors = self._share(networks, watched, derivatives, (x, y, sample_weight))
        source = self.rule.feedback
        credited = self.credit.assign(context, source, errors)
        context = dataclasses.replace(context, updates=credited.updates, deltas=credited.deltas)
        if not source.reaches:  # What does not learn is left alone by regularizers, too.
            penalties = [
                penalty if id(variable) in credited.updates else None
                for variable, penalty in zip(variables, penalties, strict=True)
            ]
        further: dict[int, tf.Tensor] = {}
        for variable, update in source.learn(context):
            further[id(variable)] = _add(further.get(id(variable)), context.weigh(update))
        updates = [
            _add(_add(credited.updates.get(id(variable)), further.get(id(variable))), penalty)
            for variable, penalty in zip(variables, penalties, strict=True)
        ]
        learned = [
            (further[id(variable)], variable)
            for variable in self._own.learned
            if id(variable) in further
        ]
        return Step(networks, errors, updates, learned, context, loss, watched.outputs)

    def _share(
        self,
        networks: Networks,
        watched: Watched,
        derivatives: Sequence[tf.Tensor | None],
        data: tuple[Any, Any, Any],
    ) -> tuple[Context, Errors]:
        """Returns what a feedback source may see of a batch, and this replica's part of its error.

        Keras takes the mean over replicas of means, which is not that of the batch when the last
        one cannot be divided equally.
        """
        x, y, sample_weight = data
        share = replicas.share(x)
        pairs = zip(derivatives, watched.masks, strict=True)
        alone = errors = watched.errors([replicas.over_all(*pair, share) for pair in pairs])
        if share is not None:
            replicas.check_reductions(self.loss)
            count = tf.distribute.get_strategy().num_replicas_in_sync
            alone = _scale(errors, count)
            errors = _scale(alone, share)
        one, loss_scale = tf.constant(1.0), None
        if self.optimizer and (scaled := self.optimizer.scale_loss(one)) is not one:
            alone, loss_scale = _scale(alone, 1 / scaled), scaled
        context = Context(
            **vars(self.moment(networks)),
            networks=networks,
            derivative=self.rule.derivative,
            activity=self.rule.activity,
            errors=alone,
            targets=y,
            sample_weight=sample_weight,
            examples=replicas.examples(x),
            share=share,
            loss_scale=loss_scale,
        )
        return context, errors

    def save_own_variables(self, store: Any) -> None:
        """Saves the initial and the feedback weights; Keras calls it.

        Args:
            store: Where Keras keeps arrays by key.
        """
        for key, variable in self._own.by_key().items():
            store[key] = variable

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved, in this or an earlier version; Keras calls it.

        Args:
            store: Where Keras keeps arrays by key.
        """
        self._own.load(store)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "network": keras.saving.serialize_keras_object(self.network),
            "rule": rules.serialize(self.rule),
            "seed": self.seed,
            "credit": credits.serialize(self.credit),
            "trained": [
                index
                for index, variable in enumerate(self.network.variables)
                if id(variable) in self.trained
            ],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Learner":
        network = keras.saving.deserialize_keras_object(
            config["network"], custom_objects=custom_objects
        )
        return cls(**config | {"network": network})


@register_layer(Learner)
def _refuse(layer: Any, emit: Any, *args: Any, **kwargs: Any) -> Any:
    del layer, emit, args, kwargs
    raise Refused("it is a Learner, whose rule would not be followed: use its network")


def _scale(errors: Errors, factor: Any) -> Errors:
    return [(place, error * tf.cast(factor, error.dtype)) for place, error in errors]


def _add(update: tf.Tensor | None, penalty: tf.Tensor | None) -> tf.Tensor | None:
    """Adds what exists of the two."""
    if update is None or penalty is None:
        return penalty if update is None else update
    return update + penalty
