"""Quantities that learning conserves."""

import dataclasses

import keras
import tensorflow as tf

from wna_tf import measures
from wna_tf.callbacks.diagnostic import Diagnostic, compile_graph
from wna_tf.credit import reverse_mode
from wna_tf.feedback import Current
from wna_tf.graph.forward_pass import Weights


class Conservation(Diagnostic):
    """How far the quantities that learning conserves have drifted since initialization.

    Column `conservation/<map>_to_<next map>`: the change of `measures.conserved_quantity`, for
    each pair of consecutive affine maps whose rule carries deltas back from the one to the other.
    It is measured from the initial weights, so it is 0 before the first step. It stays of the
    order of the learning rate for `backprop`, `align_prop` and `feedback_alignment`, in networks
    of ReLU or linear blocks without biases and normalization trained by SGD; elsewhere it shows
    how far learning is from that. Feedback weights count as constant: those of `kolen_pollack`
    are not.

    Costs one pass over the weights an epoch.
    """

    columns = ("conservation",)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._graph = compile_graph(self._measure)

    def measure(self) -> dict[str, tf.Tensor]:
        return self._graph()

    def _measure(self) -> dict[str, tf.Tensor]:
        program, feedback = self.model.program, self.model.rule.feedback
        names, moment = program.affine_names, self.model.moment()

        def quantities(weights: Weights) -> dict[str, tf.Tensor]:
            then = dataclasses.replace(moment, current=weights)
            carriers = reverse_mode.carriers(feedback, then, self.model.trained)
            return {
                f"conservation/{names[lower]}_to_{names[upper]}": measures.conserved_quantity(
                    weights[id(lower.kernel)],
                    weights[id(upper.kernel)],
                    None if isinstance(feedback, Current) else carriers[upper],
                )
                for lower, upper in program.consecutive_affine_maps
                if carriers.get(upper) is not None
            }

        before, now = quantities(moment.initial), quantities(moment.current)
        return {name: value - before[name] for name, value in now.items()}
