"""Training runs of the public code of the paper, on real images, step by step."""

import pathlib

import keras
import numpy as np
import pytest

import wna_tf

SHARED = pathlib.Path(__file__).parents[2] / "shared"
FILES = sorted([*SHARED.glob("golden/kmnist_*.npz"), *SHARED.glob("golden/cifar_*.npz")])
CARELESS = ("align_prop", "feedback_alignment")  # The public code itself rounds there.


def tolerances(path, rule, optimizer):
    """Returns those of the loss and of the change of each kernel; None: not to be compared."""
    if optimizer == "adam":
        return (2e-3, None) if rule == "backprop" else (2e-4, 2e-2)
    return 1e-5, 1.5e-2 if path.stem.startswith("cifar") and rule in CARELESS else 2e-3


def make_learner(golden):
    network = wna_tf.models.cnn(
        golden["images"].shape[2:],
        golden["targets"].shape[-1],
        golden["layer0/bias_init"].size,
        golden["strides"].tolist(),
        golden["parameterization"].item(),
    )
    kernels = network.trainable_variables[::2]
    for index, (kernel, bias) in enumerate(
        zip(kernels, network.trainable_variables[1::2], strict=True)
    ):
        kernel.assign(golden[f"layer{index}/kernel_init"].reshape(kernel.shape))
        bias.assign(golden[f"layer{index}/bias_init"])
    learner = wna_tf.Learner(network, golden["rule"].item())
    feedback = [name for name in golden.files if name.endswith("feedback_kernel")]
    for variable, name in zip(learner.feedback_weights, sorted(feedback), strict=True):
        variable.assign(golden[name].reshape(variable.shape))
    rate = golden["learning_rate"].item()
    optimizers = {
        "sgd": keras.optimizers.SGD(rate),
        "adam": keras.optimizers.Adam(rate, epsilon=1e-8),
    }
    learner.compile(optimizers[golden["optimizer"].item()], "mse", metrics=["accuracy"])
    return learner, kernels


@pytest.mark.skipif(not FILES, reason="needs shared/golden")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_training_is_that_of_the_public_code(path):
    golden = np.load(path)
    learner, kernels = make_learner(golden)
    loss_tolerance, kernel_tolerance = tolerances(
        path, golden["rule"].item(), golden["optimizer"].item()
    )
    for step, (images, targets) in enumerate(zip(golden["images"], golden["targets"], strict=True)):
        learner.reset_metrics()
        logs = learner.train_on_batch(images.astype("float32") / 255, targets, return_dict=True)
        assert abs(logs["loss"] - golden["loss"][step]) <= loss_tolerance, f"step {step}"
        assert abs(logs["accuracy"] - golden["accuracy"][step]) < 1e-6, f"step {step}"
    if kernel_tolerance is None:
        return
    for index, kernel in enumerate(kernels):
        init, final = (
            golden[f"layer{index}/kernel_{when}"].reshape(kernel.shape)
            for when in ("init", "final")
        )
        distance = np.linalg.norm(kernel.numpy() - final)
        assert distance <= kernel_tolerance * np.linalg.norm(final - init), f"kernel {index}"
