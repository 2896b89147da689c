"""Forward credit: exact with a complete set of tangents, unbiased, and of constant memory."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from wna_tf import credit, replicas
from wna_tf.experiments import build, config, training


def mlp(depth=2, width=5):
    return wna_tf.models.mlp((4,), 2, width, depth, normalize=False)


def cnn():
    return wna_tf.models.cnn((4, 4, 1), 2, 2, (1, 2), normalize=False)


def rnn():
    return wna_tf.models.rnn(3, (4, 1))


def states():
    inputs = keras.Input((3, 4))
    _, h, c = keras.layers.LSTM(2, return_state=True)(inputs)
    sequence = keras.layers.SimpleRNN(2, return_sequences=True)(inputs, initial_state=h + c)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(sequence)))


def make_case(make, *credits, rule="align_zero"):
    """Returns learners of one network away from its initial weights, inputs and targets."""
    rng = np.random.default_rng(0)
    network = make()
    learners = [wna_tf.Learner(network, rule, credit=item) for item in credits]
    for variable in network.trainable_variables:
        variable.assign_add(0.3 * rng.normal(size=variable.shape))
    for learner in learners:
        learner.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = (
        tf.constant(rng.normal(size=(3, *symbol.shape[1:])), symbol.dtype)
        for symbol in (*network.inputs, *network.outputs)
    )
    return learners, x, y


class Orthogonal(credit.Forward):
    """Every tangent of a complete orthogonal set, one example's like another's.

    Their outer products sum to the identity times their number, so that the mean over draws is
    what that of random tangents is in expectation.
    """

    def __init__(self, sizes):
        super().__init__(sum(sizes))
        basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=[sum(sizes)] * 2))
        parts = np.split(basis * sum(sizes) ** 0.5, np.cumsum(sizes)[:-1], axis=1)
        object.__setattr__(self, "parts", parts)

    def draw(self, index, like, seed):
        part = tf.constant(self.parts[index], like.dtype)
        stack = tf.reshape(part, [self.num_tangents, 1, *like.shape[1:]])
        return tf.broadcast_to(stack, [self.num_tangents, *like.shape])


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (mlp, (5, 5, 2)),
        (cnn, (32, 8, 2)),
        (rnn, (12, 12, 4)),
        (states, (24, 6, 6, 6, 6, 2)),  # The first recurrence puts out two sequences.
    ],
    ids=["mlp", "cnn", "rnn", "states"],
)
@pytest.mark.parametrize("rule", ["align_zero", "linearized"])
def test_a_complete_set_of_tangents_is_exact(make, sizes, rule):
    (exact, estimate), x, y = make_case(make, "reverse", Orthogonal(sizes), rule=rule)
    expected = exact.updates(x, y)
    for updates in (estimate.updates, tf.function(estimate.updates, autograph=False)):
        for a, b in zip(updates(x, y), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("double_precision")
def test_the_estimate_is_unbiased():
    (exact, estimate), x, y = make_case(mlp, "reverse", credit.Forward(20))
    step = tf.function(estimate.updates, autograph=False)

    def flat(updates):
        return np.concatenate([np.ravel(update) for update in updates])

    samples = []
    for number in range(300):
        estimate.optimizer.iterations.assign(number)
        samples.append(flat(step(x, y)))
    expected, error = flat(exact.updates(x, y)), np.std(samples, 0) / len(samples) ** 0.5
    moving = expected != 0  # Weights of dead units have no update, and no estimate of one.
    z = ((np.mean(samples, 0) - expected) / np.where(moving, error, 1))[moving]
    assert len(z) > 20
    assert np.abs(z).max() < 4
    assert 0.5 < np.mean(z**2) < 1.5


def test_draws_differ_between_steps_and_go_on_when_resumed(tmp_path):
    (learner,), x, y = make_case(mlp, credit.Forward(2))
    first, again = learner.updates(x, y), learner.updates(x, y)
    np.testing.assert_array_equal(first[0], again[0])
    learner.train_on_batch(x, y)
    learner.save(tmp_path / "learner.keras")
    loaded = keras.models.load_model(tmp_path / "learner.keras")
    assert loaded.credit == learner.credit
    for model in (learner, loaded):
        model.train_on_batch(x, y)
    for a, b in zip(loaded.get_weights(), learner.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    learner.optimizer.learning_rate.assign(0.0)  # The weights stay, and the step goes on.
    draws = []
    for _ in range(2):
        draws.append(learner.updates(x, y)[0])
        learner.train_on_batch(x, y)
    assert not np.allclose(*draws)


def test_replicas_draw_their_own_tangents(mirrored):
    with mirrored.scope():
        (learner,), *_ = make_case(mlp, credit.Forward())
    first, second = mirrored.run(lambda: replicas.own_seed(learner.moment().seed)).values
    assert not np.array_equal(first, second)


def peak(function):
    """Returns the largest number of values alive at once, running a graph in its own order.

    Operations that nothing needs are left out, and so are variables and what is returned.
    """
    graph, returned = function.graph, {id(t) for t in function.graph.outputs}
    needed, waiting = set(), [tensor.op for tensor in graph.outputs]
    while waiting:
        op = waiting.pop()
        if op.name not in needed:
            needed.add(op.name)
            waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    operations = [op for op in graph.get_operations() if op.name in needed]
    last = {id(tensor): op.name for op in operations for tensor in op.inputs}
    alive = highest = 0
    for op in operations:
        made = [t for t in op.outputs if op.type not in ("Placeholder", "ReadVariableOp", "Const")]
        alive += sum(_size(t) for t in made if id(t) not in returned)
        highest = max(highest, alive)
        unused = [t for t in made if id(t) not in last and id(t) not in returned]
        used = {id(t): t for t in op.inputs if last[id(t)] == op.name}
        alive -= sum(map(_size, unused))
        alive -= sum(
            _size(t)
            for t in used.values()
            if id(t) not in returned and t.op.type not in ("Placeholder", "ReadVariableOp", "Const")
        )
    return highest


def _size(tensor):
    return tensor.shape.num_elements() or 0


def test_memory_does_not_grow_with_depth():
    batch, peaks = 500, {}
    specs = tf.TensorSpec((batch, 4)), tf.TensorSpec((batch, 2))
    for name in ("reverse", credit.Forward(2)):
        for depth in (3, 9):
            (learner,), *_ = make_case(lambda depth=depth: mlp(depth, width=8), name)
            function = tf.function(learner.updates, autograph=False)
            concrete = function.get_concrete_function(*specs)
            peaks[name, depth] = peak(concrete) / (8 * batch)
            for op in concrete.graph.get_operations():
                # A graph would draw all tangents at once otherwise, since they need nothing.
                if op.type == "StatelessRandomNormalV2":
                    assert any(made.op.control_inputs for made in op.inputs) or op.control_inputs
    # In activities of a block: those of six more blocks, for align_zero.
    assert peaks["reverse", 9] > peaks["reverse", 3] + 5
    assert peaks[credit.Forward(2), 9] < peaks[credit.Forward(2), 3] + 1


@pytest.mark.parametrize("item", [credit.Reverse(), credit.Forward(3)])
def test_round_trip(item):
    assert credit.get(json.loads(json.dumps(credit.serialize(item)))) == item


@pytest.mark.parametrize(
    "wrong", ["sideways", None, {"name": "reverse", "num_tangents": 2}, {"name": ["forward"]}, 3]
)
def test_unknown_credit_is_refused(wrong):
    with pytest.raises(ValueError, match=r"Expected .*credit.* Received: credit="):
        credit.get(wrong)


@pytest.mark.parametrize("number", [0, 1.5, True])
def test_wrong_numbers_of_tangents_are_refused(number):
    with pytest.raises(ValueError, match=f"Expected num_tangents .* Received: {number}"):
        credit.Forward(number)


@pytest.mark.parametrize("rule", ["backprop", "align_ada", "align_prop", "feedback_alignment"])
def test_forward_credit_is_for_rules_of_initial_choices(rule):
    with pytest.raises(ValueError, match=r"forward credit \(align_zero, linearized\)\. Received:"):
        wna_tf.Learner(mlp(), rule, credit="forward")


def test_a_configuration_says_how_credit_is_assigned():
    values = {"rule": "align_zero", "credit": "forward", "num_tangents": 3}
    run = config.Config(width=4, normalize=False, batch_size=20, **values)
    learner = build.learner(run, build.load_data(run))
    assert learner.credit == credit.Forward(3)
    with pytest.raises(ValueError, match="Expected a rule whose feedback"):
        training.check(config.Config(rule="backprop", credit="forward"))
