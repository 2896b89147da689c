"""Seconds and memory of the empirical tangent kernel, against other ways to compute it.

    python -m benchmarks.kernels --neural_tangents build/neural_tangents

The full kernel [examples, outputs, examples, outputs] of convolutional networks of three blocks
(strides 1, 2, 2, without normalization, 10 outputs), in float32: by `wna_tf.ntk.empirical_ntk`, by
full Jacobians of `tf.GradientTape.jacobian` in a graph, and by neural-tangents, where its directory
is named: an environment of its own is made there, since it needs an old JAX. Each in a process of
its own. Columns: median seconds of a kernel when everything is compiled, seconds of the first, and
MB at the peak beside those after the import.
"""

import argparse
import itertools
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

ROUNDS = 5
STRIDES = (1, 2, 2)
OUTPUTS = 10
SHAPES = {"16x16x1": (16, 16, 1), "32x32x3": (32, 32, 3)}
PINNED = ("neural-tangents==0.6.5", "jax==0.4.20", "jaxlib==0.4.20", "numpy<2", "scipy<1.14")
_MOST = 2e9  # Bytes of full Jacobians, beyond which they are left out.


def child(way: str, shape: str, width: int, examples: int) -> None:
    """Computes a kernel some times, and prints what it took."""
    make = {
        "wna_tf": _ours,
        "GradientTape.jacobian": _by_jacobians,
        "neural-tangents": _by_neural_tangents,
    }[way]
    kernel = make(SHAPES[shape], width, examples)
    before, seconds = _peak(), []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        kernel()
        seconds.append(time.perf_counter() - start)
    print(json.dumps([statistics.median(seconds[1:]), seconds[0], _peak() - before]))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # MB


def _network(shape: tuple[int, ...], width: int, examples: int) -> tuple[Any, Any]:
    import numpy as np

    import wna_tf

    network = wna_tf.models.cnn(shape, OUTPUTS, width, STRIDES, normalize=False)
    return network, np.random.default_rng(0).normal(size=(examples, *shape)).astype("float32")


def _ours(*case: Any) -> Callable[[], Any]:
    from wna_tf import ntk

    network, x = _network(*case)
    return lambda: ntk.empirical_ntk(network, x, max_gigabytes=4.0)


def _by_jacobians(*case: Any) -> Callable[[], Any]:
    import tensorflow as tf

    network, x = _network(*case)

    @tf.function
    def kernel() -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = tf.reshape(network(x), [-1])
        size = outputs.shape[0]
        jacobians = tape.jacobian(outputs, network.trainable_variables)
        flat = [tf.reshape(jacobian, [size, -1]) for jacobian in jacobians]
        return tf.add_n([tf.matmul(each, each, transpose_b=True) for each in flat])

    return lambda: kernel().numpy()


def _by_neural_tangents(shape: tuple[int, ...], width: int, examples: int) -> Callable[[], Any]:
    import jax
    import neural_tangents as nt
    from neural_tangents import stax

    layers = [
        layer
        for stride in STRIDES
        for layer in (stax.Conv(width, (3, 3), (stride, stride), "SAME", b_std=1.0), stax.Relu())
    ]
    layers += [stax.GlobalAvgPool(), stax.Dense(OUTPUTS, b_std=1.0)]
    initialize, apply, _ = stax.serial(*layers)
    _, weights = initialize(jax.random.PRNGKey(0), (1, *shape))
    x = jax.random.normal(jax.random.PRNGKey(1), (examples, *shape))
    # The cheapest by its own count of operations, as with every example for itself.
    implementation = nt.NtkImplementation.AUTO
    kernel = nt.empirical_ntk_fn(apply, trace_axes=(), vmap_axes=0, implementation=implementation)
    compiled = jax.jit(kernel, static_argnums=(1,))
    return lambda: compiled(x, None, weights).block_until_ready()


def make_environment(directory: pathlib.Path) -> pathlib.Path:
    """Returns the Python of an environment with neural-tangents, which is made if it is not there.

    Args:
        directory: Its directory.
    """
    python = directory / "bin" / "python"
    if not (directory / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PINNED], check=True)
        (directory / "ready").touch()
    return python


def measure(way: str, python: str, shape: str, width: int, examples: int) -> dict[str, Any]:
    """Returns the row of one way.

    Args:
        way: Its name.
        python: The Python that has what it needs.
        shape: One of `SHAPES`.
        width: Channels of every block.
        examples: Images on both sides.
    """
    code = f"import kernels; kernels.child({way!r}, {shape!r}, {width}, {examples})"
    place = pathlib.Path(__file__).parent
    # This file alone is imported, which an environment without TensorFlow can.
    setup = f"import sys; sys.path[:0] = [{str(place)!r}, {str(place.parent)!r}]; "
    done = subprocess.run([python, "-c", setup + code], capture_output=True, text=True)
    row = {"image": shape, "width": width, "examples": examples, "way": way}
    if done.returncode:
        is_memory = done.returncode < 0 or "OOM" in done.stderr
        return row | {"seconds": "out of memory" if is_memory else "failed", "first": "", "MB": ""}
    seconds, first, megabytes = json.loads(done.stdout.splitlines()[-1])
    return row | {
        "seconds": float(f"{seconds:.3g}"),
        "first": round(first, 1),
        "MB": round(megabytes),
    }


def main() -> None:
    from benchmarks import cases

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--widths", type=int, nargs="+", default=[24, 64, 256])
    parser.add_argument("--examples", type=int, nargs="+", default=[12, 40, 100])
    parser.add_argument(
        "--neural_tangents", type=pathlib.Path, help="directory of its environment, to be made"
    )
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    ways = {"wna_tf": sys.executable, "GradientTape.jacobian": sys.executable}
    if options.neural_tangents:
        ways["neural-tangents"] = str(make_environment(options.neural_tangents.absolute()))
    rows = []
    for shape, width, examples in itertools.product(
        options.images, options.widths, options.examples
    ):
        parameters = 9 * (SHAPES[shape][-1] + 2 * width) * width
        for way, python in ways.items():
            too_large = 4 * parameters * examples * OUTPUTS > _MOST
            if not (way == "GradientTape.jacobian" and too_large):
                rows.append(measure(way, python, shape, width, examples))
    cases.write(rows, options.json)


if __name__ == "__main__":
    main()
