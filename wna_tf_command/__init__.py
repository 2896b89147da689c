"""The command `wna_tf`, which `python main.py` is in a checkout.

It is no part of the package `wna_tf`: it must quiet TensorFlow before that is imported.
"""

from wna_tf_command.terminal import interruptible, quiet

with interruptible("nothing was begun"), quiet():
    from wna_tf_command.cli import main

__all__ = ["main"]
