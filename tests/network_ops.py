"""The affine and local maps of any Keras network, found in the ops that it runs.

The network runs eagerly, and every TensorFlow op that it executes passes through here. An op in
which a weight meets activity is an affine map where it contracts the two, and local otherwise;
nothing is known of layers, but that a normalization is one map.
"""

import contextlib
import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import core
from tensorflow.python.framework import op_def_registry

NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)
CONTRACTIONS = {
    "BatchMatMul",
    "BatchMatMulV2",
    "BatchMatMulV3",
    "Conv2D",
    "Conv2DBackpropInput",
    "Conv3D",
    "Conv3DBackpropInputV2",
    "DepthwiseConv2dNative",
    "Einsum",
    "MatMul",
}
# What hands a tensor's entries on: a weight behind one is a weight, an affine map's output its.
# A function of a weight's entries one by one, before any activity, is a weight's too.
SAME_ENTRIES = {
    "BatchToSpaceND",
    "BroadcastTo",
    "Cast",
    "ExpandDims",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "SplitV",
    "Squeeze",
    "StridedSlice",
    "Tile",
    "Transpose",
    "Unpack",
}
ELEMENTWISE = {
    "Abs",
    "Exp",
    "Neg",
    "Relu",
    "Rsqrt",
    "Sigmoid",
    "Softplus",
    "Sqrt",
    "Square",
    "Tanh",
}
WITH_SCALARS = {"AddV2", "Mul", "RealDiv", "Sub"}
READS = {"ReadVariableOp", "ResourceGather", "ResourceGatherNd"}
stop = tf.stop_gradient


@dataclasses.dataclass
class Weight:
    """A tensor of a weight's entries, with the same ones of the feedback weights."""

    tensor: tf.Tensor
    feedback: tf.Tensor | None
    variable: keras.Variable


@dataclasses.dataclass
class Map:
    """The output of an affine or local map; `in_block`: a normalization follows it directly."""

    op: str
    output: tf.Tensor
    layer: str = ""
    in_block: bool = False
    source: tf.Tensor | None = None  # Of a normalization behind a map: that map's output,
    copy: tf.Tensor | None = None  # and what the normalization alone has of it.


