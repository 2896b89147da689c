"""Training runs of the public code of other authors' rules, on small networks, step by step.

Each file is met twice: by the NumPy oracle, and by a learner. Where the authors' scales differ from
the library's, a factor on the feedback weights or on a rate says by how much.
"""

import dataclasses
import functools
from typing import Any

import keras
import numpy as np
import pytest

import wna_tf
from tests import oracle, rule_oracle
from tests.conftest import SHARED
from tests.rule_draws import injected

FILES = sorted(SHARED.glob("golden/rules/*.npz"))
LAYERS = ("layer0", "layer1", "layer2")
WEIGHTS = [f"{layer}/{kind}" for layer in LAYERS for kind in ("kernel", "bias")]
pytestmark = [
    pytest.mark.skipif(not FILES, reason="needs shared/golden"),
    pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem),
]


@dataclasses.dataclass(frozen=True)
class Case:
    """A run, in the terms of the library.

    Attributes:
        source: Name of the feedback source.
        fields: Its hyper-parameters.
        feedback: What the file calls feedback weights of a layer, in order.
        factor: Ours for one of the file's feedback weights.
        draws: What the file calls the draws of a layer.
        kernel_decay: Coupled weight decay of the kernels.
        bias_decay: Coupled weight decay of the biases.
    """

    source: str
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    feedback: tuple[str, ...] = ("feedback",)
    factor: float = 1.0
    draws: str | None = None
    kernel_decay: float = 0.0
    bias_decay: float = 0.0

    @property
    def is_direct(self):
        return self.source.startswith("direct")

    @property
    def layers(self):
        """Those that have feedback weights, or draws."""
        return LAYERS[:2] if self.is_direct else LAYERS


def case_of(golden):
    """The run of a file."""

    def value(key):
        return golden[key].item()

    rule = value("rule")
    _, batch, classes = golden["targets"].shape
    if rule == "usf":
        return Case("sign", {"scale": "initial"}, ())
    if rule == "frsf":
        return Case("sign_magnitude", {}, ("magnitude",))
    if rule == "brsf":
        return Case("sign_redrawn", {}, (), draws="magnitude")
    if rule == "dfa":
        return Case("direct", factor=batch * classes)
    if rule in ("drtp", "sdfa"):
        source = {"drtp": "direct_target", "sdfa": "direct_sign"}[rule]
        return Case(source, factor=batch)
    if rule in ("direct_kolen_pollack", "forward_direct_feedback_alignment"):
        fields = {"rate": value("feedback_learning_rate") / value("learning_rate")}
        decay = value("weight_decay")
        if rule == "forward_direct_feedback_alignment":
            return Case("direct_forward", fields, draws="perturbation")
        fields["decay"] = value("feedback_decay")
        return Case("direct_kolen_pollack", fields, kernel_decay=decay, bias_decay=decay)
    if rule == "weight_mirror":
        noise = value("noise_amplitude") / np.sqrt(12)
        rate = value("mirror_learning_rate") * batch * noise**2
        return Case("weight_mirror", {"rate": rate, "decay": 0.0, "noise": noise}, draws="noise")
    if rule == "kolen_pollack":
        return Case("mirrored", {"decay": 1 - value("weight_decay_factor")})
    if rule == "product_feedback_alignment":
        fields = {"expand_ratio": value("expand_ratio"), "decay": value("weight_decay")}
        names = ("feedback_R", "feedback_B")
        return Case("product", fields, names, bias_decay=fields["decay"])
    coefficients = {
        "regularized_weight_mirror": ("decay", "amplification"),
        "symmetric_alignment": ("decay", "symmetry"),
        "activation_alignment": ("sparsity", "amplification"),
        "information_alignment": ("amplification", "nullity", "decay"),
        "regularized_kolen_pollack": ("decay",),
    }[rule]
    fields = dict(zip(coefficients, map(value, ("alpha", "beta", "gamma")), strict=False))
    fields["update_forward"] = value("update_forward")
    fields["mirrored"] = rule == "regularized_kolen_pollack"
    fields["bias"] = "use_bias" in golden and value("use_bias")
    fields["noise"] = "layer0/noise" in golden
    return Case("layerwise", fields, draws="noise" if fields["noise"] else None)


