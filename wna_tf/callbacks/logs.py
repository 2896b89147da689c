"""What a callback looks at when it hears of a batch."""

from collections.abc import Callable

import keras

_MOMENTS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")


def looks_at_logs_alone(method: Callable) -> Callable:
    """Marks a method that hears of training batches, and looks at nothing but their logs.

    It may hear of a batch when others behind it were trained on, see `resume.fit`.
    """
    method.looks_at_logs_alone = True  # type: ignore[attr-defined]
    return method


def may_hear_late(callback: keras.callbacks.Callback) -> bool:
    """Returns whether each method of a callback that hears of training batches is marked so."""
    methods = [(getattr(type(callback), name), name) for name in _MOMENTS]
    return all(
        method is getattr(keras.callbacks.Callback, name)
        or getattr(method, "looks_at_logs_alone", False)
        for method, name in methods
    )
