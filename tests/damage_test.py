"""Run directories that are damaged, or another run's: one line that names the file."""

import dataclasses
import os
import pathlib
import re

import pytest

from tests.command import TINY, contents, flags_of
from wna_tf import files
from wna_tf.experiments import run_directory, training


def edit(**fields):
    def change(path):
        files.write_json(path, files.read_json(path) | fields)

    return change


def write(text):
    return lambda path: path.write_bytes(text)


def cut(lines):
    return lambda path: path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:-lines]))


def halve(path):
    os.truncate(path, path.stat().st_size - 4)  # In the last number.


DAMAGE = {
    "other_width": ("config.json", edit(width=5), "of this configuration. .*, with width=5"),
    "unknown_field": ("config.json", edit(colour=1), "fields of a configuration. .*colour in "),
    "wrong_type": ("config.json", edit(strides=5), "Received: strides=5 in "),
    "escaping_rule": ("config.json", edit(rule="../x"), r"with rule='\.\./x'"),
    "no_config": ("config.json", pathlib.Path.unlink, "finished run. Received: .* has no "),
    "half_config": ("config.json", write(b'{"rule": '), "Expected a JSON file. Received: "),
    "half_result": ("result.json", write(b'{"train_'), "Expected a JSON file. Received: "),
    "list_result": ("result.json", write(b"[1]"), "Expected a JSON object. Received: "),
    "empty_result": ("result.json", write(b"{}"), "Expected the number of epochs. Received: "),
    "text_result": ("result.json", edit(train_loss="low"), "as a run writes.*train_loss='low'"),
    "list_in_result": ("result.json", edit(validation_accuracy=[1]), r"_accuracy=\[1\]"),
    "huge_result": ("result.json", edit(seconds=10**400), "as a run writes.*seconds=1000"),
    "number_for_chance": ("result.json", edit(chance=0.1), "as a run writes.* with chance=0.1"),
    "text_chance": ("result.json", edit(chance={"accuracy": "0.1"}), "with chance={'accuracy'"),
    "deep_result": ("result.json", write(b'{"a":' + 100_000 * b"["), "Expected a JSON file. Rec"),
    "deep_config": ("config.json", write(b'{"a":' + 100_000 * b"["), "Expected a JSON file. Rec"),
    "huge_rate": ("config.json", edit(learning_rate=10**400), "as a run writes.*_rate=1000"),
    "no_history": ("history.csv", pathlib.Path.unlink, "finished run. Received: .* has no "),
    "empty_history": ("history.csv", write(b""), "a row for each epoch. Received: "),
    "text_history": ("history.csv", write(b"epoch,loss\n1,low\n"), "CSV file of numbers. Rec"),
    "short_history": ("history.csv", write(b"epoch,loss\n1\n"), "CSV file of numbers. Rec"),
    "long_history": ("history.csv", write(b"epoch\n1,2,3\n"), "CSV file of numbers. Rec"),
    "no_columns": ("history.csv", write(b"\n1,2\n"), "CSV file of numbers. Rec"),
    "no_epochs": ("history.csv", write(b"loss,seconds\n1,2\n"), "columns epoch, .* and seconds"),
    "no_seconds": ("history.csv", write(b"epoch\n1\n2\n3\n"), "columns epoch, .* and seconds"),
    "fewer_epochs": ("history.csv", cut(1), "each of 3 epochs, as result.json says. Received: "),
    "half_number": ("history.csv", halve, "whole lines. Received: "),
    "binary_history": ("history.csv", write(b"epoch\n\x00\xff\n"), "CSV file of numbers. Rec"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_is_named_and_left_as_it_is(name, runs, command):
    file, damage, message = DAMAGE[name]
    damage(runs / TINY.name / file)
    before = contents(runs / TINY.name)
    ended = command(*flags_of(TINY, runs))
    assert (ended.status, ended.out) == (2, "")
    (line,) = ended.splitlines()
    assert re.search(message, line) and file in line, line
    assert contents(runs / TINY.name) == before and contents(runs) == {TINY.name}


def test_damage_is_one_line_in_a_report_too(runs, command):
    for name, (file, damage, _) in DAMAGE.items():
        if name in ("no_config", "other_width", "unknown_field", "wrong_type", "escaping_rule"):
            continue  # A report shows what it finds.
        path = runs / TINY.name / file
        whole = path.read_bytes()
        damage(path)
        ended = command("--mode=report", f"--run_dir={runs}")
        assert (ended.status, len(ended.splitlines())) == (2, 1), name
        assert file in ended, name
        path.write_bytes(whole)


def test_damage_of_another_sweeps_run_is_told_when_this_one_is_finished(runs, command):
    other = dataclasses.replace(TINY, epochs=1)
    (runs / TINY.name / "history.csv").write_text("")
    ended = command(*flags_of(other, runs))
    (line,) = ended.splitlines()
    assert ended.status == 2 and f"Received: {runs / TINY.name / 'history.csv'}" in line
    assert line.endswith("(1 runs are finished; --mode=report reports them)")
    assert run_directory.state(runs / other.name) == "finished"


def test_an_unfinished_run_of_another_configuration_is_refused(runs, command):
    (runs / TINY.name / run_directory.RESULT).unlink()
    edit(learning_rate=3.0)(runs / TINY.name / run_directory.CONFIG)
    ended = command(*flags_of(TINY, runs))
    assert ended.status == 2 and ended.endswith(", with learning_rate=3.0\n")
    with pytest.raises(ValueError, match="Expected the run directory of this configuration"):
        training.train(TINY, runs / TINY.name)


def test_a_run_without_its_result_is_trained_again(runs, command):
    result = files.read_json(runs / TINY.name / run_directory.RESULT)
    (runs / TINY.name / run_directory.RESULT).unlink()
    assert command(*flags_of(TINY, runs)).status == 0
    again = files.read_json(runs / TINY.name / run_directory.RESULT)
    assert again | {"seconds": 0} == result | {"seconds": 0}


def test_a_run_without_its_model_is_named(runs, command):
    (runs / TINY.name / run_directory.MODEL).unlink()
    for mode in ("export", "evaluate"):
        ended = command(f"--mode={mode}", f"--run_dir={runs}")
        assert ended.status == 2 and len(ended.splitlines()) == 1
        assert (
            ended.startswith("Expected the file of a saved model") and run_directory.MODEL in ended
        )


def test_a_file_in_the_way_of_a_run_is_told_and_not_recorded(tmp_path, command):
    (tmp_path / TINY.name).write_text("")
    ended = command(*flags_of(TINY, tmp_path))
    assert ended.status == 1
    assert re.search("Failed: .*FileExistsError.* \\(not recorded: ", ended.out)
    assert contents(tmp_path) == {TINY.name}