def feedback_names(case):
    return [f"{layer}/{name}" for layer in case.layers for name in case.feedback]


def start_of(golden, name):
    """The value of an array before the first step."""
    # The mirror passes before training have been made.
    for key in (f"{name}_step0", f"{name}_init", name):
        if key in golden:
            return golden[key].astype("float64")
    raise KeyError(name)


def draws_of(golden, case):
    """The draws of each layer, [steps, ...]."""
    if case.draws is None:
        return []
    return [golden[f"{layer}/{case.draws}"] for layer in case.layers]


def loss_of(golden, case):
    """Name of the loss among the oracle's, its factor, and the activation at its outputs."""
    name, activation = golden["loss_name"].item(), golden["output_activation"].item()
    loss, factor = {
        "softmax_cross_entropy_mean_over_batch": ("softmax_cross_entropy", 1),
        "squared_error_mean_over_batch_and_outputs": ("squared_error", 1),
        "binary_cross_entropy_mean_over_batch_and_outputs": ("binary_cross_entropy", 1),
        "sigmoid_cross_entropy_sum_over_outputs_mean_over_batch": (
            "binary_cross_entropy",
            golden["targets"].shape[-1],
        ),
    }[name]
    # The authors' error is that of the last layer's z: direct signals are the error at outputs.
    if case.is_direct and activation == "sigmoid":
        return "sigmoid_cross_entropy", factor, "linear"
    return loss, factor, activation


def check(golden, name, step, value, factor=1.0):
    """Compares an array after a step by how far it has moved."""
    expected = golden[f"{name}_step{step}"]
    start = golden[f"{name}_init"]
    moved = np.linalg.norm(expected - start)
    distance = np.linalg.norm(np.asarray(value, "float64") / factor - expected)
    is_slow = golden["rule"] == "weight_mirror" and golden["noise_amplitude"] < 1
    tolerance = 1e-3 if is_slow and name.endswith("feedback") else 1e-4
    assert distance <= (tolerance * moved or 1e-6), f"{name}, step {step}"


def check_feedback(golden, case, step, values):
    for name, value in zip(feedback_names(case), values, strict=True):
        if f"{name}_step{step}" in golden:
            check(golden, name, step, value, case.factor)
        else:
            np.testing.assert_allclose(value, golden[name], rtol=1e-6)


def check_weights(golden, step, arrays):
    for name, array in zip(WEIGHTS, arrays, strict=True):
        check(golden, name, step, array)


def golden_of(path):
    with np.load(path) as file:
        return dict(file)


def make_training(golden, case):
    """The run of a file by the oracle."""
    fields = dict(case.fields)
    if case.source == "sign":
        fields["deviations"] = tuple(golden[f"{layer}/scaling_factor"].item() for layer in LAYERS)
    loss, factor, output_activation = loss_of(golden, case)
    activations = [golden["activation"].item()] * 2 + [output_activation]
    return rule_oracle.Training(
        rule_oracle.SOURCES[case.source](**fields),
        [
            oracle.Block(golden[f"{layer}/bias_init"].size, ntk=False, activation=activation)
            for layer, activation in zip(LAYERS, activations, strict=True)
        ],
        [
            (start_of(golden, f"{layer}/kernel"), start_of(golden, f"{layer}/bias"))
            for layer in LAYERS
        ],
        [case.factor * start_of(golden, name) for name in feedback_names(case)],
        golden["learning_rate"].item(),
        loss,
        factor,
        golden["momentum"].item(),
        case.kernel_decay,
        case.bias_decay,
    )


