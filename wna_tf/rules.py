"""Learning rules, each a row of one table."""

import dataclasses
from typing import Any

from wna_tf import feedback as feedback_sources
from wna_tf import serialization

NETWORKS = ("current", "initial")
OUTPUTS = ("current", "linearized")


@dataclasses.dataclass(frozen=True, init=False)
class Rule:
    """A learning rule: four choices in one form.

    With `d_l = D_l^T A_{l+1}^T(d_{l+1}; V_{l+1})` the delta of block l, its update direction is
    `dW_l = d_l (outer) p_{l-1}`.

    Attributes:
        feedback: `V`, the source of the weights that carry deltas back: a name in
            `feedback.names()`, or a `Feedback`.
        derivative: `D`, the network at which the derivatives of activations and of every other
            map that is not affine are taken: `"current"`, unless said, or `"initial"`.
        activity: `p`, the network whose presynaptic activity is read: `"current"`, unless said, or
            `"initial"`.
        error: The network at whose output the error is taken, and which predicts: `"current"`, or
            `"linearized"` for `f_0 + J(theta_0) (theta_t - theta_0)`.

    Raises:
        ValueError: If a choice is unknown.
    """

    feedback: feedback_sources.Feedback
    derivative: str
    activity: str
    error: str

    def __init__(
        self,
        feedback: str | dict[str, Any] | feedback_sources.Feedback,
        derivative: str = "current",
        activity: str = "current",
        error: str = "current",
    ) -> None:
        for field, choice, known in (
            ("derivative", derivative, NETWORKS),
            ("activity", activity, NETWORKS),
            ("error", error, OUTPUTS),
        ):
            if choice not in known:
                raise ValueError(
                    f"Expected {field} to be one of {', '.join(known)}. "
                    f"Received: {field}={choice!r}"
                )
            object.__setattr__(self, field, choice)
        object.__setattr__(self, "feedback", feedback_sources.get(feedback))

    @property
    def runs_frozen(self) -> bool:
        """Whether a step evaluates the network at its initial weights."""
        return "initial" in (self.derivative, self.activity)


def _layerwise(**coefficients: Any) -> Rule:
    return Rule(feedback_sources.Layerwise(**coefficients), "current", "current")


_TABLE = serialization.Table(
    "a rule",
    "rule",
    {
        #                                 feedback  derivative  activity  (error, if not current)
        "backprop": Rule("current", "current", "current"),
        "align_zero": Rule("initial", "initial", "initial"),
        "align_ada": Rule("initial", "initial", "current"),
        "align_prop": Rule("initial", "current", "current"),
        "feedback_alignment": Rule("random", "current", "current"),
        "sign_symmetry": Rule("sign", "current", "current"),
        "sign_symmetry_fixed_magnitude": Rule("sign_magnitude", "current", "current"),
        "sign_symmetry_random_magnitude": Rule("sign_redrawn", "current", "current"),
        "kolen_pollack": Rule("mirrored", "current", "current"),
        "product_feedback_alignment": Rule("product", "current", "current"),
        "weight_mirror": Rule("weight_mirror", "current", "current"),
        "regularized_weight_mirror": _layerwise(decay=5e-3, amplification=1e-2, noise=True),
        "regularized_kolen_pollack": _layerwise(decay=5e-4, update_forward=True, mirrored=True),
        "symmetric_alignment": _layerwise(decay=5e-3, symmetry=1e-2),
        "activation_alignment": _layerwise(sparsity=1e-3, amplification=2e-3),
        "information_alignment": _layerwise(amplification=2e-3, nullity=1e-3, decay=1e-3),
        "direct_feedback_alignment": Rule("direct", "current", "current"),
        "sign_direct_feedback_alignment": Rule("direct_sign", "current", "current"),
        "direct_random_target_projection": Rule("direct_target", "current", "current"),
        "direct_kolen_pollack": Rule("direct_kolen_pollack", "current", "current"),
        "forward_direct_feedback_alignment": Rule("direct_forward", "current", "current"),
        "readout": Rule("none", "current", "current"),
        "linearized": Rule("initial", "initial", "initial", "linearized"),
    },
    key=lambda rule: repr(serialize(rule)),
)
# What they are called in print.
_TITLES = {
    "backprop": "Backpropagation",
    "align_zero": "Align-zero",
    "align_ada": "Align-ada",
    "align_prop": "Align-prop",
    "feedback_alignment": "Feedback alignment",
    "sign_symmetry": "Sign symmetry, uniform",
    "sign_symmetry_fixed_magnitude": "Sign symmetry, fixed random magnitudes",
    "sign_symmetry_random_magnitude": "Sign symmetry, magnitudes drawn anew",
    "kolen_pollack": "Kolen-Pollack",
    "product_feedback_alignment": "Product feedback alignment",
    "weight_mirror": "Weight mirror",
    "regularized_weight_mirror": "Weight mirror as a term of each layer",
    "regularized_kolen_pollack": "Kolen-Pollack as a term of each layer",
    "symmetric_alignment": "Symmetric alignment",
    "activation_alignment": "Activation alignment",
    "information_alignment": "Information alignment",
    "direct_feedback_alignment": "Direct feedback alignment",
    "sign_direct_feedback_alignment": "Sign direct feedback alignment",
    "direct_random_target_projection": "Direct random target projection",
    "direct_kolen_pollack": "Direct Kolen-Pollack",
    "forward_direct_feedback_alignment": "Forward direct feedback alignment",
    "readout": "Readout",
    "linearized": "Linearized network",
}


