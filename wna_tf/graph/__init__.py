"""A Keras network as a program of maps, and nothing of learning rules.

`tracing` writes a network as a `program` of `maps`, whose kinds are in `operators`; `forward_pass`
evaluates it at given weights, and `jvp` pushes tangents through it and transposes that. What a
layer is made of stands in `keras_layers`, and for layers of your own in what you give to
`registry.register_layer`.
"""
