"""The command `wna_tf`, which `python main.py` is in a checkout.

It is no part of the package `wna_tf`: it must quiet TensorFlow before that is imported.
"""

import gc

from wna_tf_command.terminal import interruptible, quiet

with interruptible("nothing was begun"), quiet():
    from wna_tf_command.cli import main

# What imports made stays: a collection, of which there is one a network, would look at all of it.
gc.freeze()

__all__ = ["main"]
