"""Updates of every rule: against a NumPy oracle, plain Keras, and the facts that must hold."""

import collections
import contextlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops
from tensorflow.tsl.profiler.protobuf import xplane_pb2

import wna_tf
from tests import oracle
from tests.conftest import ROOT
from tests.oracle import Block

RULES = tuple(oracle.RULES)
ALIGN = ("align_zero", "align_ada", "align_prop")


@contextlib.contextmanager
def precision(policy):
    """Makes `policy` the dtype policy of what is built inside."""
    floatx = keras.config.floatx()
    before = keras.config.dtype_policy()
    keras.config.set_floatx(policy if policy in ("float32", "float64") else "float32")
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(before)


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with precision("float64"):
        yield


def assert_close(actual, expected, tolerance=1e-9, name=""):
    """Compares lists of arrays, relative to the largest entry of the expected ones."""
    actual, expected = (
        [np.asarray(array, "float64") for array in arrays] for arrays in (actual, expected)
    )
    scale = max(np.abs(array).max() for array in expected)
    assert scale > 0, name
    for index, (a, b) in enumerate(zip(actual, expected, strict=True)):
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance * scale, err_msg=f"{name} {index}"
        )


def randomize(variables, rng, scale=0.4):
    for variable in variables:
        variable.assign_add(scale * rng.normal(size=variable.shape))


def make_learner(network, rule, loss="mse", **options):
    learner = wna_tf.Learner(network, rule)
    learner.compile(keras.optimizers.SGD(0.1), loss, **options)
    return learner


def gradients(learner, x, y):
    """Gradients of plain Keras training."""
    with tf.GradientTape() as tape:
        y_pred = learner.network(x, training=True)
        loss = learner.compute_loss(x, y, y_pred, training=True)
    return tape.gradient(loss, learner.trainable_variables, unconnected_gradients="zero")


# Chains of blocks, against the NumPy oracle.

BEHIND = {
    "flatten": layers.Flatten,
    "average": layers.GlobalAveragePooling2D,
    "maximum": layers.GlobalMaxPooling2D,
}


def build(blocks, input_shape):
    """The Keras network of a chain."""
    x = inputs = keras.Input(input_shape)
    for block in blocks:
        parameterization = "ntk" if block.ntk else "standard"
        if block.kernel_size is None:
            x = wna_tf.layers.Dense(block.units, parameterization)(x)
        else:
            x = wna_tf.layers.Conv2D(
                block.units,
                block.kernel_size,
                parameterization,
                strides=block.stride,
                padding=block.padding,
            )(x)
        if block.normalize:
            x = wna_tf.layers.BatchStatisticsNormalization()(x)
        if block.activation != "linear":
            x = layers.Activation(block.activation)(x)
        if block.after in BEHIND:
            x = BEHIND[block.after]()(x)
    return keras.Model(inputs, x)


