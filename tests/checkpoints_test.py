"""Checkpoints: round trips, every kind of damage, and what is kept."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wna_tf.experiments import checkpoints
from wna_tf.experiments.checkpoints import Checkpoint, Checkpoints, read, write

RUN = {"config": {"width": 8, "rate": 0.1, "strides": (1, 2)}}
ARRAYS = {"learner": [np.arange(6.0).reshape(2, 3), np.float32(3)], "optimizer": [], "metrics": []}
some_arrays = st.lists(
    hnp.arrays(
        st.sampled_from(["float32", "float64", "int64", "bool", "bfloat16"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        elements=st.sampled_from([0, 1]),
    ),
    max_size=3,
)
in_one_directory = settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@in_one_directory
@given(st.integers(0, 2**62), st.dictionaries(st.text(max_size=3), some_arrays, max_size=3))
def test_what_is_read_is_what_was_written(tmp_path, step, arrays):
    plain = [None, {"rows": [{"loss": 0.1, "accuracy": np.inf}]}]
    write(tmp_path / "file", RUN, Checkpoint(step, arrays, plain))
    again = read(tmp_path / "file", RUN)
    assert (again.step, again.plain) == (step, plain)
    assert again.arrays.keys() == arrays.keys()
    for name, values in arrays.items():
        assert len(values) == len(again.arrays[name])
        for value, found in zip(values, again.arrays[name], strict=True):
            assert (found.dtype, found.shape) == (value.dtype, value.shape)
            assert found.tobytes() == value.tobytes()


def test_numbers_are_the_same_bits(tmp_path):
    values = np.array([np.nan, -0.0, 5e-324, np.inf, 0.1])
    rows = [{"loss": float(value)} for value in values[1:]]
    write(tmp_path / "file", RUN, Checkpoint(1, {"a": [values, values.astype("bfloat16")]}, rows))
    again = read(tmp_path / "file", RUN)
    assert again.arrays["a"][0].tobytes() == values.tobytes()
    assert again.arrays["a"][1].dtype == tf.bfloat16.as_numpy_dtype
    assert repr(again.plain) == repr(rows)


@in_one_directory
@given(st.data())
def test_any_damage_is_found(tmp_path, draws):
    path = tmp_path / "file"
    write(path, RUN, Checkpoint(7, ARRAYS))
    content = bytearray(path.read_bytes())
    at = draws.draw(st.integers(0, len(content) - 1), "at")
    kind = draws.draw(st.sampled_from(["truncated", "flipped", "zeroed", "longer"]), "kind")
    if kind == "truncated":
        del content[at:]
    elif kind == "flipped":
        content[at] ^= 1 << draws.draw(st.integers(0, 7), "bit")
    elif kind == "zeroed":
        content[at:] = bytes(len(content) - at)
        content[-1] = 255  # A file may end with zeros of its own.
    else:
        content += b"\0"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected a .*Received: .*file"):
        read(path, RUN)


def test_another_run_and_another_format_are_refused_by_name(tmp_path):
    path = tmp_path / "file"
    write(path, RUN | {"callbacks": []}, Checkpoint(7, ARRAYS))
    with pytest.raises(ValueError, match=r"of other callbacks, config$"):
        read(path, {"config": RUN["config"] | {"width": 9}})
    path.write_bytes(path.read_bytes().replace(b"checkpoint 1", b"checkpoint 2", 1))
    with pytest.raises(ValueError, match="begins with 'wna_tf checkpoint 1'"):
        read(path, RUN)


def test_a_file_without_an_environment_is_read(tmp_path, monkeypatch):
    dumps = checkpoints.json.dumps

    def older(head, **options):
        return dumps({key: head[key] for key in head if key != "environment"}, **options)

    written = Checkpoint(7, ARRAYS, ["plain"], {"intra_op_threads": 2})
    write(tmp_path / "file", RUN, written)
    assert read(tmp_path / "file", RUN).environment == {"intra_op_threads": 2}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.json, "dumps", older)
        write(tmp_path / "file", RUN, written)
    again = read(tmp_path / "file", RUN)
    assert (again.step, again.plain, again.environment) == (7, ["plain"], {})


def names(directory):
    return sorted(int(path.name.removeprefix("step-")) for path in directory.iterdir())


def test_the_newest_two_are_kept_and_the_newest_whole_one_is_read(tmp_path, caplog):
    kept = Checkpoints(tmp_path / "checkpoints", RUN)
    assert kept.newest() is None and not caplog.text
    for step in (2, 9, 10, 100):
        kept.write(Checkpoint(step, ARRAYS))
    assert names(kept.directory) == [10, 100]
    assert kept.newest().step == 100 and not caplog.text

    newest = kept.directory / "step-000000000100"
    newest.write_bytes(newest.read_bytes()[:-1])
    (kept.directory / ".1-step-000000000110").touch()  # A process was killed in a write.
    assert kept.newest().step == 10
    (line,) = caplog.messages
    assert str(newest) in line and "\n" not in line

    # Training goes on from 10: what is damaged does not push out what is whole.
    kept.write(Checkpoint(20, ARRAYS))
    assert {path.name for path in kept.directory.glob("step-*")} == {
        "step-000000000010",
        "step-000000000020",
    }


def test_without_a_usable_one_training_begins_at_the_beginning(tmp_path, caplog):
    Checkpoints(tmp_path, {"config": 1}).write(Checkpoint(5, ARRAYS))
    (tmp_path / "step-000000000003").touch()
    assert Checkpoints(tmp_path, RUN).newest() is None
    assert len(caplog.messages) == 3
    assert "from the beginning" in caplog.messages[-1]
