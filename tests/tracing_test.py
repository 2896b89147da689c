"""Programs of Keras networks: their blocks, and the layers that are refused."""

import re

import keras
import numpy as np
import pytest
from keras import layers, ops

import wna_tf
from tests.doubtful_networks import DOUBTFUL, OfDense, Scaled, inside, sequential
from wna_tf.graph import registry
from wna_tf.graph.tracing import trace


def find(program, name):
    """The affine map of a layer."""
    (step,) = (step for step in program.affine_maps if step.name == name)
    return step


def producer(program, place):
    """Name of the layer or function whose map ends at a place."""
    (step,) = (step for step in program.maps if place in step.outputs)
    return step.name


@pytest.mark.parametrize(
    ("behind", "end"),
    [
        ([], "conv"),
        ([layers.ReLU(name="relu")], "relu"),
        ([layers.BatchNormalization(), layers.Activation("tanh", name="tanh")], "tanh"),
        ([layers.BatchNormalization(name="norm"), layers.MaxPooling2D()], "norm"),
        ([layers.ReLU(name="relu"), layers.ReLU()], "relu"),
        ([layers.ReLU(name="relu"), layers.BatchNormalization()], "relu"),
        ([layers.GlobalAveragePooling2D(), layers.ReLU()], "conv"),
    ],
)
def test_a_block_ends_behind_its_first_activation(behind, end):
    head = [layers.Flatten(), layers.Dense(2, name="head")]
    program = trace(sequential(layers.Conv2D(4, 3, name="conv"), *behind, *head))
    place = program.block_output(find(program, "conv"))
    assert producer(program, place) == end
    assert program.shapes[place.index] == (None, 4, 4, 4)
    assert program.last_affine_maps == {find(program, "head")}


def test_a_fused_activation_ends_a_block():
    program = trace(sequential(layers.Dense(4, activation="tanh", name="dense")))
    place = program.block_output(find(program, "dense"))
    assert producer(program, place) == "tanh"
    assert place == program.outputs[0]


def test_blocks_of_a_graph():
    inputs = keras.Input((4,))
    a = layers.Dense(4, name="a")(inputs)
    b = layers.Dense(4, name="b")(layers.ReLU(name="relu")(a))
    x = layers.Add()([a, b])
    c = layers.Dense(4, activation="tanh", name="c")(x)
    outputs = [layers.Softmax()(layers.Dense(2, name="d")(c)), x]
    program = trace(keras.Model(inputs, outputs))
    ends = {
        step.name: producer(program, program.block_output(step)) for step in program.affine_maps
    }
    assert ends == {"a": "a", "b": "b", "c": "tanh", "d": "d"}  # a's output goes two ways.
    assert {step.name for step in program.last_affine_maps} == {"a", "b", "d"}


def test_nested_and_shared_layers_are_expanded_where_they_are_called():
    dense = layers.Dense(4, name="shared")
    inner = sequential(dense, layers.ReLU(), input_shape=(4,))
    inputs = keras.Input((4,))
    program = trace(keras.Model(inputs, layers.Dense(2, name="head")(inner(dense(inputs)))))
    assert [step.name for step in program.affine_maps] == ["shared", "shared", "head"]
    assert len({id(step.kernel) for step in program.affine_maps}) == 2
    assert [producer(program, program.block_output(s)) for s in program.affine_maps[:2]] == [
        "shared",
        program.maps[2].name,
    ]


# What a program cannot express must be refused, or trained as Keras trains it.


@pytest.mark.parametrize("name", DOUBTFUL)
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_a_network_is_trained_as_by_keras_or_refused_by_name(name):
    networks = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        networks.append(DOUBTFUL[name]())
    network, plain = networks
    before = [variable.numpy() for variable in network.variables]
    try:
        learner = wna_tf.Learner(network, "backprop")
    except ValueError as error:
        assert re.match(r"Expected .*\. Received: .*guilty", str(error))
        learner = None
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    if learner is None:
        return
    x = np.random.default_rng(0).normal(size=(4, *network.input_shape[1:]))
    for model in (learner, plain):
        model.compile("sgd", "mse", run_eagerly=True)
        model.train_on_batch(x, np.ones((4, *network.output_shape[1:])))
    for ours, theirs in zip(network.variables, plain.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, err_msg=ours.path)


@pytest.mark.parametrize("trainable", [True, False])
def test_feedback_weights_stand_in_for_kernels_inside_of_layers_that_are_frozen_too(trainable):
    inputs = keras.Input((5, 4))
    x = layers.Dense(4)(inputs)
    x = layers.MultiHeadAttention(2, 2, trainable=trainable)(x, x)
    network = keras.Model(inputs, layers.Dense(2)(x))
    assert len(wna_tf.Learner(network, "feedback_alignment").feedback_weights) == 6


def test_a_layer_that_is_frozen_and_cannot_be_taken_apart_contributes_its_derivative():
    scaled = Scaled(name="frozen", trainable=False)
    learner = wna_tf.Learner(inside(scaled), "feedback_alignment")
    assert learner.program.maps[0].name == "frozen"
    assert [weights.shape for weights in learner.feedback_weights] == [(6, 2)]


