"""What Keras and TensorFlow keep to themselves: still there, and used in one place alone."""

import ast
import importlib
import inspect
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import forwardprop

import wna_tf
from wna_tf import internals
from wna_tf.graph.recording import Recording

ROOT = pathlib.Path(__file__).parents[1]
VERSIONS = f"Keras {keras.__version__} and TensorFlow {tf.__version__}"

# Methods that Keras calls under a private name.
OVERRIDDEN = {("Trainer", "_maybe_symbolic_build")}
# Of namedtuple, which documents them.
DOCUMENTED = {"_asdict", "_fields", "_make", "_replace"}

FOLDERS = ("wna_tf", "wna_tf_command", "benchmarks", "examples")
TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for path in (ROOT / "main.py", *(p for name in FOLDERS for p in (ROOT / name).rglob("*.py")))
}


def is_private(name):
    return name.startswith("_") and not name.endswith("_")


def defined(tree):
    """The private names that a module makes: functions, classes, variables, attributes of self."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
        ):
            yield node.attr


def used(tree):
    """The private names that a module uses, those of packages and those in strings included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, ast.unparse(node)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{a.name}", ast.unparse(node)) for a in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            yield ast.unparse(node.args[1]).strip("'"), ast.unparse(node)


def foreign(tree, ours):
    """Where a module uses a private name that is not one of ours."""
    found = set()
    for name, where in used(tree):
        parts = name.split(".")
        inside = parts[:2] in (["keras", "src"], ["tensorflow", "python"])
        private = any(is_private(part) for part in parts) and not set(parts) & (ours | DOCUMENTED)
        if inside or private:
            found.add(where)
    return found


OURS = {name for tree in TREES.values() for name in defined(tree) if is_private(name)}
OURS -= {name for _, name in OVERRIDDEN}
KEPT = "wna_tf/internals.py"


@pytest.mark.parametrize("module", TREES)
def test_private_names_of_others_are_used_in_one_place(module):
    found = foreign(TREES[module], OURS)
    if module == KEPT:
        assert found, "the search finds none of those that are there"
    elif module == "wna_tf/trainer.py":
        assert found == {f"super().{name}" for _, name in OVERRIDDEN}
    else:
        assert not found, f"Expected public names, or an entry in {KEPT}. Received: {found}"


def subclasses():
    """Our classes whose bases are those of others, each with the latter."""
    for module in TREES:
        if module.startswith("wna_tf/"):
            name = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for some in vars(importlib.import_module(name)).values():
                if inspect.isclass(some) and some.__module__ == name:
                    bases = [b for b in some.__mro__ if not b.__module__.startswith("wna_tf")]
                    yield some, [b for b in bases if b.__module__.startswith(("keras", "tens"))]


def test_no_class_hides_a_private_name_of_its_base():
    hidden = {
        (some.__name__, name)
        for some, bases in subclasses()
        for base in bases
        for name in vars(some).keys() & vars(base).keys()
        if is_private(name) and name not in ("_abc_impl", "_api_export_path")
    }
    assert hidden == OVERRIDDEN


def make_learner():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    learner = wna_tf.Learner(network)
    learner.compile("sgd", "mse", metrics=["mse"])
    return learner


X, Y = np.ones((6, 3), "float32"), np.ones((6, 2), "float32")


def test_no_attribute_of_a_learner_hides_one_of_a_model():
    trees = (TREES[f"wna_tf/{name}.py"] for name in ("learner", "trainer"))
    own = {name for tree in trees for name in defined(tree) if is_private(name)}
    model = keras.Model()
    model.compile("sgd", "mse")
    hidden = own & (vars(model).keys() | set(dir(keras.Model)))
    assert hidden == {name for _, name in OVERRIDDEN}


@pytest.mark.parametrize("arguments", [{"iterator": None}, {"data_batch": (X, Y, None)}])
def test_keras_builds_metrics_by_the_method_that_a_learner_overrides(arguments, monkeypatch):
    assert hasattr(keras.Model, "_maybe_symbolic_build"), f"moved in {VERSIONS}"
    inspect.signature(keras.Model._maybe_symbolic_build).bind(None, **arguments)
    called = []
    build = keras.Model._maybe_symbolic_build
    with monkeypatch.context() as patch:
        patch.setattr(
            wna_tf.Learner,
            "_maybe_symbolic_build",
            lambda self, **given: called.append(given) or build(self, **given),
        )
        learner = make_learner()
        if "iterator" in arguments:
            learner.fit(X, Y, verbose=0)
        else:
            learner.train_on_batch(X, Y)
    assert called, f"neither fit nor train_on_batch calls _maybe_symbolic_build in {VERSIONS}"
    assert all(given.keys() == arguments.keys() for given in called), VERSIONS


