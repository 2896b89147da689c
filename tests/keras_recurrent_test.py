"""Keras's recurrent layers in every form: masks, states, dropout, against plain Keras."""

import copy
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from tests.helpers import assert_close, precision, randomize
from wna_tf.credit import reverse_mode
from wna_tf.graph.forward_pass import Evaluation
from wna_tf.graph.program import Program
from wna_tf.graph.recurrence import Recurrence
from wna_tf.graph.registry import Emitter, Refused, find_expansion

pytestmark = pytest.mark.usefixtures("double_precision")

EXACT = 1e-10
BATCH, TIME, FEATURES, UNITS = 4, 5, 3, 2
KINDS = {
    "simple": layers.SimpleRNN,
    "lstm": layers.LSTM,
    "gru": layers.GRU,
    "gru_before": functools.partial(layers.GRU, reset_after=False),
}
QUICK = ("lstm", "gru_before")  # Two states, and two parts of a kernel.
kinds = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind not in QUICK)) for kind in KINDS]
)
MASKS = {
    "none": None,
    "right": np.arange(TIME) < [[3], [5], [1], [4]],
    "left": np.arange(TIME) >= [[3], [0], [1], [4]],
    "holes": np.array([[0, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool),
}
FORMS = {
    "last": {},
    "sequences": {"return_sequences": True},
    "states": {"return_state": True},
    "everything": {"return_sequences": True, "return_state": True},
    "backwards": {"return_sequences": True, "return_state": True, "go_backwards": True},
    "zero": {"return_sequences": True, "zero_output_for_mask": True},
    "zero_last": {"return_state": True, "zero_output_for_mask": True},
    "unrolled": {"return_sequences": True, "unroll": True},
    "dropout": {"dropout": 0.4},
    "recurrent_dropout": {"recurrent_dropout": 0.4, "return_sequences": True},
    "dropouts": {"dropout": 0.3, "recurrent_dropout": 0.3, "return_state": True},
    "implementation": {"implementation": 1, "use_cudnn": False, "dropout": 0.3},
    "linear": {"activation": None, "use_bias": False},
}


class Case:
    """A recurrent layer behind dense ones, so that what goes to its inputs makes updates.

    Args:
        layer: The recurrent layer.
        mask: Mask [batch, time], or None.
        has_states: Whether initial states are given.
        training: Whether it is in training mode.
    """

    def __init__(self, layer, mask=None, has_states=False, training=True):
        rng = np.random.default_rng(0)
        dtype = layer.compute_dtype
        self.layer, self.mask, self.training = layer, mask, training
        count = 1 + has_states * (2 if isinstance(layer, layers.LSTM) else 1)
        self.dense = [layers.Dense(size) for size in (FEATURES, UNITS, UNITS)[:count]]
        shape = (BATCH, TIME if mask is None else mask.shape[1], 2 * FEATURES)
        shapes = [shape, *[(BATCH, 2 * UNITS)] * (count - 1)]
        self.inputs = [tf.constant(rng.normal(size=shape), dtype) for shape in shapes]
        for dense, x in zip(self.dense, self.inputs, strict=True):
            dense.build(x.shape)
        layer.build((*shape[:2], FEATURES))
        self.weights = [v for part in (*self.dense, layer) for v in part.trainable_variables]
        randomize(self.weights, rng)
        self.seeds = [v for v in layer.non_trainable_variables if "seed" in v.path]
        self.program = self._trace()
        self.evaluation = self.evaluate(*self.given)
        self.errors = [
            tf.constant(rng.normal(size=output.shape), output.dtype)
            for output in self.evaluation.outputs
        ]

    def evaluate(self, *inputs):
        weights = {id(v): tf.convert_to_tensor(v) for v in self.weights}
        return Evaluation(self.program, inputs, weights)

    @property
    def given(self):
        """The program's inputs."""
        return self.inputs if self.mask is None else [*self.inputs, tf.constant(self.mask)]

    def _trace(self):
        emit = Emitter(self.training, set(), set())
        inputs = [emit.new_value() for _ in self.inputs]
        sequences, *states = [
            emit.affine(dense, keras.ops.matmul, place, dense.kernel, dense.bias)
            for dense, place in zip(self.dense, inputs, strict=True)
        ]
        options = {"training": self.training}
        if states:
            options["initial_state"] = states if len(states) > 1 else states[0]
        if self.mask is not None:
            options["mask"] = emit.new_value()
            inputs.append(options["mask"])
        outputs = find_expansion(self.layer)(self.layer, emit, sequences, **options)
        shapes = [(None,)] * emit.size
        return Program(emit.maps, inputs, outputs, None, shapes, lambda: None)

    def plain(self):
        """Outputs of plain Keras, which draws random numbers."""
        sequences, *states = [dense(x) for dense, x in zip(self.dense, self.inputs, strict=True)]
        mask = None if self.mask is None else tf.constant(self.mask)
        return keras.tree.flatten(
            self.layer(sequences, initial_state=states or None, mask=mask, training=self.training)
        )

    def rewound(self, function):
        """Calls a function, and sets the seeds back that it moved."""
        before = [seed.numpy() for seed in self.seeds]
        result = function()
        after = [seed.numpy() for seed in self.seeds]
        for seed, value in zip(self.seeds, before, strict=True):
            seed.assign(value)
        return result, after

    def updates(self, feedback=lambda kernel: kernel, chosen=None):
        """Updates by feedback weights that are a function of the kernels."""
        kernels = {
            step: feedback(tf.convert_to_tensor(step.kernel)) for step in self.program.affine_maps
        }
        if chosen is not None:
            kernels = {step: kernel for step, kernel in kernels.items() if chosen(step)}
        errors = zip(self.program.outputs, self.errors, strict=True)
        trained = [id(variable) for variable in self.weights]
        walk = reverse_mode.walk_back(
            self.program, kernels, self.evaluation, self.evaluation, errors, trained
        )
        made = reverse_mode.collect((step, updates) for step, _, updates in walk)
        return [made.get(id(v), tf.zeros_like(v)) for v in self.weights]

    def gradients(self):
        """Gradients of plain Keras."""

        def compute():
            with tf.GradientTape() as tape:
                outputs = self.plain()
            return tape.gradient(
                outputs, self.weights, output_gradients=self.errors, unconnected_gradients="zero"
            )

        return self.rewound(compute)[0]


def make(kind, form="everything", mask="none", has_states=False, **options):
    settings_of_form = dict(FORMS[form])
    if kind == "simple":
        for name in ("implementation", "use_cudnn"):
            settings_of_form.pop(name, None)
    layer = KINDS[kind](UNITS, seed=3, **settings_of_form)
    return Case(layer, MASKS[mask], has_states, **options)


def compare(actual, expected):
    """Compares arrays, which may all be zero."""
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=EXACT, atol=EXACT)


def check(case):
    expected, seeds = case.rewound(case.plain)
    compare(case.evaluation.outputs, expected)
    for seed, value in zip(case.seeds, seeds, strict=True):
        moved = case.evaluation.state.get_current_value(seed)
        np.testing.assert_array_equal(seed if moved is None else moved, value)
    compare(case.updates(), case.gradients())


@pytest.mark.parametrize("form", FORMS)
@kinds
def test_outputs_and_gradients_are_those_of_keras(kind, form):
    check(make(kind, form))
    check(make(kind, form, "holes", has_states=True))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_those_of_keras(kind, mask):
    for has_states in (False, True):
        check(make(kind, "states", mask, has_states))


@settings(max_examples=8)
@given(
    mask=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=BATCH, max_size=BATCH),
    kind=st.sampled_from(sorted(KINDS)),
    form=st.sampled_from(["backwards", "zero", "zero_last", "dropouts"]),
    has_states=st.booleans(),
)
def test_any_mask_is_that_of_keras(mask, kind, form, has_states):
    check(Case(KINDS[kind](UNITS, seed=3, **FORMS[form]), np.array(mask), has_states))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_dropped_in_inference(kind):
    case = make(kind, "dropouts", "right", True, training=False)
    assert_close(case.evaluation.outputs, case.plain(), EXACT)
    assert_close(case.updates(), case.gradients(), EXACT)


