"""Replaying: operations of a traced TensorFlow graph as functions of tensors, run again anywhere.

A replayed operation is the operation itself, in eager execution or in another graph, so that tapes
and forward accumulators record it as they record the code that it was traced from.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

Known = dict[str, Any]
"""Tensors by the names that they have in the traced graph."""

Step = Callable[[Known], Any]


class Replayer:
    """Makes functions of the operations of a graph.

    Args:
        traced: The function whose trace made the graph, as `tf.compat.v1.wrap_function` returns it.
        variables: Variables by the names of the placeholders that stand for them.
    """

    def __init__(self, traced: Any, variables: Mapping[str, keras.Variable]):
        self._traced = traced
        self._variables = dict(variables)
        self._captured = {inner.name: outer for outer, inner in traced.graph.captures}

    def function(
        self, inputs: Sequence[str], operations: Sequence[tf.Operation], outputs: Sequence[str]
    ) -> Callable[..., list[tf.Tensor]]:
        """Returns a function of tensors that runs operations again.

        Variables are read when it is called.

        Args:
            inputs: Names of the tensors that it takes.
            operations: What it runs, in order.
            outputs: Names of the tensors that it returns.
        """
        given = set(inputs)
        steps = [
            ([output.name for output in operation.outputs], self._step(operation))
            for operation in operations
            if not given.issuperset(output.name for output in operation.outputs)
        ]

        def replay(*tensors: tf.Tensor) -> list[tf.Tensor]:
            known: Known = dict(zip(inputs, tensors, strict=True))
            for names, step in steps:
                known.update(zip(names, tf.nest.flatten(step(known)), strict=True))
            return [known[name] for name in outputs]

        return replay

    def _step(self, operation: tf.Operation) -> Step:
        """Returns a function that runs an operation on tensors that it finds by their names."""
        names = [tensor.name for tensor in operation.inputs]
        if operation.type == "Const":
            value = tf.make_ndarray(operation.get_attr("value"))
            return lambda known: tf.constant(value)
        if operation.type == "Placeholder":
            return self._read(operation.outputs[0].name)
        if _has_own_gradient(operation):
            return self._own_gradient(operation)
        raw = getattr(tf.raw_ops, operation.type, None)
        if raw is None or _holds_functions(operation):
            run = self._traced.prune(list(operation.inputs), list(operation.outputs))
            return lambda known: run(*(known[name] for name in names))
        arguments = _arguments(operation, raw)
        return lambda known: raw(**arguments([known[name] for name in names]))

    def _read(self, name: str) -> Step:
        if name in self._variables:
            variable = self._variables[name]
            return lambda known: tf.convert_to_tensor(variable.value)
        captured = self._captured[name]
        return lambda known: captured

    def _own_gradient(self, operation: tf.Operation) -> Step:
        """Returns a function that runs what `tf.custom_gradient` makes, with that gradient.

        Its gradient is a closure over tensors of the traced graph, so it is written there.
        """
        names = [tensor.name for tensor in operation.inputs]
        with self._traced.graph.as_default():
            deltas = [
                tf.compat.v1.placeholder(output.dtype, output.shape) for output in operation.outputs
            ]
            gradients = tf.gradients(
                operation.outputs, operation.inputs, deltas, stop_gradients=operation.inputs
            )
        reached = [gradient for gradient in gradients if gradient is not None]
        taken = names + [delta.name for delta in deltas]
        pull_back = self.function(
            taken, sources(reached, taken), [gradient.name for gradient in reached]
        )

        @tf.custom_gradient
        def run(*tensors: tf.Tensor) -> tuple[Any, Callable]:
            def gradient(*deltas: tf.Tensor) -> list[tf.Tensor | None]:
                pulled = iter(pull_back(*tensors, *deltas))
                return [None if g is None else next(pulled) for g in gradients]

            return [tf.identity(tensor) for tensor in tensors], gradient

        return lambda known: run(*(known[name] for name in names))


def sources(tensors: Sequence[tf.Tensor], given: Sequence[str] = ()) -> list[tf.Operation]:
    """Returns the operations that make tensors, each behind those that it needs.

    Args:
        tensors: The tensors.
        given: Names of tensors that need not be made.
    """
    found: dict[str, tf.Operation] = {}
    pending = [(tensor.op, False) for tensor in tensors if tensor.name not in given]
    while pending:
        operation, is_ready = pending.pop()
        if is_ready:
            found[operation.name] = operation
        elif operation.name not in found:
            pending.append((operation, True))
            pending += [(x.op, False) for x in operation.inputs if x.name not in given]
    return list(found.values())


def _has_own_gradient(operation: tf.Operation) -> bool:
    """Returns whether user code gave an operation a gradient, by `tf.custom_gradient`."""
    return operation.type == "IdentityN" and any(
        attribute == "_gradient_op_type" for attribute in operation.node_def.attr
    )


def _holds_functions(operation: tf.Operation) -> bool:
    """Returns whether an operation is a loop, a branch or a call, whose gradient is its graph's."""
    return any("func" in attribute.type for attribute in operation.op_def.attr)


def _arguments(operation: tf.Operation, raw: Callable) -> Callable[[list[tf.Tensor]], dict]:
    """Returns a function that gives the inputs of an operation the names that Python gives them."""
    inputs = operation.op_def.input_arg
    inferred = {name for x in inputs for name in (x.type_attr, x.number_attr, x.type_list_attr)}
    attributes = [a.name for a in operation.op_def.attr if a.name not in inferred]
    # Inputs come first, in their order; some names differ from those in the definition.
    parameters = [name for name in inspect.signature(raw).parameters if name != "name"]
    names, others = parameters[: len(inputs)], parameters[len(inputs) :]
    renamed = iter(name for name in others if name not in attributes)
    options = {
        name if name in others else next(renamed): operation.get_attr(name) for name in attributes
    }
    lengths = [_length(operation, x) for x in inputs]

    def arguments(tensors: list[tf.Tensor]) -> dict[str, Any]:
        left = iter(tensors)
        return options | {
            name: next(left) if length is None else [next(left) for _ in range(length)]
            for name, length in zip(names, lengths, strict=True)
        }

    return arguments


def _length(operation: tf.Operation, argument: Any) -> int | None:
    """Returns how many tensors an input of an operation is a list of; None if it is no list."""
    if argument.number_attr:
        return operation.get_attr(argument.number_attr)
    if argument.type_list_attr:
        return len(operation.get_attr(argument.type_list_attr))
    return None
