"""Programs: names of affine maps, and which of them follow each other."""

import keras
from keras import layers

import wna_tf
from wna_tf.graph.tracing import trace


def make_program(outputs_of, shape=(6,)):
    keras.backend.clear_session()
    inputs = keras.Input(shape)
    return trace(keras.Model(inputs, outputs_of(inputs)))


def pairs(program):
    names = program.affine_names
    return [(names[lower], names[upper]) for lower, upper in program.consecutive_affine_maps]


def test_a_map_is_named_by_its_layer_and_where_that_has_several_by_its_kernel():
    keras.backend.clear_session()
    program = trace(wna_tf.models.rnn(3))
    assert list(program.affine_names.values()) == [
        "recurrent.kernel",
        "recurrent.recurrent_kernel",
        "head",
    ]


def test_names_are_unique_in_shared_and_nested_layers():
    shared = layers.Dense(6, name="shared")
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="shared"), layers.ReLU()])
    program = make_program(lambda x: layers.Dense(2, name="head")(inner(shared(shared(x)))))
    assert sorted(program.affine_names.values()) == [
        "head",
        "shared.kernel",
        "shared.kernel:2",
        "shared.kernel:3",
    ]


def test_blocks_of_a_chain_are_consecutive():
    program = trace(wna_tf.models.cnn((8, 8, 1), 2, 3, (1, 2)))
    first, second, head = program.affine_names.values()
    assert pairs(program) == [(first, second), (second, head)]


def test_maps_on_branches_or_beside_other_weights_are_not_consecutive():
    def network(x):
        a = layers.Dense(6, name="a")(x)
        b = layers.Dense(6, name="b")(layers.ReLU()(a))
        c = layers.Dense(6, name="c")(layers.Add()([a, b]))  # Beside `a`, which goes around `b`.
        d = layers.Dense(6, name="d")(layers.BatchNormalization()(c))  # Behind a scale.
        e = layers.Dense(6, name="e")(layers.Activation("tanh")(d))
        f = layers.Dense(6, name="f")(layers.Concatenate()([e, e]))
        return [f, layers.ReLU()(e)]  # `e` is put out itself.

    assert pairs(make_program(network)) == [("d", "e")]


def test_a_recurrence_is_in_no_pair():
    program = make_program(
        lambda x: layers.Dense(2)(layers.SimpleRNN(3)(layers.Dense(4, name="below")(x))), (5, 2)
    )
    assert pairs(program) == [("below", "simple_rnn.kernel")]


def test_the_steps_of_a_recurrence_are_between_its_initial_states_and_its_output():
    keras.backend.clear_session()
    sequence, vector = keras.Input((5, 2)), keras.Input((3,))
    h = layers.Dense(4, name="start")(vector)
    _, h = layers.GRU(4, return_state=True, name="encoder")(sequence, initial_state=h)
    outputs = layers.SimpleRNN(4, name="decoder")(sequence, initial_state=h)
    program = trace(keras.Model([sequence, vector], outputs))
    names = program.affine_names
    assert sorted(names[step] for step in program.last_affine_maps) == [
        "decoder.kernel",
        "decoder.recurrent_kernel",
    ]
    start, *encoder = program.affine_maps[:3]
    assert program.block_output(start) == start.outputs[0]
    assert {program.block_output(step) for step in encoder} == {encoder[1].outputs[0]}
