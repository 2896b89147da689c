"""Files and directories that are whole or not there, whoever is killed and whoever else writes."""

import pathlib
import signal
import subprocess
import sys

import pytest

from tests.command import contents
from tests.conftest import ROOT
from wna_tf import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"new": object()})
    with pytest.raises(RuntimeError), files.replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert files.read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_directories_are_replaced_too(tmp_path):
    for content in ("old", "new"):
        with files.replacing(tmp_path / "model") as beside:
            beside.mkdir()
            (beside / content).write_text("")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]


@pytest.mark.parametrize("content", ['{"width": ', "[1]", "\x00\x00"])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"Expected a JSON .*config\.json"):
        files.read_json(tmp_path / "config.json")


# Processes of their own, all with one number, as in containers that share a volume. The package
# itself, which takes seconds to import, is left out.
BEGIN = """
import os, pathlib, signal, sys, types
sys.modules["wna_tf"] = types.ModuleType("wna_tf")
sys.modules["wna_tf"].__path__ = ["wna_tf"]
from wna_tf import files
os.getpid = lambda: 1
def write(path):
    with files.replacing(path) as beside:
        beside.mkdir()
        (beside / "new").touch()
        yield
path = pathlib.Path(sys.argv[1])
"""
WAIT = """
for _ in write(path):
    print("writing", flush=True)
    sys.stdin.readline()
"""
DIE = """
pathlib.Path.replace = lambda *_: signal.raise_signal(signal.SIGKILL)
list(write(path))
"""
RACE = """
for _ in range(200):
    list(write(path))
"""


def start(code, path):
    command = [sys.executable, "-c", BEGIN + code, str(path)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def make_old(path):
    path.mkdir()
    (path / "old").touch()


def test_processes_of_one_number_write_beside_each_other(tmp_path):
    path = tmp_path / "report"
    make_old(path)
    with start(WAIT, path) as first, start(WAIT, path) as second:
        for process in (first, second):
            assert process.stdout.readline() == "writing\n"
        files.clean(tmp_path)  # What a living process is writing stays.
        assert contents(path) == {"old"} and len(contents(tmp_path)) == 3
        for process in (first, second):
            process.communicate("go on\n")
            assert process.returncode == 0
            assert contents(path) == {"new"}
    assert contents(tmp_path) == {"report"}


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path):
    with start(WAIT, tmp_path / "model") as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert len(contents(tmp_path)) == 1
    files.write_json(tmp_path / "result.json", {})
    assert contents(tmp_path) == {"result.json"}


def test_a_directory_survives_whoever_is_killed_while_it_is_replaced(tmp_path):
    path = tmp_path / "report"
    make_old(path)
    with start(DIE, path) as process:
        pass
    assert process.returncode == -signal.SIGKILL
    assert not path.exists()
    files.clean(tmp_path)
    assert contents(tmp_path) == {"report"} and contents(path) == {"old"}


def test_a_directory_survives_a_failure_while_it_is_replaced(tmp_path, monkeypatch):
    path = tmp_path / "report"
    make_old(path)

    def fail(*_):
        raise PermissionError("no")

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(OSError, match=f"{path}. Received: no"), files.replacing(path) as beside:
        beside.mkdir()
    assert contents(tmp_path) == {"report"} and contents(path) == {"old"}


def test_a_directory_is_replaced_by_several_processes_at_once(tmp_path):
    racers = [start(RACE, tmp_path / "report") for _ in range(3)]
    assert [racer.wait() for racer in racers] == [0, 0, 0]
    assert contents(tmp_path) == {"report"} and contents(tmp_path / "report") == {"new"}


def test_a_full_disk_names_the_file(tmp_path):
    message = f"Expected to write {tmp_path}/page. Received: .*No space left"
    with pytest.raises(OSError, match=message), files.replacing(tmp_path / "page") as beside:
        beside.symlink_to("/dev/full")
        beside.write_text("text")
    assert not contents(tmp_path)


def test_a_directory_is_not_replaced_by_a_file(tmp_path):
    make_old(tmp_path / "result.json")
    with pytest.raises(IsADirectoryError, match=r"result\.json"):
        files.write_json(tmp_path / "result.json", {})
    assert contents(tmp_path / "result.json") == {"old"}
