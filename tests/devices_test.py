"""Runs on several devices: the same as on one."""

import dataclasses

import pytest

from wna_tf import callbacks, config, training

# The last of the 4 batches has 15 examples, of which the replicas get 8 and 7; the last of the
# validation and the test examples are uneven too.
CONFIG = config.Config(
    rule="kolen_pollack",
    width=8,
    batch_size=35,
    validation_size=1380,
    epochs=3,
    normalize=False,
    optimizer="adam",
    learning_rate=0.01,
    diagnostics=tuple(callbacks.DIAGNOSTICS),
)
MIRRORED = training.Setup("mirrored", checkpoint_every=2)


@pytest.mark.parametrize("normalized", [False, True])
def test_a_mirrored_run_is_that_of_one_device(normalized, mirrored, tmp_path):
    run = dataclasses.replace(CONFIG, normalize=normalized, synchronized=normalized)
    one = training.train(run, tmp_path / "one")
    two = training.train(run, tmp_path / "two", MIRRORED)
    assert training.prepare(run, "mirrored")[1].distribute_strategy.num_replicas_in_sync == 2
    print(one.history, two.history)
    for a, b in zip(one.history, two.history, strict=True):
        assert a.keys() == b.keys()
        for k in a:
            print(k, a[k], b[k], abs(a[k] - b[k]) / max(abs(a[k]), 1e-9))
    for k in one.result:
        print(k, one.result[k], two.result[k])
