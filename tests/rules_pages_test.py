"""The pages of the rules are what the code, their entries and the measured numbers make."""

import dataclasses
import pathlib
import re

import keras
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.grappler import tf_optimizer

import wna_tf
from benchmarks import accuracies
from docs import make_rules
from tests.conftest import ROOT
from wna_tf import feedback, rules
from wna_tf.experiments import run_directory
from wna_tf.experiments.config import Config

PAGES = make_rules.render()
FIELDS = {"summary", "equation", "about", "source"}


def test_every_rule_has_an_entry_and_nothing_else_has():
    assert tuple(make_rules.ENTRIES) == rules.names()
    for name, entry in make_rules.ENTRIES.items():
        assert entry.keys() - {"abbreviation", "cost"} == FIELDS, name
        assert all(entry.values()), name


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_would_be_written_now(name):
    assert (make_rules.FOLDER / name).read_text() == PAGES[name], "run python -m docs.make_rules"


def test_there_are_no_other_pages():
    assert {path.name for path in make_rules.FOLDER.glob("*.md")} == PAGES.keys()


@pytest.mark.parametrize("name", feedback.names())
def test_every_hyper_parameter_is_described(name):
    source = feedback.get(name)
    found = make_rules.parameters(source)
    assert [field for field, _, _ in found] == [field.name for field in dataclasses.fields(source)]
    for field, value, text in found:
        assert value == getattr(source, field)
        assert re.match(r"[A-Z`].*\.$", text), (field, text)


def test_values_on_a_page_are_those_of_the_rule():
    rule = rules.get("symmetric_alignment")
    assert (rule.feedback.decay, feedback.get("layerwise").decay) == (5e-3, 0)
    assert "| `decay` | `0.005` |" in PAGES["symmetric_alignment.md"]


def count_products(rule, depth):
    """The matrix products of a step, when its graph is optimized and equal ones are one."""
    network = wna_tf.models.mlp((6,), 6, 6, depth)
    learner = wna_tf.Learner(network, rule)
    learner.compile(keras.optimizers.SGD(0.1), "mse")
    batch = tf.zeros([4, 6]), tf.zeros([4, 6])
    graph = tf.function(learner.train_step, autograph=False).get_concrete_function(batch).graph
    meta = tf.compat.v1.train.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    fetched = meta_graph_pb2.CollectionDef()
    fetched.node_list.value.extend(x.name for x in (*graph.outputs, *graph.control_outputs))
    meta.collection_def["train_op"].CopyFrom(fetched)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    products = [
        (*node.input[:2], node.attr["transpose_a"].b, node.attr["transpose_b"].b)
        for node in tf_optimizer.OptimizeGraph(config, meta).node
        if node.op in ("MatMul", "_FusedMatMul")
    ]
    return len(set(products))


# Products that pages speak of besides the passes: with projections, and of weights with weights.
FURTHER = dict.fromkeys([name for name in rules.names() if "direct" in name], 1) | {
    "direct_kolen_pollack": 2,
    "forward_direct_feedback_alignment": 2,
    "product_feedback_alignment": 2,
}
FAST = ("weight_mirror", "information_alignment")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in rules.names()],
)
def test_a_block_more_costs_the_products_that_the_page_says(name):
    products = count_products(name, 2) - count_products(name, 1)
    assert products == make_rules.passes(name) + FURTHER.get(name, 0)
    if name in FURTHER:
        assert "Besides, " in make_rules.ENTRIES[name]["cost"]


def test_links_lead_somewhere():
    for name, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#]+?)\)", text):
            is_there = (make_rules.FOLDER / target).is_file()
            assert target.startswith("https://") or is_there, (name, target)


def make_run(rate, seed, validation, test, diverged=None):
    config = Config(rule="readout", model="mlp", width=4, learning_rate=rate, seed=seed)
    result = {"validation_accuracy": validation, "test_accuracy": test, "diverged": diverged}
    return run_directory.Run(pathlib.Path(config.name), config.to_dict(), result, [])


def test_accuracies_are_those_at_the_rate_that_validation_chose():
    runs = [make_run(1, 0, 0.5, 0.9), make_run(2, 0, 0.6, 0.4), make_run(2, 1, 0.3, 0.6)]
    (row,) = accuracies.summarize(runs)
    assert row == {
        "rule": "readout",
        "model": "mlp",
        "width": 4,
        "learning_rate": "2",
        "chosen_from": "1 2",
        "test_accuracy": "50.00",
        "standard_error": "10.00",
        "seeds": 2,
        "diverged": 0,
    }


def test_the_table_is_of_every_rule_network_and_width():
    rows = make_rules.read("digits.csv")
    if not rows:
        pytest.skip("not measured yet")
    found = [tuple(row[name] for name in accuracies.GROUP) for row in rows]
    assert len(set(found)) == len(found) == 4 * len(rules.names())
    assert {rule for rule, _, _ in found} == set(rules.names())
    assert (ROOT / "docs/rules" / make_rules.FIGURE).is_file()