@st.composite
def chains(draw):
    """Up to two convolutions, what makes them a vector, up to two dense blocks, and a head."""
    common = {"ntk": draw(st.booleans())}

    def hidden():
        return common | {
            "units": draw(st.integers(1, 4)),
            "normalize": draw(st.booleans()),
            "activation": draw(st.sampled_from(sorted(oracle.ACTIVATIONS))),
        }

    blocks = [
        Block(
            kernel_size=draw(st.integers(1, 3)),
            stride=draw(st.integers(1, 3)),
            padding=draw(st.sampled_from(["same", "valid"])),
            **hidden(),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    input_shape = (draw(st.integers(1, 5)),)
    if blocks:
        (*blocks, last) = blocks
        after = draw(st.sampled_from(sorted(BEHIND)))
        blocks.append(Block(**vars(last) | {"after": after}))
        input_shape = (draw(st.integers(7, 9)), draw(st.integers(7, 9)), draw(st.integers(1, 3)))
        if any(block.padding == "valid" for block in blocks):
            blocks = [Block(**vars(b) | {"stride": min(b.stride, 2)}) for b in blocks]
    blocks += [Block(**hidden()) for _ in range(draw(st.integers(0, 2)))]
    return [*blocks, Block(draw(st.integers(1, 3)), **common)], input_shape


def pairs(variables):
    arrays = [variable.numpy().astype("float64") for variable in variables]
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def check_against_oracle(blocks, input_shape, rules, tolerance, batch=5):
    rng = np.random.default_rng(0)
    network = build(blocks, input_shape)
    variables = network.trainable_variables
    randomize(variables, rng)
    start = [variable.numpy() for variable in variables]
    x = rng.normal(size=(batch, *input_shape))
    y = rng.normal(size=(batch, blocks[-1].units))
    for rule in rules:
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        learner = make_learner(network, rule)
        randomize(variables, rng)
        current, initial = pairs(variables), pairs(learner.initial_weights)
        assert_close(learner.initial_weights, start, 0)
        output = oracle.output(rule, blocks, current, initial, x)
        error = 2 * (output - y) / y.size
        feedback = [variable.numpy().astype("float64") for variable in learner.feedback_weights]
        expected = oracle.updates(rule, blocks, current, initial, feedback, x, error)
        assert_close(learner.updates(x, y), sum(expected, ()), tolerance, rule)
        if rule == "backprop":
            assert_close(gradients(learner, x, y), sum(expected, ()), tolerance, "oracle")


@settings(max_examples=8, deadline=None)
@given(chains())
def test_updates_are_those_of_the_oracle(chain):
    check_against_oracle(*chain, RULES, 1e-8)


DENSE = [Block(6, activation="relu"), Block(5, activation="relu"), Block(3)]
CONVOLUTION = [
    Block(4, 3, 1, activation="relu"),
    Block(4, 3, 2, activation="relu", after="average"),
    Block(3),
]
CHAINS = {
    f"{name}{'_normalized' * normalize}": (
        [Block(**vars(b) | {"normalize": normalize and b.activation == "relu"}) for b in blocks],
        input_shape,
    )
    for name, blocks, input_shape in (
        ("dense", DENSE, (7,)),
        ("convolution", CONVOLUTION, (6, 6, 2)),
    )
    for normalize in (False, True)
}
all_chains = pytest.mark.parametrize("name", CHAINS)


@all_chains
def test_updates_in_single_precision(name):
    with precision("float32"):
        check_against_oracle(*CHAINS[name], RULES, 1e-4, batch=20)


@pytest.mark.parametrize("rule", RULES)
def test_updates_in_half_precision_are_close(rule):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 6)), rng.normal(size=(16, 3))
    updates = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(0)
        with precision(policy):
            learner = make_learner(build(DENSE, (6,)), rule)
            updates.append(np.concatenate([np.ravel(u) for u in learner.updates(x, y)]))
    assert np.linalg.norm(updates[1] - updates[0]) < 0.05 * np.linalg.norm(updates[0])


# Users' own Keras networks. Each function returns a network, and its loss if not the default.


def fused_convolutions():
    inputs = keras.Input((9, 8, 2))
    x = layers.ZeroPadding2D()(inputs)
    x = layers.Conv2D(3, 3, strides=2, activation="relu")(x)
    x = layers.Conv2D(4, 2, dilation_rate=2, padding="same", activation="tanh")(x)
    x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def dropout():
    inputs = keras.Input((5,))
    x = layers.Dropout(0.4)(layers.Dense(20, activation="relu")(inputs))
    x = layers.GaussianNoise(0.3)(layers.Dense(20, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(2)(x))


def normalizations():
    inputs = keras.Input((5, 4))
    x = layers.Dense(4)(layers.BatchNormalization()(inputs))
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.LayerNormalization()(layers.Dense(4, activation="tanh")(x))
    x = layers.GroupNormalization(2)(layers.Dense(4)(x))
    return keras.Model(inputs, layers.Dense(2)(x))


def inference_mode_normalization():
    # As in Keras, `training` of the call of the whole network takes precedence.
    inputs = keras.Input((5,))
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.BatchNormalization()])
    x = layers.BatchNormalization()(inner(inputs, training=False), training=False)
    return keras.Model(inputs, layers.Dense(2)(x))