def test_the_oracle_is_the_public_code(path):
    golden = golden_of(path)
    case = case_of(golden)
    training = make_training(golden, case)
    if "layer0/noise_before" in golden:
        feedback = [golden[f"{layer}/feedback_init"] for layer in LAYERS]
        for step in range(5):
            draws = [golden[f"{layer}/noise_before"][step] for layer in LAYERS]
            _, feedback = training.source.follow(
                training.blocks, training.weights, training.weights, feedback, draws, 1
            )
        check_feedback(golden, case, 0, feedback)
    for step, (x, y) in enumerate(zip(golden["inputs"], golden["targets"], strict=True)):
        draws = [some[step] for some in draws_of(golden, case)]
        _, seen = training.see(x, y, draws)
        if case.source.startswith("sign"):
            for layer, carrier in zip(LAYERS, training.source.carriers(seen), strict=True):
                expected = golden[f"{layer}/feedback_step{step + 1}"]
                np.testing.assert_allclose(carrier, expected, atol=1e-6)
        if "alignment_loss" in golden:
            terms = sum(value for value, _, _ in training.source.terms(seen))
            np.testing.assert_allclose(terms, golden["alignment_loss"][step], rtol=1e-5)
        loss = training.train_on_batch(x, y, draws)
        np.testing.assert_allclose(loss, golden["loss"][step], rtol=1e-5)
        check_weights(golden, step + 1, sum(training.weights, ()))
        check_feedback(golden, case, step + 1, training.feedback)


KERAS_LOSSES = {
    "softmax_cross_entropy": functools.partial(
        keras.losses.categorical_crossentropy, from_logits=True
    ),
    "sigmoid_cross_entropy": functools.partial(keras.losses.binary_crossentropy, from_logits=True),
    "binary_cross_entropy": keras.losses.binary_crossentropy,
    "squared_error": keras.losses.mean_squared_error,
}


def make_network(golden, case):
    *_, output_activation = loss_of(golden, case)
    activations = [golden["activation"].item()] * 2 + [output_activation]
    initializer = {
        "xavier": "glorot_uniform",
        "kaiming": keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
    }[golden.get("initializer", np.array("xavier")).item()]
    dense = [
        keras.layers.Dense(
            golden[f"{layer}/bias_init"].size,
            activation,
            kernel_initializer=initializer,
            kernel_regularizer=keras.regularizers.L2(case.kernel_decay / 2),
            bias_regularizer=keras.regularizers.L2(case.bias_decay / 2),
        )
        for layer, activation in zip(LAYERS, activations, strict=True)
    ]
    network = keras.Sequential([keras.Input(golden["inputs"].shape[2:]), *dense])
    for variable, name in zip(network.trainable_variables, WEIGHTS, strict=True):
        variable.assign(start_of(golden, name))
    return network


def make_learner(golden, case):
    network = make_network(golden, case)
    source = wna_tf.feedback.get({"name": case.source} | case.fields)
    kernels = network.trainable_variables[::2]
    source = injected(source, kernels, draws_of(golden, case))
    learner = wna_tf.Learner(network, wna_tf.Rule(source, "current", "current"))
    for variable, name in zip(learner.feedback_weights, feedback_names(case), strict=True):
        variable.assign(case.factor * start_of(golden, name))
    name, factor, _ = loss_of(golden, case)

    def loss(y_true, y_pred):
        return factor * KERAS_LOSSES[name](y_true, y_pred)

    optimizer = keras.optimizers.SGD(golden["learning_rate"].item(), golden["momentum"].item())
    # The learner's loss has the decay in it, the file's and the metric have not.
    learner.compile(optimizer, loss, metrics=[keras.metrics.MeanMetricWrapper(loss, "bare_loss")])
    return learner


def test_training_is_that_of_the_public_code(path):
    golden = golden_of(path)
    case = case_of(golden)
    learner = make_learner(golden, case)
    for step, (x, y) in enumerate(zip(golden["inputs"], golden["targets"], strict=True)):
        learner.reset_metrics()
        logs = learner.train_on_batch(x, y, return_dict=True)
        np.testing.assert_allclose(logs["bare_loss"], golden["loss"][step], rtol=1e-5)
        if not (case.kernel_decay or case.bias_decay):
            np.testing.assert_allclose(logs["loss"], golden["loss"][step], rtol=1e-5)
        check_weights(golden, step + 1, learner.network.trainable_variables)
        check_feedback(golden, case, step + 1, [v.numpy() for v in learner.feedback_weights])
