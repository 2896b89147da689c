"""Updates of the learning rules for any Keras network, by its ops alone.

The feedback, the derivative and the activity of a rule are what the rules' table says, of the
initial network or the current one; nothing is known of layers, but that a normalization is one map.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from tests.network_ops import Run

CURRENT = ("backprop", "align_prop", "feedback_alignment", "kolen_pollack", "sign_symmetry")


class Feedback(dict):
    """Feedback weights of variables, by the variables' `id`; `sign`: to be scaled by fan-in."""

    sign = False


def assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Oracle:
    """What the rules have to do with a network.

    Args:
        network: Compiled Keras model, at its initial weights. It is not the learner's.
        initial: Values of the trainable variables of the frozen network, now if None.
    """

    def __init__(self, network, initial=None):
        self.network = network
        self.variables = network.trainable_variables
        self.initial = [v.numpy() for v in self.variables] if initial is None else initial

    @contextlib.contextmanager
    def at(self, values):
        """Sets the weights inside, and what a step leaves behind back."""
        before = [v.numpy() for v in self.network.variables]
        assign(self.variables, values)
        try:
            yield
        finally:
            assign(self.network.variables, before)

    def _forward(self, run, x):
        """Returns outputs of the network at its weights now, and the tape of them."""
        with contextlib.ExitStack() as stack:
            tape = stack.enter_context(tf.GradientTape(persistent=True))
            stack.enter_context(contextlib.nullcontext() if run is None else run.watching())
            return self.network(x, training=True), tape

    def error(self, current, x, y, sample_weight=None):
        """Returns dL/df at the outputs of the current network."""
        with self.at(current):
            f = self.network(x, training=True)
            with tf.GradientTape() as tape:
                for output in tf.nest.flatten(f):
                    tape.watch(output)
                loss = self.network.compute_loss(x, y, f, sample_weight, training=True)
            return tape.gradient(loss, f)

    def gradient(self, current, x, y, sample_weight=None):
        """Returns what plain Keras training computes."""
        with self.at(current):
            with tf.GradientTape() as tape:
                f = self.network(x, training=True)
                loss = self.network.compute_loss(x, y, f, sample_weight, training=True)
            return self._numpy(tape.gradient(loss, self._values(), unconnected_gradients="zero"))

    def kernels(self, x):
        """Returns the variables that the network contracts with activity, as it comes to them."""
        run = Run(self.network)
        with self.at(self.initial):
            self._forward(run, x)
        return run.kernels

    def updates(self, rule, current, x, y, sample_weight=None, feedback=()):
        """Returns a rule's update directions of the trainable variables, as arrays.

        Args:
            rule: Its name.
            current: Values of the trainable variables.
            x: Inputs.
            y: Targets.
            sample_weight: As Keras's own.
            feedback: Values of the feedback weights of the rules that have some, one for each
                of `kernels`.
        """
        e = self.error(current, x, y, sample_weight)
        if rule == "align_zero":
            with self.at(self.initial):
                return self._transposed(None, x, e)
        if rule == "align_ada":
            return self._align_ada(current, x, e)
        assert rule in CURRENT, rule
        carriers = Feedback()
        carriers.sign = rule == "sign_symmetry"
        values = {
            "backprop": lambda: (self.variables, current),
            "align_prop": lambda: (self.variables, self.initial),
            "sign_symmetry": lambda: (self.variables, map(np.sign, current)),
        }.get(rule, lambda: (self.kernels(x), feedback))()
        if values[1] is feedback:
            shapes = [tuple(v.shape) for v in values[0]], [v.shape for v in feedback]
            assert shapes[0] == shapes[1], ([v.path for v in values[0]], *shapes)
        for variable, value in zip(*values, strict=True):
            carriers[id(variable)] = tf.convert_to_tensor(value, variable.dtype)
        with self.at(current):
            return self._transposed(Run(self.network, carriers), x, e)

    def direct(self, blocks, current, x, y, projections=None, sample_weight=None):
        """Returns the updates of direct feedback alignment, and of `readout`, in a chain.

        Args:
            blocks: Pairs of the layer behind which a block ends and the names of those of its
                layers that have weights. The last one is the last affine map.
            current: Values of the trainable variables.
            x: Inputs.
            y: Targets.
            projections: B_l of every block but the last, [*block output, classes]; None where
                only the last one learns.
            sample_weight: As Keras's own.
        """
        e = self.error(current, x, y, sample_weight)
        ends = [self.network.get_layer(end).output for end, _ in blocks]
        network = keras.Model(self.network.input, ends)
        result = {id(v): np.zeros(v.shape) for v in self.variables}
        with self.at(current), tf.GradientTape(persistent=True) as tape:
            outputs = tf.nest.flatten(network(x, training=True))
        with self.at(current):
            for index, (h, (_, names)) in enumerate(zip(outputs, blocks, strict=True)):
                if h is outputs[-1]:
                    d = e
                elif projections is None:
                    continue
                else:
                    d = tf.tensordot(e, tf.convert_to_tensor(projections[index], e.dtype), [1, -1])
                learned = [v for n in names for v in network.get_layer(n).trainable_variables]
                for variable in learned:
                    gradient = tape.gradient(h, variable.value, d)
                    result[id(variable)] = tf.convert_to_tensor(gradient).numpy()
        return [result[id(v)] for v in self.variables]

    def _values(self):
        return [v.value for v in self.variables]

    @staticmethod
    def _numpy(gradients):
        return [tf.convert_to_tensor(g).numpy() for g in gradients]

    def _transposed(self, run, x, e):
        f, tape = self._forward(run, x)
        return self._numpy(tape.gradient(f, self._values(), e, unconnected_gradients="zero"))

    def _align_ada(self, current, x, e):
        """Returns the updates by deltas of the initial network, at the current one's activity.

        What a map's weights change passes through a normalization right behind it, at the
        current network; what else reads the map's output meets the initial network's delta.
        """
        initial = Run(self.network)
        with self.at(self.initial):
            f, tape = self._forward(initial, x)

            def delta(tensors):
                return tape.gradient(f, tensors, e, unconnected_gradients="zero")

            deltas = dict(enumerate(delta([m.output for m in initial.maps])))
            others = {}  # Deltas of sources but for their normalizations' part.
            for index, m in enumerate(initial.maps):
                if m.source is not None:
                    first, total = others.get(id(m.source), (index, delta(m.source)))
                    others[id(m.source)] = first, total - delta(m.copy)
        run = Run(self.network, like=initial)
        with self.at(current):
            _, tape = self._forward(run, x)
            assert [m.op for m in run.maps] == [m.op for m in initial.maps]
            pairs = [(m.output, deltas[i]) for i, m in enumerate(run.maps) if not m.in_block]
            pairs += [(run.maps[index].source, rest) for index, rest in others.values()]
            outputs, deltas = zip(*pairs, strict=True)
            return self._numpy(
                tape.gradient(outputs, self._values(), deltas, unconnected_gradients="zero")
            )


def assert_updates(variables, actual, expected, tolerance=1e-9, name=""):
    """Compares updates variable by variable, each relative to its own norm.

    One that is zero up to rounding, a thousandth of the tolerance times the largest, must be so
    in both.
    """
    largest = max(np.linalg.norm(b) for b in expected)
    assert largest > 0, name
    wrong = []
    for variable, a, b in zip(variables, actual, expected, strict=True):
        a, size = np.asarray(tf.convert_to_tensor(a)), np.linalg.norm(b)
        difference = np.linalg.norm(a - b)
        if not difference <= tolerance * (size + 1e-3 * largest):
            wrong.append(f"{variable.path}: differs by {difference:.3g}, norm {size:.3g}")
    assert not wrong, "\n".join([name, *wrong])
