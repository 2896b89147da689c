"""The kernel of two blocks of examples, by a graph that is written once for their shapes."""

import abc
import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from wna_tf.ntk import contraction, ends
from wna_tf.ntk.ends import End, Received, Uses

FORMS = ("full", "trace", "diagonal")

Ends = Callable[[list[tf.Tensor], list[tf.Tensor] | None], tuple[End, End]]


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel(abc.ABC):
    """The kernel of two ends.

    Attributes:
        ends: Returns the ends on two blocks of inputs, [examples, ...] each; the second block is
            None if it is the first.
        form: One of `FORMS`.
    """

    ends: Ends
    form: str

    @functools.cached_property
    def compute(self) -> Callable[..., tf.Tensor]:
        """Returns the kernel of two blocks in its form, see `empirical_ntk`."""
        return tf.function(self._compute, autograph=False)

    @abc.abstractmethod
    def _compute(self, x1: list[tf.Tensor], x2: list[tf.Tensor] | None) -> tf.Tensor: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Products(Kernel):
    """The kernel of two ends whose examples do not depend on each other: products of their factors.

    Attributes:
        outputs_at_a_time: For how many outputs errors are carried back at once, if not for all.
        entries: How many numbers an intermediate result may have.
    """

    outputs_at_a_time: int
    entries: int

    def _compute(self, x1: list[tf.Tensor], x2: list[tf.Tensor] | None) -> tf.Tensor:
        first, second = self.ends(x1, x2)
        outputs = ends.size(first.output)
        if self.form == "full":
            numbers = tf.range(outputs)
            product = self._multiply(*self._receive(first, second, numbers), merged=False)
            return tf.transpose(product, [1, 0, 3, 2])
        each = self._of_chunks(first, second, outputs)
        if self.form == "trace":
            return tf.reduce_sum(each, 0) / outputs
        return tf.transpose(each, [1, 2, 0])

    def _of_chunks(self, first: End, second: End, outputs: int) -> tf.Tensor:
        """Returns the sums over some outputs after others, [chunks, examples1, examples2]."""
        at_a_time = 1 if self.form == "diagonal" else min(outputs, self.outputs_at_a_time)

        def of_chunk(begin: tf.Tensor | int) -> tf.Tensor:
            numbers = tf.range(at_a_time) + begin  # None is 1 at those that are not there.
            return self._multiply(*self._receive(first, second, numbers), merged=True)[0, :, 0]

        if at_a_time == outputs:
            return of_chunk(0)[tf.newaxis]
        dtype = first.output.dtype
        begins = tf.range(0, outputs, at_a_time)
        return tf.map_fn(of_chunk, begins, fn_output_signature=dtype, parallel_iterations=1)

    def _receive(self, first: End, second: End, numbers: tf.Tensor) -> tuple[Received, Received]:
        """Returns what arrives at both ends for the errors that are 1 at an output each."""
        one = first.receive(ends.one_hots(first.output, numbers))
        return one, one if second is first else second.receive(
            ends.one_hots(second.output, numbers)
        )

    def _multiply(self, first: Received, second: Received, merged: bool) -> tf.Tensor:
        """Returns `K[c, n, k, m]`, the sum over variables; merged outputs are summed, as if one."""
        total = None
        for key in first.end.trained:
            uses = first.uses(key), second.uses(key)
            if not all(uses):
                continue
            with tf.control_dependencies([] if total is None else [total]):  # Memory for one.
                part = self._of_variable(first, second, *uses, merged)
            total = part if total is None else total + part
        if total is None:
            raise ValueError(
                "Expected weights of a kernel, which are trained and which the output depends on. "
                "Received: none"
            )
        return total

    def _of_variable(
        self, first: Received, second: Received, uses: Uses, others: Uses, merged: bool
    ) -> tf.Tensor:
        pairs = [(first, uses)] if second is first else [(first, uses), (second, others)]
        if all(ends.is_product(step) for _, some in pairs for step, _ in some):
            factors = [side.factors(some) for side, some in pairs]
            if merged:
                factors = [contraction.merge(each) for each in factors]
            return contraction.contract(factors[0], factors[-1], self.entries)
        jacobians = [side.jacobian(some) for side, some in pairs]
        if merged:
            jacobians = [tf.transpose(each, [1, 0, 2])[tf.newaxis] for each in jacobians]
            jacobians = [tf.reshape(each, [*each.shape[:2], -1]) for each in jacobians]
        return tf.einsum("cnp,kmp->cnkm", jacobians[0], jacobians[-1])


@dataclasses.dataclass(frozen=True, eq=False)
class Columns(Kernel):
    """The kernel of two ends whose examples depend on each other, by statistics of their batch.

    A walk back for each output of each example of the second, and a tangent pushed forward after
    it: no Jacobian is made.
    """

    def _compute(self, x1: list[tf.Tensor], x2: list[tf.Tensor] | None) -> tf.Tensor:
        first, second = self.ends(x1, x2)
        examples, outputs = second.output.shape[0], ends.size(second.output)

        def column(number: tf.Tensor) -> tf.Tensor:
            flat = tf.one_hot(number, examples * outputs, dtype=second.output.dtype)
            update = second.update(tf.reshape(flat, second.output.shape))
            return tf.reshape(first.push(update), [-1, outputs])

        numbers, dtype = tf.range(examples * outputs), first.output.dtype
        columns = tf.map_fn(column, numbers, fn_output_signature=dtype, parallel_iterations=1)
        kernel = tf.transpose(columns, [1, 2, 0])
        kernel = tf.reshape(kernel, [-1, outputs, examples, outputs])
        if self.form == "full":
            return kernel
        diagonal = tf.einsum("ncmc->nmc", kernel)
        return diagonal if self.form == "diagonal" else tf.reduce_mean(diagonal, -1)