def regularizers():
    options = {"kernel_regularizer": "l2", "bias_regularizer": "l1"}
    inputs = keras.Input((5,))
    x = layers.BatchNormalization(gamma_regularizer="l2")(layers.Dense(4, **options)(inputs))
    return keras.Model(inputs, layers.Dense(2, **options)(layers.LeakyReLU()(x)))


def nested():
    inputs = keras.Input((5,))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(layers.Dense(8, "relu")(inputs)))
    inner = keras.Model(inputs, x)
    head = keras.Sequential([layers.Dense(4, activation="tanh"), layers.Dense(2)])
    return keras.Sequential([keras.Input((5,)), inner, layers.Dense(5, activation="tanh"), head])


def shared():
    dense, norm = layers.Dense(5, activation="tanh"), layers.BatchNormalization()
    inputs = keras.Input((5,))
    x = norm(dense(norm(dense(inputs))))
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([x, dense(inputs)])))


class Composite(layers.Layer):
    """A user's layer that is made of layers, some with a state."""

    def __init__(self):
        super().__init__()
        self.parts = [layers.Dense(6), layers.BatchNormalization(), layers.Dropout(0.4)]

    def build(self, input_shape):
        for part in self.parts:
            part.build(input_shape)

    def call(self, inputs, training=None):
        dense, norm, drop = self.parts
        return inputs + drop(ops.relu(norm(dense(inputs), training=training)), training=training)


def composite():
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(2)(Composite()(Composite()(inputs))))


def graph():
    first, second = keras.Input((4,)), keras.Input((5,))
    x = layers.Dense(5, activation="tanh")(first)
    x = layers.Add()([x, layers.Dense(5)(layers.Concatenate()([x, second]))])
    gate = ops.sigmoid(layers.Dense(5)(second))
    x = layers.PReLU("ones")(x * gate + 0.1 * x**2)
    left, right = ops.split(layers.Dense(4)(x), 2, axis=-1)
    outputs = {"a": left, "b": layers.Dense(3)(right), "x": x}
    return keras.Model([first, second], outputs), dict.fromkeys(outputs, "mse")


def named_outputs():
    inputs = keras.Input((4,))
    x = layers.Dense(3, activation="tanh")(inputs)
    outputs = [layers.Dense(2, name="a")(x), layers.Dense(3, name="b")(x)]
    return keras.Model(inputs, outputs), {"a": "mse", "b": "mae"}


def one_tensor_as_two_outputs():
    inputs = keras.Input((4,))
    outputs = layers.Dense(2, name="same")(layers.Dense(3, activation="tanh")(inputs))
    return keras.Model(inputs, [outputs, outputs]), ["mse", "mae"]


def frozen_layers():
    network = normalizations()
    for index in (2, 3, 6):
        network.layers[index].trainable = False
    return network


def probabilities():
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="tanh")(inputs)
    return keras.Model(inputs, layers.Dense(3, "softmax")(x)), "categorical_crossentropy"


def binary_probabilities():
    inputs = keras.Input((4,))
    x = layers.Dense(3)(layers.Dense(5, activation="tanh")(inputs))
    return keras.Model(inputs, layers.Activation("sigmoid")(x)), "binary_crossentropy"


NETWORKS = (
    fused_convolutions,
    dropout,
    normalizations,
    inference_mode_normalization,
    regularizers,
    nested,
    shared,
    composite,
    graph,
    named_outputs,
    one_tensor_as_two_outputs,
    frozen_layers,
    probabilities,
    binary_probabilities,
)


def each(*networks):
    return pytest.mark.parametrize("network", networks, ids=lambda network: network.__name__)


all_networks = each(*NETWORKS)


