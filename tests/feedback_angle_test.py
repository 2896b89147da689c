"""Known angles of updates and feedback weights, and those that are rounding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from tests.diagnosed import MAPS, fit, make_data, make_learner, measure
from tests.helpers import precision
from wna_tf.callbacks import FeedbackAngle

pytestmark = pytest.mark.usefixtures("names_from_the_start")
ALIGN = ("align_zero", "align_ada", "align_prop")
# What tells what angles are worth.
OTHERS = {
    "loss",
    *(f"gradient_norm/{name}" for name in MAPS),
    "network_gradient_norm",
    "network_update_angle_frozen",
}


def test_backprop_has_no_angles():
    history = fit(make_learner("backprop", normalize=True), FeedbackAngle(*make_data()), epochs=2)
    angles = {column: values for column, values in history.items() if column not in OTHERS}
    assert set(angles) == {
        *(f"feedback_angle/{name}" for name in MAPS[1:]),
        *(f"update_angle/{name}" for name in MAPS),
        "network_update_angle",
    }
    for name, values in angles.items():
        np.testing.assert_allclose(values, 0, atol=1e-3, err_msg=name)


def test_backprop_has_no_angles_to_losses_of_layers():
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(5, "tanh", activity_regularizer=keras.regularizers.L2(1.0))(inputs)
    learner = wna_tf.Learner(keras.Model(inputs, keras.layers.Dense(3)(hidden)), "backprop")
    learner.compile("sgd", "mse")
    angles = measure(learner, FeedbackAngle(*make_data()))
    np.testing.assert_allclose(angles["network_update_angle"], 0, atol=0.02)


@pytest.mark.parametrize("rule", ALIGN)
def test_the_first_update_of_an_align_rule_is_backpropagations(rule):
    angles = measure(make_learner(rule, normalize=True), FeedbackAngle(*make_data()))
    for name in MAPS:
        np.testing.assert_allclose(angles[f"update_angle/{name}"], 0, atol=0.02, err_msg=name)


@pytest.mark.parametrize(("factor", "degrees"), [(2.0, 0), (-1.0, 180)])
def test_tied_feedback_weights_have_known_angles(factor, degrees):
    learner = make_learner("feedback_alignment")
    kernels = learner.trainable_variables[::2]
    for own, kernel in zip(learner.feedback_weights, kernels, strict=True):
        own.assign(factor * kernel.value)
    angles = measure(learner, FeedbackAngle(*make_data()))
    for name in MAPS[1:]:
        np.testing.assert_allclose(angles[f"feedback_angle/{name}"], degrees, atol=1e-4)
    # Deltas turn their sign at each feedback kernel: none to the head, two to the first map.
    for name, expected in zip(MAPS, (0, degrees, 0), strict=True):
        np.testing.assert_allclose(angles[f"update_angle/{name}"], expected, atol=0.02)


@pytest.mark.parametrize(
    ("rule", "maps"), [("direct_feedback_alignment", MAPS), ("readout", MAPS[2:])]
)
def test_rules_without_kernels_that_carry_deltas_have_update_angles_alone(rule, maps):
    angles = measure(make_learner(rule), FeedbackAngle(*make_data()))
    own = {column for column in angles if column.startswith(("feedback_angle", "update_angle"))}
    assert own == {f"update_angle/{name}" for name in maps}
    np.testing.assert_allclose(angles["update_angle/head"], 0, atol=1e-3)


def test_the_baseline_of_frozen_blocks_is_the_angle_of_readout():
    data = make_data()
    learner = make_learner("backprop", normalize=True)
    fit(learner, epochs=2)
    angles = measure(learner, FeedbackAngle(*data))
    gradients = [update.numpy().astype("float64") for update in learner.updates(*data)]
    squares = [np.sum(gradient**2) for gradient in gradients]
    expected = np.degrees(np.arccos(np.sqrt(sum(squares[-2:]) / sum(squares))))
    assert 20 < expected < 80
    np.testing.assert_allclose(angles["network_update_angle_frozen"], expected, rtol=1e-5)

    initial = [variable.numpy() for variable in learner.initial_weights]
    for variable, array in zip(learner.trainable_variables, initial, strict=True):
        variable.assign(array)
    for name, indices in (("/dense", [0]), ("/head", [4]), ("network_", range(6))):
        before = learner.updates(*data)
        ratio = np.sqrt(
            sum(squares[i] for i in indices) / sum(np.sum(before[i] ** 2.0) for i in indices)
        )
        column = f"gradient_norm{name}" if name[0] == "/" else f"{name}gradient_norm"
        np.testing.assert_allclose(angles[column], ratio, rtol=1e-5, err_msg=name)

    frozen = measure(make_learner("readout", normalize=True), FeedbackAngle(*data))
    np.testing.assert_allclose(
        frozen["network_update_angle"], frozen["network_update_angle_frozen"], rtol=1e-5
    )


@pytest.mark.parametrize("floor", [-1e-3, 1, float("nan")])
def test_a_floor_is_a_part_of_the_first_norm(floor):
    with pytest.raises(ValueError, match=r"Expected 0 <= floor < 1\. Received: floor="):
        FeedbackAngle(floor=floor)


def drive_to_interpolation(learner, data, steps=2500):
    batches = tf.data.Dataset.from_tensors(data).repeat()
    learner.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)


def in_double_precision(learner):
    """A learner of the same rule at the same weights, to the bit, in float64."""
    keras.backend.clear_session()
    with precision("float64"):
        exact = make_learner(learner.rule)
    for variable, value in zip(exact.weights, learner.weights, strict=True):
        variable.assign(tf.cast(value.value, "float64"))
    return exact


def test_an_angle_to_a_gradient_that_is_rounding_is_left_out():
    data = tuple(array[:2].astype("float32") for array in make_data())
    learner = make_learner("align_prop")
    first = measure(learner, FeedbackAngle(*data))
    for name in MAPS:
        assert first[f"gradient_norm/{name}"] == 1
    drive_to_interpolation(learner, data)
    noisy = measure(learner, FeedbackAngle(*data, floor=0))
    exact = measure(in_double_precision(learner), FeedbackAngle(*data, floor=0))
    columns = [f"update_angle/{name}" for name in MAPS]
    assert max(abs(noisy[column] - exact[column]) for column in columns) > 1  # Degrees: rounding.
    masked = measure(learner, FeedbackAngle(*data))
    assert not [column for column in masked if "update_angle" in column]
    assert {f"gradient_norm/{name}" for name in MAPS} | {"network_gradient_norm"} <= set(masked)
    assert 0 < max(masked[f"gradient_norm/{name}"] for name in MAPS) < 1e-3
