"""Origins: what each tensor of a traced graph depends on, and so what each variable is.

A variable that is contracted with activity is the kernel of an affine map, also behind operations
that only rearrange it. Any other use is local.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from wna_tf.graph.registry import UnknownUse

_SHAPES = {"Shape", "ShapeN", "Size", "Rank", "BroadcastGradientArgs"}
"""Operations that depend on shapes alone."""

_LINEAR = frozenset(
    """
    BroadcastTo Cast ConjugateTranspose Diag EnsureShape ExpandDims GatherNd GatherV2 Identity
    MatrixBandPart MatrixDiagV3 MatrixSetDiagV3 Mean MirrorPad Neg Pad RealDiv Reshape
    ResourceGather ReverseV2 Roll Slice Snapshot SplitV Squeeze StridedSlice Sum Tile Transpose
    Unpack
    """.split()
)
"""Operations that are linear in their first input."""

_BILINEAR = {"Mul", "BatchMatMulV2", "Einsum", "MatMul"}
"""Operations that are linear in each of their inputs; `Split` takes the number of parts first."""

REARRANGEMENTS = frozenset(
    """
    EnsureShape ExpandDims Reshape Snapshot Squeeze Transpose
    """.split()
)
"""Operations that change no entry."""

_LOCAL = frozenset(
    """
    Add AddN AddV2 BiasAdd ConcatV2 Div DivNoNan DynamicStitch Equal FusedBatchNormV3 GatherNd
    GatherV2 Greater GreaterEqual IdentityN Less LessEqual Maximum Minimum Mul MulNoNan Pack Pow
    RealDiv ResourceGather Select SelectV2 SquaredDifference Sub TensorScatterAdd
    TensorScatterUpdate
    """.split()
)
"""Operations of activity and weights that are not contractions."""

_RESHAPED = frozenset(
    """
    BroadcastTo ExpandDims Fill Reshape Slice StridedSlice Tile Transpose
    """.split()
)
"""Operations of weights and of shapes, which depend on activity in no other way."""

ADDITIONS = {"Add", "AddV2", "BiasAdd", "Sub"}

ELEMENTWISE = frozenset(
    """
    Abs Add AddV2 Elu Erf Exp LeakyRelu Log Log1p Maximum Minimum Mul Neg Pow RealDiv Reciprocal
    Relu Relu6 Rsqrt SelectV2 Selu Sigmoid Softplus Softsign Sqrt Square Sub Tanh
    """.split()
)
"""Operations of which each entry depends on the same entry of their inputs."""


def _matrix_inputs(operation: tf.Operation, kernel: int) -> int:
    """Counts the inputs of an output unit of a matrix product."""
    names = ("transpose_a", "transpose_b") if operation.type == "MatMul" else ("adj_x", "adj_y")
    is_transposed = operation.get_attr(names[kernel])
    axis = -2 if (kernel == 1) != is_transposed else -1
    return operation.inputs[kernel].shape[axis]


def _einsum_inputs(operation: tf.Operation, kernel: int) -> int:
    operands, output = operation.get_attr("equation").decode().split("->")
    indices = operands.split(",")[kernel].replace("...", "")
    shape = operation.inputs[kernel].shape[-len(indices) :] if indices else []
    return math.prod(size for i, size in zip(indices, shape, strict=True) if i not in output)


def _convolution_inputs(operation: tf.Operation, kernel: int) -> int:
    return math.prod(operation.inputs[kernel].shape[:-1])


def _depthwise_inputs(operation: tf.Operation, kernel: int) -> int:
    return math.prod(operation.inputs[kernel].shape[:-2])


def _transposed_inputs(operation: tf.Operation, kernel: int) -> int:
    shape = operation.inputs[kernel].shape
    return math.prod(shape) // shape[-2]


CONTRACTIONS: Mapping[str, Callable[[tf.Operation, int], int]] = {
    "BatchMatMulV2": _matrix_inputs,
    "BatchMatMulV3": _matrix_inputs,
    "Conv2D": _convolution_inputs,
    "Conv2DBackpropInput": _transposed_inputs,
    "Conv3D": _convolution_inputs,
    "Conv3DBackpropInputV2": _transposed_inputs,
    "DepthwiseConv2dNative": _depthwise_inputs,
    "Einsum": _einsum_inputs,
    "MatMul": _matrix_inputs,
}
"""Contractions, with how many inputs an output unit has, by the place of the kernel."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a tensor depends on.

    Attributes:
        is_activity: Whether it depends on the network's inputs, on what a map puts out or on
            chance: anything but weights and constants. The weights it depends on beside are then
            those of maps.
        carries: Whether deltas come back to it.
        weights: Names of the placeholders of the weights that it is made of; none of activity.
        is_linear: Whether it is linear in them.
    """

    is_activity: bool = False
    carries: bool = False
    weights: frozenset[str] = frozenset()
    is_linear: bool = True


class Origins:
    """The origin of every tensor of a graph.

    Args:
        weights: Variables that may be kernels, by the names of the placeholders for them.
        states: Names of the placeholders of other variables.
    """

    def __init__(self, weights: Mapping[str, keras.Variable], states: set[str]):
        self._weights = weights
        self._states = states
        self._found: dict[str, Origin] = {}

    def set_activity(self, tensor: tf.Tensor) -> None:
        """Says that a tensor is an input of the network, or what a map puts out."""
        self._found[tensor.name] = Origin(True, tensor.dtype.is_floating)

    def __getitem__(self, tensor: tf.Tensor) -> Origin:
        pending = [tensor]
        while pending:
            tensor = pending[-1]
            missing = [x for x in tensor.op.inputs if x.name not in self._found]
            if tensor.name in self._found or not missing:
                pending.pop()
            if tensor.name not in self._found and not missing:
                self._found[tensor.name] = self._find(tensor)
            pending += missing
        return self._found[tensor.name]

    def _find(self, tensor: tf.Tensor) -> Origin:
        operation, name = tensor.op, tensor.name
        if name in self._weights:
            return Origin(weights=frozenset([name]))
        if name in self._states:
            return Origin(is_activity=True)
        inputs = [self[x] for x in operation.inputs]
        is_random = operation.op_def.is_stateful and operation.type != "Placeholder"
        if is_random or any(x.is_activity for x in inputs):
            is_value = tensor.dtype.is_floating and operation.type not in _SHAPES
            return Origin(True, is_value and any(x.carries or x.weights for x in inputs))
        weights = frozenset[str]().union(*(x.weights for x in inputs))
        if operation.type in _SHAPES:
            return Origin()
        is_linear = len(weights) <= 1 and all(x.is_linear for x in inputs)
        return Origin(weights=weights, is_linear=is_linear and self._keeps(operation))

    def _keeps(self, operation: tf.Operation) -> bool:
        """Returns whether an operation is linear in those of its inputs that are weights."""
        made_of = [bool(self[x].weights) for x in operation.inputs]
        if not any(made_of):
            return True
        if operation.type in _BILINEAR:
            return sum(made_of) == 1
        if operation.type == "Split":
            return made_of == [False, True]
        return operation.type in _LINEAR and made_of[0] and not any(made_of[1:])

    def kernel(self, operation: tf.Operation) -> tuple[tf.Tensor, int] | None:
        """Returns where an operation contracts a kernel with activity.

        Args:
            operation: An operation whose value is activity.

        Returns:
            The activity and the place of the kernel among the inputs; None if it is not such a
            contraction, so that it is local.

        Raises:
            UnknownUse: If it is neither: no rule would have a meaning.
        """
        inputs = list(operation.inputs)
        made_of = [place for place, x in enumerate(inputs) if self[x].weights]
        learned = self._learned(operation, made_of)
        if operation.type not in CONTRACTIONS:
            is_shaped = operation.type in _RESHAPED and made_of == [0]
            if learned and operation.type not in _LOCAL and not is_shaped:
                raise UnknownUse(
                    f"it uses its variable {learned!r} in the operation {operation.type}, of which "
                    "it is not known whether the variable is a kernel there"
                )
            return None
        # What carries no delta is activity for the kernel that learns from it alone.
        activity = [
            x
            for x in inputs
            if self[x].carries or (learned and self[x].is_activity and x.dtype.is_floating)
        ]
        if not made_of or not activity:
            return None
        if len(made_of) == 1 and self[inputs[made_of[0]]].is_linear:
            return activity[0], made_of[0]
        if learned:
            raise UnknownUse(
                f"it passes its variable {learned!r} through something not linear before it is "
                "contracted with activity, so that no feedback weights can stand in for it"
            )
        return None

    def _learned(self, operation: tf.Operation, places: list[int]) -> str | None:
        """Returns the path of a trainable variable among some inputs, if there is one."""
        names = {name for place in places for name in self[operation.inputs[place]].weights}
        paths = (
            self._weights[name].path for name in sorted(names) if self._weights[name].trainable
        )
        return next(paths, None)