class Run:
    """One evaluation of a network.

    Args:
        network: Keras model.
        feedback: Feedback weights of the variables, by `id`, for networks in which all three
            choices but the feedback are current; None where the maps are only to be noted.
        like: An earlier run, of the same maps; this one then cuts every map off from those
            before it.
    """

    def __init__(self, network, feedback=None, like=None):
        self.feedback, self.like, self.maps, self.kernels = feedback, like, [], []
        self._variables = {id(v.value.handle): v for v in network.trainable_variables}
        self._weights, self._behind, self._alive, self._inside = {}, {}, [], False
        self._execute = pywrap_tfe.TFE_Py_FastPathExecute

    @contextlib.contextmanager
    def watching(self):
        """Lets every op of TensorFlow pass through this run."""
        calls = {layer: layer.call for layer in NORMALIZATIONS}
        eager = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        pywrap_tfe.TFE_Py_FastPathExecute = self._op
        for layer, call in calls.items():
            layer.call = self._normalization(call)
        try:
            yield
        finally:
            pywrap_tfe.TFE_Py_FastPathExecute = self._execute
            tf.config.run_functions_eagerly(eager)
            for layer, call in calls.items():
                layer.call = call

    def _weight(self, x):
        return self._weights.get(id(x))

    def _cut(self, x):
        """Returns x without what came before it, unless x is a weight."""
        if isinstance(x, list | tuple):
            return type(x)(map(self._cut, x))
        if not tf.is_tensor(x) or self._weight(x) or not x.dtype.is_floating:
            return x
        self._alive.append(stop(x))
        return self._alive[-1]

    def _op(self, context, op, name, *arguments):
        op = op.decode() if isinstance(op, bytes) else op
        given, inputs = arguments, op_def_registry.get(op).input_arg
        arguments = [tensor(a, arg) for a, arg in zip(given, inputs, strict=False)]
        arguments += map(plain, given[len(inputs) :])
        try:
            result = self._result(lambda args: self._run(context, op, name, args), op, arguments)
        except core._FallbackException:
            assert not any(map(self._weight, tf.nest.flatten(arguments))), op
            raise
        except core._NotOkStatusException as error:
            if not any(isinstance(a, keras.Variable) for a in given):
                raise
            # A variable of another dtype, which TensorFlow leaves to Keras's own operators.
            raise TypeError(op) from error
        self._alive += [arguments, result]  # Python gives the `id` of what is gone to others.
        return result

    def _run(self, context, op, name, arguments):
        if op == "Conv2D" and arguments[0].shape[-1] != arguments[1].shape[-2]:  # In groups.
            x, kernel, *rest = arguments
            groups = x.shape[-1] // kernel.shape[-2]
            parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
            return tf.concat([self._execute(context, op, name, *part, *rest) for part in parts], -1)
        return self._execute(context, op, name, *arguments)

    def _result(self, run, op, arguments):
        if op in READS and (variable := self._variables.get(id(arguments[0]))) is not None:
            if op != "ReadVariableOp":
                return self._local(run, op, arguments)
            value = run(arguments)
            feedback = None
            if self.feedback is not None and id(variable) in self.feedback:
                feedback = self.feedback[id(variable)]
            self._weights[id(value)] = Weight(value, feedback, variable)
            return value
        flat = tf.nest.flatten(arguments)
        weights = [w for w in map(self._weight, flat) if w]
        if self._inside or not weights:
            result = run(arguments)
            if op in SAME_ENTRIES:
                for x in flat:
                    if id(x) in self._behind:
                        self._behind[id(result)] = self._behind[id(x)]
            return result
        if op in SAME_ENTRIES | ELEMENTWISE or self._is_with_scalar(op, flat):
            return self._same_entries(run, arguments, weights[0])
        if op in CONTRACTIONS:
            return self._contraction(run, op, arguments, weights)
        return self._local(run, op, arguments, weights)

    def _is_with_scalar(self, op, flat):
        return op in WITH_SCALARS and all(
            self._weight(x) or x.shape.rank == 0 for x in flat if tf.is_tensor(x)
        )

    def _replaced(self, arguments):
        """Returns an op's arguments with feedback weights in the place of weights."""
        if isinstance(arguments, list):
            return [self._replaced(a) for a in arguments]
        weight = self._weight(arguments)
        return arguments if weight is None or weight.feedback is None else stop(weight.feedback)

    def _same_entries(self, run, arguments, weight):
        result = run(arguments)
        replaced = run(self._replaced(arguments))
        for ours, theirs in zip(tf.nest.flatten(result), tf.nest.flatten(replaced), strict=True):
            feedback = theirs if weight.feedback is not None else None
            self._weights[id(ours)] = Weight(ours, feedback, weight.variable)
        self._alive += [result, replaced]
        return result

    def _contraction(self, run, op, arguments, weights):
        (weight,) = weights  # Two weights that meet are no affine map that we know.
        if not any(weight.variable is kernel for kernel in self.kernels):
            self.kernels.append(weight.variable)
        if self.feedback is not None:
            if weight.feedback is None:
                return run(arguments)
            learned = run(self._cut(arguments))
            carried = run(self._replaced(arguments))
            if getattr(self.feedback, "sign", False):
                carried /= math.sqrt(3 * fan_in(op, arguments, weight.tensor))
            return stop(run(arguments)) + (learned - stop(learned)) + (carried - stop(carried))
        output = run(arguments if self.like is None else self._cut(arguments))
        self._behind[id(output)] = (len(self.maps),)
        self.maps.append(Map(op, output, weight.variable.path.rpartition("/")[0]))
        return output

    def _local(self, run, op, arguments, weights=()):
        if self.feedback is not None:
            return run(arguments)
        index = len(self.maps)
        before = [b for a in arguments if (b := self._behind.get(id(a)))]
        layer = weights[0].variable.path.rpartition("/")[0] if weights else ""
        first = self.maps[before[0][0]] if before else None
        is_bias = (
            op in ("AddV2", "BiasAdd")
            and first is not None
            and first.op in CONTRACTIONS
            and first.layer == layer
        )
        cut = self.like is not None and not (is_bias and self.like.maps[index].in_block)
        output = run(self._cut(arguments) if cut else arguments)
        if not tf.is_tensor(output) or not output.dtype.is_floating:
            assert not any(t.dtype.is_floating for t in tf.nest.flatten(output)), op
            return output
        self._behind[id(output)] = (*before[0], index) if is_bias else (index,)
        self.maps.append(Map(op, output, layer))
        return output

    def _normalization(self, call):
        """Returns a normalization's `call` as one map, in the block of a map right before it."""

        def normalize(layer, inputs, *args, **kwargs):
            if self._inside or self.feedback is not None:
                return call(layer, inputs, *args, **kwargs)
            block = self._behind.get(id(inputs), ())
            if block and self.maps[block[0]].op not in CONTRACTIONS:
                block = ()
            for index in block:
                self.maps[index].in_block = True
            source = inputs if block else None
            if block:
                inputs = tf.identity(inputs)
            elif self.like is not None:
                inputs = self._cut(inputs)
            self._inside = True
            try:
                output = call(layer, inputs, *args, **kwargs)
            finally:
                self._inside = False
            self._behind[id(output)] = (len(self.maps),)
            copy = inputs if block else None
            self.maps.append(Map("normalization", output, source=source, copy=copy))
            return output

        return normalize


def tensor(x, argument):
    """Returns what an op is given as the tensor, or list of them, that it reads."""
    if isinstance(x, list | tuple) and (argument.number_attr or argument.type_list_attr):
        return [tf.convert_to_tensor(part) for part in x]
    if isinstance(x, list | tuple) and not x:
        return tf.zeros(0, tf.int32)
    is_variable = isinstance(x, tf.Variable | keras.Variable)
    return tf.convert_to_tensor(x) if is_variable or isinstance(x, list | tuple) else x


def plain(attribute):
    """Returns an op's attribute without NumPy's numbers, which would take another way."""
    if isinstance(attribute, list | tuple):
        return [plain(part) for part in attribute]
    return attribute.item() if isinstance(attribute, np.generic) else attribute


def fan_in(op, arguments, kernel):
    """Returns how many weights are summed into one output of a contraction."""
    if op == "Einsum":
        tensors, equation = arguments[0], arguments[arguments.index("equation") + 1]
        inputs, output = (equation.decode() if isinstance(equation, bytes) else equation).split(
            "->"
        )
        labels = inputs.split(",")[[t is kernel for t in tensors].index(True)]
        return math.prod(
            n for label, n in zip(labels, kernel.shape, strict=True) if label not in output
        )
    if op.endswith(("MatMul", "MatMulV2", "MatMulV3")):
        options = dict(zip(arguments[2::2], arguments[3::2], strict=True))
        second = arguments[1] is kernel
        transposed = any(options.get(f"{kind}_{'xy'[second] if kind == 'adj' else 'ab'[second]}")
                         for kind in ("adj", "transpose"))  # fmt: skip
        return kernel.shape[-2 if second != transposed else -1]
    if op == "DepthwiseConv2dNative":
        return math.prod(kernel.shape[:2])
    assert op in ("Conv2D", "Conv3D"), op
    return math.prod(kernel.shape[:-1])
