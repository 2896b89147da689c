"""Tables of choices: what may be registered, and under which names."""

import dataclasses
import types

import numpy as np
import pytest

import wna_tf
from wna_tf import callbacks, credit, datasets, feedback, models, rules, serialization

TABLES = {"rule": rules, "feedback": feedback, "credit": credit, "dataset": datasets}
TABLES |= {"model": models, "diagnostics": callbacks}


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    for module in TABLES.values():
        monkeypatch.setattr(module._TABLE, "_choices", dict(module._TABLE._choices))


@pytest.mark.parametrize("argument", TABLES)
def test_every_table_tells_an_unknown_name_alike(argument):
    module = TABLES[argument]
    for wrong in ("mine", "", None, 3, ["mine"]):
        with pytest.raises(serialization.Unknown) as error:
            module.get(wrong)
        noun, names = error.value.noun, ", ".join(module.names())
        others = ", or tfds:NAME of TensorFlow Datasets" * (module is datasets)
        expected = f"Expected {noun}, one of {names}{others}. Received: {argument}={wrong!r}"
        assert str(error.value) == expected


def network(input_shape, num_outputs):
    raise NotImplementedError


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a=1", "../a", ".a", "-a", "é", None, 3])
def test_names_are_words_of_the_command_line(name):
    with pytest.raises(ValueError, match=r"^Expected a name of letters, .* Received: "):
        models.register(name, network)
    assert "a" not in models.names()


def kernel(self, step, moment):
    return moment.kernel(step)


def make_source(name="mine", module="lab", **members):
    members |= {"name": name, "kernel": kernel, "__module__": module}
    cls = types.new_class("Mine", (feedback.Feedback,), exec_body=lambda ns: ns.update(members))
    return dataclasses.dataclass(frozen=True)(cls)


def test_a_name_is_taken_by_something_else_or_defined_again():
    first, again, other = make_source(), make_source(), make_source(module="other")
    assert feedback.register(first) is first
    assert feedback.register(again) is again
    with pytest.raises(ValueError, match=r"^Expected a name .* Received: 'mine', which is that of"):
        feedback.register(other)
    assert type(feedback.get("mine")) is again
    rules.register("mine", wna_tf.Rule("mine", "current", "current"))
    rules.register("mine", wna_tf.Rule("mine", "current", "current"))
    with pytest.raises(ValueError, match=r"^Expected a name that a rule does not have yet\. "):
        rules.register("mine", wna_tf.Rule("mine", "initial", "current"))
    models.register("mine", network)
    models.register("mine", network)
    with pytest.raises(ValueError, match="Received: 'mlp', which is that of <function mlp"):
        models.register("mlp", network)


X, LABELS = np.zeros([4, 3]), np.array([0, 1, 2, 1])


def test_data_in_memory_are_told_apart():
    datasets.register("mine", datasets.from_arrays((X, LABELS), (X, LABELS)))
    datasets.register("mine", datasets.from_arrays((X, LABELS), (X, LABELS)))
    with pytest.raises(ValueError, match="Expected a name that a data set does not have yet"):
        datasets.register("mine", datasets.from_arrays((X + 1, LABELS), (X, LABELS)))


class WithoutColumns(callbacks.Diagnostic):
    def measure(self):
        return {}


def no_default():
    return make_source(__annotations__={"rate": float})


def no_dataclass():
    members = {"name": "mine", "kernel": kernel, "__annotations__": {"rate": float}, "rate": 1.0}
    return type("Mine", (feedback.Feedback,), members)