def names() -> tuple[str, ...]:
    """Returns the name of every rule."""
    return _TABLE.names()


def get(identifier: "str | dict | Rule") -> Rule:
    """Returns a rule.

    Args:
        identifier: A name, a `Rule`, or what `serialize` returns.

    Raises:
        ValueError: If it is none of these; the message lists the names.
    """
    if isinstance(identifier, Rule):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    return _TABLE.get(identifier)


def title(name: str) -> str:
    """Returns what a rule is called in tables and figures; a rule without a title by its name.

    Args:
        name: Its name, which may be one that is registered elsewhere.
    """
    return _TITLES.get(name, name)


def register(name: str, rule: Rule, title: str = "") -> None:
    """Adds a rule, which has its name from then on as those of the package have theirs.

    ```python
    wna_tf.rules.register("my_rule", wna_tf.Rule("random", "initial", "current"))
    ```

    Args:
        name: Its name: letters, digits, "_", "-" and ".".
        rule: The rule. A feedback source of one's own is registered before.
        title: What tables and figures call it; its name if empty.

    Raises:
        ValueError: If it is no rule, its feedback source is not registered, or the name is that
            of another rule.
    """
    if not isinstance(rule, Rule):
        raise ValueError(f"Expected a Rule to register. Received: {rule!r}")
    feedback_sources.check_registered(rule.feedback)
    _TABLE.register(name, rule)
    if title:
        _TITLES[name] = title


def serialize(rule: Rule) -> dict:
    """Returns a rule as a dict of plain values.

    Args:
        rule: The rule.
    """
    return {
        "feedback": feedback_sources.serialize(rule.feedback),
        "derivative": rule.derivative,
        "activity": rule.activity,
        "error": rule.error,
    }


def deserialize(config: dict) -> Rule:
    """Returns the rule of a dict made by `serialize`; its error may be missing.

    Args:
        config: The dict.

    Raises:
        ValueError: If the dict does not have exactly the fields of a rule.
    """
    fields = [field.name for field in dataclasses.fields(Rule)]
    if not all(isinstance(name, str) for name in config) or (
        sorted({"error": "current"} | config) != sorted(fields)
    ):
        raise ValueError(
            f"Expected a rule with the fields {', '.join(fields)}. Received: {config!r}"
        )
    return Rule(**config)