def test_keras_gives_that_method_batches_behind_step_numbers(mirrored, monkeypatch):
    seen = []
    build = keras.Model._maybe_symbolic_build

    def look(self, iterator=None, data_batch=None):
        *steps, batches = next(iter(iterator))
        seen.append((steps, keras.tree.map_structure(type, next(batches))))
        build(self, iterator=iterator)

    with mirrored.scope():
        learner = make_learner()
    monkeypatch.setattr(wna_tf.Learner, "_maybe_symbolic_build", look)
    learner.fit(tf.data.Dataset.from_tensors((X, Y)), verbose=0)
    ((steps, batch),) = seen
    assert all(isinstance(step, int) for step in steps), f"iterators are others in {VERSIONS}"
    assert len(batch) == 2, f"iterators are others in {VERSIONS}"


def test_accumulators_write_tangents_for_the_shapes_at_hand():
    for name in ("_TRACE_COUNT", "_TRACE_COUNT_LIMIT"):
        assert hasattr(forwardprop, name), f"{name} has moved in TensorFlow {tf.__version__}"
    internals.keep_tangents_exact()

    def count_tangents():
        return forwardprop._TRACE_COUNT.get("Cosh", 0)

    for size in range(1, 50):
        before = count_tangents()
        x = tf.zeros([size])
        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)):
            tf.math.cosh(x)
        assert count_tangents() == before + 1, (
            f"the tangent for {size} numbers is that for any number in TensorFlow {tf.__version__}"
        )


@pytest.mark.parametrize(
    "activation, loss",
    [
        ("softmax", keras.losses.CategoricalCrossentropy()),
        ("sigmoid", keras.losses.BinaryCrossentropy()),
    ],
)
def test_cross_entropies_look_through_outputs_at_the_logits_that_they_are_given(activation, loss):
    z = tf.constant([[1.0, 2.0, 4.0]])
    made = keras.activations.get(activation)(z)
    assert internals.logits_of(made) is not None, f"{activation} keeps no logits in {VERSIONS}"
    assert internals.logits_of(tf.identity(made)) is None
    output, others = tf.identity(made), -z
    internals.set_logits(output, others)
    with tf.GradientTape() as tape:
        tape.watch([output, others])
        value = loss(tf.constant([[0.0, 1.0, 0.0]]), output)
    by_output, by_logits = tape.gradient(value, [output, others])
    assert by_output is None, f"{loss.name} looks at the output itself in {VERSIONS}"
    assert by_logits is not None, f"{loss.name} does not look at the logits in {VERSIONS}"


def test_a_local_variable_is_none_of_the_strategy(mirrored):
    with mirrored.scope():
        local, one_of_it = internals.make_local_variable(np.arange(3)), tf.Variable([0, 1, 2])
    assert isinstance(one_of_it, tf.distribute.DistributedValues)
    assert not isinstance(local, tf.distribute.DistributedValues), f"mirrored in {VERSIONS}"
    assert isinstance(local, tf.Variable)
    assert not local.trainable
    np.testing.assert_array_equal(local, [0, 1, 2])


def test_validation_data_are_those_of_fit():
    found = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: found.append(internals.validation_data(learner))
    )
    learner = make_learner()
    assert internals.validation_data(learner) is None
    learner.fit(X, Y, validation_data=(2 * X, Y), callbacks=[look], verbose=0)
    assert found != [None], f"a model does not keep its validation data in {VERSIONS}"
    for x, y in found[0]:
        np.testing.assert_array_equal(x, 2 * X)
        np.testing.assert_array_equal(y, Y)
    learner.fit(X, Y, callbacks=[look], verbose=0)
    assert found[1] is None


def test_keras_attaches_masks_where_we_look_for_them():
    embedded = keras.layers.Embedding(3, 2, mask_zero=True)(np.array([[1, 0]]))
    assert internals.mask_of(embedded).numpy().tolist() == [[True, False]]
    copy = tf.identity(embedded)
    assert internals.mask_of(copy) is None
    internals.set_mask(copy, internals.mask_of(embedded))
    pooled = keras.layers.GlobalAveragePooling1D()(copy)
    np.testing.assert_allclose(pooled, embedded[:, 0])


@pytest.mark.parametrize("make", [keras.layers.LSTMCell, keras.layers.GRUCell])
def test_recurrent_cells_draw_dropout_by_the_name_that_is_relied_on(make):
    cell = make(2, dropout=0.5, seed=0)
    drawn = internals.draw_dropout(cell, tf.ones([3, 4]), 0.5)
    assert {tuple(one.shape) for one in drawn} == {(3, 4)}
    assert {float(value) for one in drawn for value in np.ravel(one)} == {0.0, 2.0}


def test_keras_calls_every_layer_with_its_mode_and_mask_filled_in():
    inputs = keras.Input((2,), dtype="int32")
    x = keras.layers.Embedding(3, 2, mask_zero=True)(inputs)
    network = keras.Model(inputs, keras.layers.LSTM(2)(keras.layers.Dropout(0.5)(x)))
    calls = Recording(network, inputs, training=True).root.children
    _, dropout, lstm = calls
    assert dropout.kwargs["training"] is lstm.kwargs["training"] is True
    assert lstm.kwargs["mask"].dtype == tf.bool
