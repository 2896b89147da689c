"""Steps would run on a GPU as a whole: TensorFlow has kernels for it, deterministic ones.

TensorFlow's package knows its kernels for GPUs where there is none. What would be left to the
processor would cost two copies a step.
"""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.framework import kernels
from tensorflow.python.grappler import tf_optimizer

import wna_tf
from tests.helpers import precision

DIRECT = tuple(name for name in wna_tf.rules.names() if "direct" in name)
POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")
# What has no kernel anywhere, as it is no operation.
STRUCTURE = {"Placeholder", "_Arg", "_Retval"}
# TensorFlow documents these as refusing, or not knowing, determinism on GPUs.
NOT_DETERMINISTIC = {
    "AdjustContrastv2",
    "CropAndResizeGradBoxes",
    "DenseBincount",
    "DepthwiseConv2dNativeBackpropFilter",
    "FakeQuantWithMinMaxVarsGradient",
    "FakeQuantWithMinMaxVarsPerChannelGradient",
    "MaxPoolGradV2",
    "RaggedBincount",
    "ResizeBicubicGrad",
    "ResourceScatterNdAdd",
    "ScatterNdAdd",
    "SegmentMean",
    "SegmentProd",
    "SparseTensorDenseMatMul",
    "UnsortedSegmentMax",
    "UnsortedSegmentMin",
    "UnsortedSegmentProd",
}


def mlp():
    return wna_tf.models.mlp((5,), 4, 6, depth=2), (5,), (4,)


def cnn():
    return wna_tf.models.cnn((6, 6, 1), 4, 5, strides=(1, 2)), (6, 6, 1), (4,)


def rnn():
    return wna_tf.models.rnn(6), (7, 1), (7, 1)


def vision_transformer():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Reshape((4, 8))(layers.Conv2D(8, 4, 4)(x))
    attended = layers.MultiHeadAttention(2, 4, dropout=0.1)(*[layers.LayerNormalization()(x)] * 2)
    x = x + attended
    x = x + layers.Dense(8)(layers.Dense(16, "gelu")(layers.LayerNormalization()(x)))
    outputs = layers.Dense(4)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, outputs), (8, 8, 3), (4,)


@functools.cache
def kernels_of(op):
    return [
        {part.name: set(part.allowed_values.list.type) for part in kernel.constraint}
        for kernel in kernels.get_registered_kernels_for_op(op).kernel
        if kernel.device_type in ("GPU", "DEFAULT")
    ]


def runs_on_gpu(node):
    return any(
        all(node.attr[name].type in types for name, types in constraints.items() if types)
        for constraints in kernels_of(node.op)
    )


def operations(function):
    """What of a concrete function is executed, calls of functions written out."""
    graph = function.graph
    meta = tf.compat.v1.train.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    fetched = meta_graph_pb2.CollectionDef()
    fetched.node_list.value.extend(x.name for x in (*graph.outputs, *graph.control_outputs))
    meta.collection_def["train_op"].CopyFrom(fetched)
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers.extend(["function", "pruning"])
    options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    options.min_graph_nodes = -1
    optimized = tf_optimizer.OptimizeGraph(config, meta)
    called = [function.node_def for function in optimized.library.function]
    return [node for node in itertools.chain(optimized.node, *called) if node.op not in STRUCTURE]


def steps(network, rule, policy):
    keras.utils.set_random_seed(0)
    with precision(policy):
        model, shape, outputs = network()
        learner = wna_tf.Learner(model, rule)
        loss = wna_tf.losses.SumSquaredError() if network is rnn else "mse"
        learner.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
        x, y = (tf.zeros([4, *some]) for some in (shape, outputs))
        for step in (learner.train_step, learner.test_step):
            yield tf.function(step, autograph=False).get_concrete_function((x, y))


def cases():
    for network, policy, rule in itertools.product(
        (mlp, cnn, rnn, vision_transformer), POLICIES, wna_tf.rules.names()
    ):
        if network is rnn and rule in DIRECT:
            continue  # It has an output for each step.
        is_fast = (network is mlp and policy == "float32") or (
            rule == "align_ada" and policy == "mixed_float16"
        )
        marks = () if is_fast else pytest.mark.slow
        yield pytest.param(network, policy, rule, marks=marks)


@pytest.mark.parametrize(("network", "policy", "rule"), cases())
def test_nothing_of_a_step_is_left_to_the_processor(network, policy, rule):
    assert kernels_of("Conv2D"), "this TensorFlow has no kernels for GPUs"
    for function in steps(network, rule, policy):
        nodes = operations(function)
        used = {node.op for node in nodes}
        assert "MatMul" in used or "BatchMatMulV2" in used or "Conv2D" in used
        left = sorted({f"{node.op} {types(node)}" for node in nodes if not runs_on_gpu(node)})
        functions = {
            name for name in used if not kernels.get_registered_kernels_for_op(name).kernel
        }
        left = [text for text in left if text.split()[0] not in functions]
        assert left == []
        assert used & NOT_DETERMINISTIC == set()


def types(node):
    return sorted(
        {tf.dtypes.as_dtype(value.type).name for value in node.attr.values() if value.type}
    )


def test_an_operation_without_a_kernel_is_found():
    @tf.function
    def unique(x):
        return tf.strings.length(tf.strings.as_string(x)) + tf.unique(x).idx

    left = {node.op for node in operations(unique.get_concrete_function(tf.constant([1, 2])))}
    assert "AsString" in {op for op in left if not kernels_of(op)}
    assert np.any(
        [
            not runs_on_gpu(node)
            for node in operations(unique.get_concrete_function(tf.constant([1])))
        ]
    )