def make_case(make):
    """Returns a network at random weights, its loss, inputs and targets."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    network = make()
    network, loss = network if isinstance(network, tuple) else (network, "mse")
    randomize(network.trainable_variables, rng)
    x = [rng.normal(size=(6, *symbol.shape[1:])) for symbol in network.inputs]
    x = x if len(x) > 1 else x[0]
    y = keras.tree.map_structure(
        lambda output: rng.dirichlet(np.ones(output.shape[-1]), output.shape[:-1]), network(x)
    )
    return network, loss, x, y


@all_networks
def test_backprop_is_plain_keras(network):
    network, loss, x, y = make_case(network)
    learner = make_learner(network, "backprop", loss)
    updates = learner.updates(x, y)  # First, since plain Keras draws new dropout masks.
    assert_close(updates, gradients(learner, x, y))


@all_networks
def test_at_initialization_the_align_rules_are_backprop(network):
    network, loss, x, y = make_case(network)
    expected = make_learner(network, "backprop", loss).updates(x, y)
    for rule in ALIGN:
        assert_close(make_learner(network, rule, loss).updates(x, y), expected, name=rule)


@all_networks
@pytest.mark.parametrize("rule", ["backprop", "align_ada"])
def test_a_step_leaves_the_state_of_plain_keras(network, rule):
    plain, loss, x, y = make_case(network)
    plain.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    network, *_ = make_case(network)
    learner = make_learner(network, rule, loss, run_eagerly=True)
    before = [variable.numpy() for variable in network.variables]
    learner.updates(x, y)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    randomize(learner.initial_weights, np.random.default_rng(1))
    logs = learner.train_on_batch(x, y, return_dict=True)
    for name, value in plain.train_on_batch(x, y, return_dict=True).items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-9, err_msg=name)
    left, right = (
        model.variables if rule == "backprop" else model.non_trainable_variables
        for model in (network, plain)
    )
    for ours, theirs in zip(left, right, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=ours.path)


@each(nested, normalizations)
@pytest.mark.parametrize("rule", ["align_ada", "feedback_alignment"])
def test_a_graph_step_is_an_eager_one(network, rule):
    results = []
    for run_eagerly in (False, True):
        network_, loss, x, y = make_case(network)
        learner = make_learner(network_, rule, loss, run_eagerly=run_eagerly)
        for _ in range(3):
            learner.train_on_batch(x, y)
        results.append(learner.variables)
    assert_close(*results)


@pytest.mark.parametrize("rule", RULES)
def test_a_frozen_layer_stays(rule):
    network = build(DENSE, (7,))
    frozen = network.layers[1]
    frozen.trainable = False
    learner = make_learner(network, rule, run_eagerly=True)
    before = network.get_weights()
    learner.train_on_batch(np.ones((4, 7)), np.ones((4, 3)))
    np.testing.assert_array_equal(frozen.kernel, before[0])
    assert not np.array_equal(network.get_weights()[-1], before[-1])


def named_inputs():
    second, first = keras.Input((3,), name="second"), keras.Input((3,), name="first")
    return keras.Model([second, first], layers.Dense(2)(layers.Concatenate()([second, first])))


def scalar_input():
    inputs = keras.Input((1,))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(3, activation="tanh")(inputs)))


@pytest.mark.parametrize(
    ("network", "feed"),
    [
        (named_inputs, lambda x: {"first": x[1], "second": x[0]}),
        (named_inputs, lambda x: {"another": 0 * x[0], "first": x[1], "second": x[0]}),
        (scalar_input, lambda x: x[:, 0]),
    ],
    ids=["names", "more_names_than_inputs", "no_last_axis"],
)
def test_inputs_are_taken_as_keras_takes_them(network, feed):
    network, loss, x, y = make_case(network)
    learner = make_learner(network, "backprop", loss)
    expected = gradients(learner, x, y)
    assert_close(gradients(learner, feed(x), y), expected)
    assert_close(learner.updates(feed(x), y), expected)


def test_sample_weights():
    network, loss, x, y = make_case(fused_convolutions)
    learner = make_learner(network, "align_ada", loss)
    randomize(network.trainable_variables, np.random.default_rng(1))
    weights = np.array([2.0, 0.0] * 3)
    assert_close(learner.updates(x, y, weights), learner.updates(x[::2], y[::2]))


# Facts of the rules.


@all_chains
def test_feedback_tied_to_the_weights_is_backprop(name):
    blocks, input_shape = CHAINS[name]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, *input_shape)), rng.normal(size=(8, 3))
    network = build(blocks, input_shape)
    backprop = make_learner(keras.models.clone_model(network), "backprop", run_eagerly=True)
    tied = make_learner(network, "feedback_alignment", run_eagerly=True)
    backprop.network.set_weights(network.get_weights())
    for _ in range(3):
        for feedback, kernel in zip(
            tied.feedback_weights, network.trainable_variables[::2], strict=True
        ):
            feedback.assign(kernel)
        assert_close(tied.updates(x, y), backprop.updates(x, y))
        for learner in (tied, backprop):
            learner.train_on_batch(x, y)
    assert_close(network.get_weights(), backprop.network.get_weights())


@all_chains
def test_feedback_fixed_at_the_initial_weights_is_align_prop(name):
    blocks, input_shape = CHAINS[name]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, *input_shape)), rng.normal(size=(8, 3))
    network = build(blocks, input_shape)
    align_prop, fixed = (make_learner(network, r) for r in ("align_prop", "feedback_alignment"))
    for feedback, kernel in zip(
        fixed.feedback_weights, network.trainable_variables[::2], strict=True
    ):
        feedback.assign(kernel)
    randomize(network.trainable_variables, rng)
    assert_close(fixed.updates(x, y), align_prop.updates(x, y))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@all_chains
def test_kolen_pollack_shrinks_what_tells_the_weights_from_the_feedback(name, optimizer):
    blocks, input_shape = CHAINS[name]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, *input_shape)), rng.normal(size=(8, 3))
    rule = wna_tf.Rule({"name": "mirrored", "decay": 0.1}, "current", "current")
    learner = wna_tf.Learner(build(blocks, input_shape), rule)
    learner.compile(optimizer, "mse", run_eagerly=True)

    def difference():
        kernels = learner.network.trainable_variables[::2]
        return [
            w.numpy() - b.numpy() for w, b in zip(kernels, learner.feedback_weights, strict=True)
        ]

    before = difference()
    for _ in range(3):
        learner.train_on_batch(x, y)
    assert_close(difference(), [0.9**3 * d for d in before])


def dense_relu_network(dense):
    options = {"use_bias": False}
    hidden = [dense(8, activation="relu", **options) for _ in range(2)]
    return keras.Sequential([keras.Input((6,)), *hidden, dense(2, **options)])


@pytest.mark.parametrize("dense", [layers.Dense, wna_tf.layers.Dense], ids=["standard", "ntk"])
@pytest.mark.parametrize("rule", ["backprop", "feedback_alignment", "align_prop"])
def test_conserved_quantities(rule, dense):
    # d/dt 1/2 ||W_l||^2 = <W_l, dW_l> = <z_l, d_l> = <V_{l+1}, dW_{l+1}>. Under NTK
    # parameterization the last two hold factor by factor: z_l and dW_l both have 1/sqrt(fan_in_l),
    # and d_l has the 1/sqrt(fan_in_{l+1}) of dW_{l+1}. So the quantity itself has none.
    rng = np.random.default_rng(0)
    network = dense_relu_network(dense)
    learner = make_learner(network, rule)
    kernels = network.trainable_variables
    start = [kernel.numpy() for kernel in kernels]
    x, y = rng.normal(size=(20, 6)), rng.normal(size=(20, 2))
    feedback = {"feedback_alignment": learner.feedback_weights, "align_prop": start}.get(rule)

    def conserved():
        weights = [kernel.numpy() for kernel in kernels]
        squares = [np.sum(w**2) / 2 for w in weights]
        if feedback is None:
            return -np.diff(squares)
        above = [np.sum(v * w) for v, w in zip(feedback, weights, strict=True)]
        return np.subtract(squares[:-1], above[1:])

    updates = [update.numpy() for update in learner.updates(x, y)]
    growth = [np.sum(w * u) for w, u in zip(start, updates, strict=True)]
    carriers = start if feedback is None else feedback
    above = [np.sum(v * u) for v, u in zip(carriers, updates, strict=True)]
    np.testing.assert_allclose(growth[:-1], above[1:], rtol=1e-9)

    drifts = []
    for steps in (50, 100):
        for kernel, value in zip(kernels, start, strict=True):
            kernel.assign(value)
        learner.optimizer.learning_rate = 5 / steps
        before = conserved()
        for _ in range(steps):
            learner.train_on_batch(x, y)
        drifts.append(conserved() - before)
    assert np.abs(np.subtract(kernels[0], start[0])).max() > 0.05
    np.testing.assert_allclose(drifts[0] / drifts[1], 2, atol=0.3)


# Cost.


def executed(step, directory):
    """Counts the operations that run in `step`, by type."""
    with tf.profiler.experimental.Profile(str(directory)):
        step()
    (path,) = directory.rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    return collections.Counter(
        plane.event_metadata[event.metadata_id].name.split(":")[-1]
        for plane in space.planes
        if plane.name == "/host:CPU"
        for line in plane.lines
        for event in line.events
    )


MANY_SHAPES = """
import pathlib, sys
import numpy as np, tensorflow as tf
from tests.engine_test import executed, make_learner
import wna_tf