def test_a_subclass_is_written_as_its_parent_unless_it_overrides_call():
    class Parent(layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(name="scale", shape=(input_shape[-1],))

        def call(self, inputs):
            return inputs * self.scale

    class Same(Parent):
        pass

    class Other(Parent):
        def call(self, inputs):
            return inputs - self.scale

    expanded = []

    @registry.register_layer(Parent)
    def _expand(layer, emit, x):
        expanded.append(type(layer))
        return emit.local(layer, x)

    for cls in (Parent, Same, Other):
        (step, _) = trace(inside(cls(name="scale"))).maps
        assert step.name == "scale"
        assert len(step.weights) == 1
    assert expanded == [Parent, Same]


class TwoTowers(keras.Model):
    """A model in Python that takes and returns dicts."""

    def __init__(self):
        super().__init__(name="towers")
        self.a = layers.Dense(4, activation="tanh")
        self.b = layers.Dense(4, activation="tanh")
        self.head = layers.Dense(2)

    def call(self, inputs, training=False):
        h = self.a(inputs["x"]) + self.b(inputs["pair"][0])
        return {"head": self.head(h), "hidden": [h]}


def two_towers():
    inputs = {"x": keras.Input((3,), name="x"), "pair": [keras.Input((5,), name="y")]}
    return keras.Model(inputs, TwoTowers()(inputs))


def built_by_call():
    model = TwoTowers()
    model({"x": np.ones((2, 3)), "pair": [np.ones((2, 5))]})
    return model


@pytest.mark.parametrize("make", [two_towers, built_by_call])
def test_nested_inputs_and_outputs_of_functional_and_subclassed_models(make):
    rng = np.random.default_rng(0)
    x = {"x": rng.normal(size=(4, 3)), "pair": [rng.normal(size=(4, 5))]}
    y = {"head": rng.normal(size=(4, 2)), "hidden": [rng.normal(size=(4, 4))]}
    losses = {"head": "mse", "hidden": ["mae"]}
    results = []
    for wrap in (lambda model: wna_tf.Learner(model, "backprop"), lambda model: model):
        keras.utils.set_random_seed(0)
        model = wrap(make())
        model.compile(keras.optimizers.SGD(0.5), losses)
        logs = model.train_on_batch(x, y, return_dict=True)
        results.append([*map(np.asarray, model.trainable_variables), logs["loss"]])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    learner = wna_tf.Learner(make(), "feedback_alignment")
    learner.compile("sgd", losses)
    predicted = learner.predict(x, verbose=0)
    assert predicted["hidden"][0].shape == (4, 4)


def test_a_network_that_is_a_learner_is_refused():
    network = sequential(layers.Dense(2), input_shape=(3,))
    with pytest.raises(ValueError, match=r"Expected a network\. .* a Learner, .*'outer'"):
        wna_tf.Learner(wna_tf.Learner(network, name="outer"))


def test_a_model_of_several_arguments_is_to_be_wrapped():
    class Two(keras.Model):
        def call(self, x, y):
            return x + y

    model = Two(name="two")
    model(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"with one argument.*'two', which takes x, y"):
        wna_tf.Learner(model)


def test_what_a_layer_without_weights_is_given_is_not_hidden_in_it():
    class Multiply(layers.Layer):
        def call(self, x, matrix):
            return ops.matmul(x, matrix)

    class Tied(OfDense):
        def __init__(self, **options):
            super().__init__(**options)
            self.multiply = Multiply()

        def call(self, inputs):
            return self.multiply(self.dense(inputs), ops.transpose(self.dense.kernel))

    program = trace(inside(Tied()))
    kernels = [step.kernel.path for step in program.affine_maps]
    assert len(kernels) == 3
    assert kernels[0] == kernels[1]


def test_a_loop_over_time_is_unrolled_where_it_is_not_known():
    program = trace(inside(layers.ConvLSTM1D(2, 2), (3, 5, 2)))
    assert len({id(step.kernel) for step in program.affine_maps}) == 3
    assert len(program.affine_maps) > 3
    inputs = keras.Input((None, 4))
    network = keras.Model(inputs, layers.RNN(layers.GRUCell(3), name="cells")(inputs))
    with pytest.raises(ValueError, match=r"layer .cells. of class RNN: .*unroll a RNN"):
        trace(network)


@pytest.mark.parametrize("function", [ops.softmax, ops.sigmoid])
def test_cross_entropies_look_through_what_a_layer_of_layers_ends_with(function):
    class Classifier(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, inputs):
            return function(self.dense(inputs))

    inputs = keras.Input((4,))
    updates = []
    for wrap in (lambda model: wna_tf.Learner(model, "backprop"), lambda model: model):
        keras.utils.set_random_seed(0)
        model = wrap(keras.Model(inputs, Classifier()(inputs)))
        loss = "categorical_crossentropy" if function is ops.softmax else "binary_crossentropy"
        model.compile(keras.optimizers.SGD(1.0), loss)
        before = model.trainable_variables[0].numpy()
        model.train_on_batch(1e3 * np.eye(4), np.eye(4, 3))  # Saturated: without logits, no error.
        updates.append(model.trainable_variables[0].numpy() - before)
    np.testing.assert_allclose(*updates, rtol=1e-5)
    assert np.abs(updates[0]).max() > 1