WRONG = {
    "rule": lambda: rules.register("mine", "backprop"),
    "unregistered": lambda: rules.register(
        "mine", wna_tf.Rule(make_source()(), "current", "current")
    ),
    "abstract": lambda: feedback.register(feedback.Feedback),
    "instance": lambda: feedback.register(feedback.get("current")),
    "no_default": lambda: feedback.register(no_default()),
    "no_dataclass": lambda: feedback.register(no_dataclass()),
    "unnamed": lambda: feedback.register(type("Mine", (feedback.Random,), {})),
    "credit": lambda: credit.register(feedback.Random),
    "dataset": lambda: datasets.register("mine", datasets.digits),
    "model": lambda: models.register("mine", "mlp"),
    "diagnostic": lambda: callbacks.register("mine", callbacks.Progress),
    "abstract_diagnostic": lambda: callbacks.register("mine", callbacks.Diagnostic),
    "no_columns": lambda: callbacks.register("mine", WithoutColumns),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_choice_is_refused(name):
    before = {argument: module.names() for argument, module in TABLES.items()}
    with pytest.raises(ValueError, match=r"^Expected .* Received: "):
        WRONG[name]()
    assert {argument: module.names() for argument, module in TABLES.items()} == before


def test_a_way_to_assign_credit_takes_fields_of_a_configuration():
    from wna_tf.experiments import Config, build

    @credit.register
    @dataclasses.dataclass(frozen=True)
    class Half(credit.Forward):
        name = "half"

        def check(self, rule):
            assert rule == rules.get("backprop")

    config = Config(rule="backprop", credit="half", num_tangents=3)
    build.check(config)
    assert build._credit(config) == Half(3) == credit.get(credit.serialize(Half(3)))
    assert "half" in build.choices()["credit"]


def test_a_model_s_arguments_are_those_that_there_are():
    from wna_tf.experiments import Config, build

    def odd(input_shape, num_outputs, breadth, flavour="sweet"):
        return input_shape, num_outputs, breadth, flavour

    def even(input_shape, num_classes, width, flavour="sweet"):
        return input_shape, num_classes, width, flavour

    models.register("odd", odd)
    models.register("even", even)
    with pytest.raises(ValueError, match=r"Received: odd with the arguments breadth$"):
        build.network(Config(model="odd"), (3,), 2)
    assert build.network(Config(model="even", width=4), (3,), 2) == ((3,), 2, 4, "sweet")


def test_arrays_make_a_data_set_of_classes_or_numbers():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), np.array([2, 0, 1, 1, 0, 2])
    datasets.register(
        "classes", datasets.from_arrays((x, y), (x[:2], y[:2]), 2, class_names=("a", "b", "c"))
    )
    data = datasets.load("classes", batch_size=2)
    assert data.sizes == {"train": 4, "validation": 2, "test": 2}
    assert (data.num_classes, data.class_names) == (3, ("a", "b", "c"))
    assert datasets.training_size("classes") == 4
    assert datasets.shapes("classes") == ((3,), (3,)) and datasets.has_classes("classes")
    ((x_test, y_test),) = data.test
    np.testing.assert_allclose(x_test, x[:2], rtol=1e-6)
    np.testing.assert_allclose(y_test, np.eye(3)[[2, 0]] - 1 / 3, rtol=1e-6)
    targets = rng.normal(size=(6, 5, 2))
    datasets.register("numbers", datasets.from_arrays((x, targets), (x[:2], targets[:2])))
    data = datasets.load("numbers", batch_size=3)
    assert data.output_shape == (5, 2) and not datasets.has_classes("numbers")
    ((_, y_test),) = data.test
    np.testing.assert_allclose(y_test, targets[:2], rtol=1e-6)
    guess = np.mean((targets - targets.mean()) ** 2)
    np.testing.assert_allclose(data.chance["train_loss"], guess, rtol=1e-5)


def test_a_data_set_that_does_not_tell_its_size_is_loaded_to_know_it():
    digits = datasets.get("digits")
    datasets.register("mine", datasets.Dataset(digits.load))
    assert datasets.training_size("mine") == 1500
    assert datasets.shapes("mine") is None


@pytest.mark.parametrize(
    ("training", "test"),
    [
        ((X, LABELS[:3]), (X, LABELS)),
        ((X, LABELS), (X[:, :2], LABELS)),
        ((X, LABELS), (X, LABELS / 2)),
        ((X, LABELS / 2), (X, LABELS / 2)),
        ((X, LABELS - 1), (X, LABELS)),
        ((X[:0], LABELS[:0]), (X, LABELS)),
        ((X, 3), (X, LABELS)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(training, test):
    with pytest.raises(
        ValueError, match=r"^Expected inputs \[size, ...\] and targets, .* Received:"
    ):
        datasets.from_arrays(training, test)