def learner(width):
    return make_learner(wna_tf.models.cnn((28, 28, 1), 10, width, (1, 2, 2)), "align_zero")

specs = tf.TensorSpec((100, 28, 28, 1)), tf.TensorSpec((100, 10))
for width in range(4, 20):
    tf.function(learner(width).updates).get_concrete_function(*specs)
last = learner(72)
x, y = np.ones(specs[0].shape, "float32"), np.ones(specs[1].shape, "float32")
step = tf.function(lambda: last.train_step((tf.constant(x), tf.constant(y))), autograph=False)
step()
counts = executed(step, pathlib.Path(sys.argv[1]))
print(sum(count for name, count in counts.items() if name.endswith("Conv2D")))
"""


def test_no_convolution_runs_in_vain_after_many_shapes(tmp_path):
    # In a process of its own: what TensorFlow keeps of a process's past is what is tested.
    command = [sys.executable, "-c", MANY_SHAPES, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "6"


@pytest.mark.parametrize(
    ("rule", "normalize", "width"),
    [
        *((rule, True, 64) for rule in RULES),
        ("linearized", False, 64),
        ("align_zero", True, 16),
        ("linearized", True, 128),
    ],
)
def test_no_operation_runs_in_vain(rule, normalize, width, tmp_path):
    # Only at production sizes: whether operations that nothing needs are pruned depends on them.
    blocks = 3
    with precision("float32"):
        network = wna_tf.models.cnn((28, 28, 1), 10, width, (1, 2, 2), normalize=normalize)
        learner = make_learner(network, rule, metrics=["accuracy"])
        x, y = tf.random.normal((100, 28, 28, 1)), tf.random.normal((100, 10))
        step = tf.function(lambda: learner.train_step((x, y)), autograph=False)
        step()
        counts = executed(step, tmp_path)
    # The last: the initial network, two products for tangents, and the current network for its
    # moving statistics, if it has some.
    passes = {"align_zero": 2, "align_ada": 2, "linearized": 3 + normalize}.get(rule, 1)
    expected = {
        # The images have no tangent.
        "Conv2D": passes * blocks - (rule == "linearized"),
        "Conv2DBackpropInput": 0 if rule.startswith(("direct", "readout")) else blocks - 1,
        "Conv2DBackpropFilter": 0 if rule == "readout" else blocks,
    }
    if normalize:
        networks = passes - 2 * (rule == "linearized")
        back = {"readout": 0, "linearized": 2 * blocks}.get(rule, blocks)
        # Through both networks, but the first block carries nothing to the images.
        both = {"align_ada": 2 * blocks - 1}.get(rule, back)
        expected["FusedBatchNormV3"] = networks * blocks
        expected["FusedBatchNormGradV3"], expected["ReluGrad"] = both, back

    def count(name):
        forms = (name, f"_Fused{name}", f"_MklNative{name}", f"_MklNativeFused{name}")
        return sum(counts[form] for form in forms)

    for name, number in expected.items():
        assert count(name) == number, name
    if normalize:  # It undoes biases; the head's may be added in this form or in another.
        assert count("BiasAdd") <= passes
        assert count("BiasAddGrad") <= 1