def other(kernel):
    """Feedback weights unlike the kernel, but entry by entry a function of it."""
    return tf.sin(40 * kernel)


@pytest.mark.parametrize("form", ["everything", "backwards", "dropouts"])
@kinds
def test_feedback_weights_carry_deltas_through_time(kind, form, monkeypatch):
    case = make(kind, form, "holes", True)
    matmul = keras.src.ops.matmul

    def by_feedback(x, kernel):
        """A product whose derivative by its input is that of the feedback weights."""
        kernel, fixed = tf.convert_to_tensor(kernel), tf.stop_gradient(x)
        return matmul(fixed, kernel) + matmul(x - fixed, tf.stop_gradient(other(kernel)))

    monkeypatch.setattr(keras.src.ops, "matmul", by_feedback)
    expected = case.gradients()
    monkeypatch.undo()
    assert np.abs(expected[0] - case.gradients()[0]).max() > 0.01
    assert_close(case.updates(other), expected, EXACT)


@pytest.mark.parametrize("has_states", [False, True])
@pytest.mark.parametrize("form", ["everything", "dropouts", "last"])
@kinds
def test_tangents_are_those_of_two_tapes(kind, form, has_states):
    case = make(kind, form, "holes", has_states)
    rng = np.random.default_rng(1)
    tangents = [tf.constant(rng.normal(size=v.shape)) for v in case.weights]

    def push():
        cotangents = list(map(tf.zeros_like, case.errors))
        with tf.GradientTape() as outer:
            outer.watch(cotangents)
            with tf.GradientTape() as inner:
                outputs = case.plain()
            pulled = inner.gradient(outputs, case.weights, output_gradients=cotangents)
        return outer.gradient(pulled, cotangents, output_gradients=tangents)

    expected, _ = case.rewound(push)
    given = {id(v): tangent for v, tangent in zip(case.weights, tangents, strict=True)}
    assert_close(case.evaluation.push(given), expected, EXACT)
    recurrent = case.layer.trainable_variables[1]  # Its tangent alone.
    pushed = case.evaluation.push({id(recurrent): given[id(recurrent)]})
    transposed = case.updates()[[v is recurrent for v in case.weights].index(True)]
    products = [tf.reduce_sum(a * b) for a, b in zip(pushed, case.errors, strict=True)]
    assert_close([sum(products)], [tf.reduce_sum(transposed * given[id(recurrent)])], EXACT)


