"""The order of a training step: each weight is read before it changes, whatever TensorFlow drops.

Grappler takes edges of control away where data leads the same way. Linear dense networks have steps
of which it takes most: the updates alone then say what is read before.
"""

import keras
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training import saver

import wna_tf
from wna_tf import feedback


def optimize(rule):
    """Returns the nodes of a training step as TensorFlow runs it, by their names."""
    network = keras.Sequential([keras.Input((4,)), *map(layers.Dense, (5, 4, 3))])
    learner = wna_tf.Learner(network, rule)
    learner.compile(keras.optimizers.SGD(0.1), "mse")
    batch = tf.zeros((6, 4)), tf.zeros((6, 3))
    step = tf.function(learner.train_step).get_concrete_function(batch)
    meta = saver.export_meta_graph(graph_def=step.graph.as_graph_def(), graph=step.graph)
    kept = [tensor.name for tensor in (*step.inputs, *step.outputs)]
    kept += [operation.name for operation in step.graph.control_outputs]
    fetched = meta_graph_pb2.CollectionDef()
    fetched.node_list.value.extend(kept)
    meta.collection_def["train_op"].CopyFrom(fetched)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1  # Also of a small graph.
    return {node.name: node for node in tf_optimizer.OptimizeGraph(config, meta).node}


def find_unordered(nodes):
    """Returns the number of updates, and pairs of one variable of which neither waits.

    Args:
        nodes: Those of a graph, by their names.

    Returns:
        The number of updates, and pairs of a read and an update, or of two updates.
    """

    def given(node):
        return [some.removeprefix("^").split(":")[0] for some in node.input]

    above: dict[str, set[str]] = {}

    def ancestors(name):
        if name not in above:
            found = given(nodes[name])
            above[name] = set(found).union(*map(ancestors, found))
        return above[name]

    def places(is_it):
        return [(node.name, given(node)[0]) for node in nodes.values() if is_it(node.op)]

    reads = places(lambda kind: kind == "ReadVariableOp")
    updates = places(lambda kind: kind.startswith("Assign") and kind.endswith("VariableOp"))
    assert {place for _, place in updates} <= {place for _, place in reads}
    return len(updates), [
        (name, update)
        for update, changed in updates
        for name, place in [*reads, *updates]
        if place == changed
        and name != update
        and name not in ancestors(update)
        and update not in ancestors(name)
    ]


@pytest.mark.parametrize("rule", wna_tf.rules.names())
def test_every_weight_is_read_before_it_changes(rule):
    count, unordered = find_unordered(optimize(rule))
    assert count >= (2 if rule == "readout" else 6)
    assert unordered == []


def test_the_order_is_lost_unless_updates_wait(monkeypatch):
    monkeypatch.setattr(feedback.Moment, "once_read", lambda self, values: values)
    assert find_unordered(optimize("direct_random_target_projection"))[1]