@pytest.mark.parametrize("form", ["last", "sequences", "states"])
@kinds
def test_without_feedback_padding_changes_nothing(kind, form):
    padded = make(kind, form, "right")
    padded.mask = np.arange(TIME)[None] < [[3]] * BATCH
    padded.evaluation = padded.evaluate(*padded.given)
    short = copy.copy(padded)
    short.mask = None
    short.program = short._trace()
    short.evaluation = short.evaluate(padded.inputs[0][:, :3])
    if form == "sequences":
        (errors,) = padded.errors
        short.errors = [errors[:, :3]]
        padded.errors = [tf.concat([errors[:, :3], tf.zeros_like(errors[:, 3:])], 1)]

    def has_feedback(step):
        return not isinstance(step, Recurrence)

    expected = short.updates(chosen=has_feedback)
    assert np.abs(expected[0] - short.updates()[0]).max() > 0.01
    assert_close(padded.updates(chosen=has_feedback), expected, EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_of_unknown_sizes_gives_the_same(kind):
    case = make(kind, "dropouts", "holes", True)
    shapes = [*((*[None] * (x.shape.rank - 1), x.shape[-1]) for x in case.inputs), (None, None)]
    signature = [tf.TensorSpec(s, x.dtype) for s, x in zip(shapes, case.given, strict=True)]

    @functools.partial(tf.function, input_signature=signature, autograph=False)
    def step(*inputs):
        case.evaluation = case.evaluate(*inputs)
        return case.evaluation.outputs, case.updates()

    outputs, updates = step(*case.given)
    expected, _ = case.rewound(case.plain)
    assert_close(outputs, expected, EXACT)
    assert_close(updates, case.gradients(), EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_computes_in_the_lower_one(kind):
    with precision("mixed_bfloat16"):
        case = make(kind, "dropouts", "holes", True)
    expected, _ = case.rewound(case.plain)
    assert {output.dtype for output in case.evaluation.outputs} == {tf.bfloat16}
    assert_close(case.evaluation.outputs, expected, 0.02)
    updates = case.updates()
    assert {update.dtype for update in updates} == {tf.float32}
    assert_close(updates, case.gradients(), 0.05)


def test_states_that_outlive_a_batch_are_refused():
    layer = layers.LSTM(UNITS, stateful=True)
    layer.build((BATCH, TIME, FEATURES))
    emit = Emitter(True, set(), set())
    with pytest.raises(Refused, match=r"stateful=True, .* give them as initial_state"):
        find_expansion(layer)(layer, emit, emit.new_value())
