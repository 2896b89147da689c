"""What users register, and the guides that say how: from the command line, all the way."""

import re
import shlex
import sys

import keras
import pytest

import wna_tf
from tests.conftest import ROOT
from wna_tf import feedback, files, rules
from wna_tf.experiments import commands, extensions, run_directory
from wna_tf_command import cli

PAGE = (ROOT / "docs" / "guides" / "your_own_rule.md").read_text()
LINES = "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)).splitlines()
RULE = "examples/your_own_rule.py"
ALL = ",".join(f"examples/your_own_{name}.py" for name in ("rule", "network", "data", "diagnostic"))
REPORT = commands._report


@pytest.fixture
def place(tmp_path, monkeypatch, forget):
    """A working directory with the scripts of the guides."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def flags(line):
    program, script, *words = shlex.split(line)
    assert (program, script) == ("python", "main.py")
    return [word.replace(RULE, ALL) for word in words]


def test_the_page_works_as_it_is_written(place, command, forget, monkeypatch):
    train, evaluate, export, report = LINES
    further = ["--dataset=tumours", "--diagnostics=weight_change"]
    plan = command(*flags(train), *further, "--dry_run")
    assert (plan.status, plan) == (0, "")
    assert re.findall(r"_(share[\d.]+)_", plan.out) == ["share0.25", "share0.75"]
    assert "3 runs" in plan.out
    assert (command(*flags(train), *further).status) == 0
    runs = {run.config["rule"]: run for run in run_directory.read_runs(place / "runs")}
    assert runs["backprop"].config["feedback"] == []
    run = runs["blend"]
    assert run.config["feedback"] == ["share=0.75"]
    assert {"weight_change/dense", "weight_change/head"} <= set(run.history[0])
    assert run.result["weight_change/dense"] == run.history[-1]["weight_change/dense"]

    forget()  # Another process, without --import.
    needs = r"\(a (rule|data set|feedback source) of one's own needs --import=FILE\)\n$"
    for line in (train, evaluate, export):
        ended = command(*(word for word in flags(line) if "--import" not in word))
        assert ended.status == 2 and len(ended.splitlines()) == 1
        expected = rf"^Expected a .*, one of .* Received: .*='(blend|tumours)' {needs}"
        assert re.search(expected, ended)
    assert not list((place / "runs").glob("blend*/saved_model"))
    with pytest.raises(ValueError, match=r"Expected a feedback source, .* feedback='blend'"):
        keras.models.load_model(run.directory / run_directory.MODEL)

    assert command(*flags(evaluate)).status == 0
    assert len(list((place / "runs").glob("*/evaluation/tumours_test"))) == 3
    assert command(*flags(export)).status == 0
    assert len(list((place / "runs").glob("*/saved_model"))) == 3
    loaded = keras.models.load_model(run.directory / run_directory.MODEL)
    assert loaded.rule == wna_tf.Rule(
        feedback.get({"name": "blend", "share": 0.75}), "current", "current"
    )

    forget()
    monkeypatch.setattr(cli.commands, "_report", REPORT)
    shown = command(*flags(report))
    assert shown.status == 0 and "feedback share" in shown.out
    page = (place / "runs" / "report.html").read_text()
    assert "<h1>Report of 3 runs</h1>" in page and "<th>feedback share</th>" in page
    assert "Weight change over epochs" in page
    assert command(*flags(report), "--feedback=share=0.75").status == 0
    assert "<h1>Report of 1 runs</h1>" in (place / "runs" / "report.html").read_text()


def test_a_model_of_one_s_own_is_trained_evaluated_and_loaded(place, command, forget):
    words = [f"--import={ALL}", "--model=residual", "--width=2", "--data_limit=50", "--epochs=1"]
    assert command(*words, "--run_dir=runs").status == 0
    forget()
    ended = command("--mode=evaluate", "--run_dir=runs")
    assert ended.status == 2
    assert "Received: model='residual' (a model of one's own needs --import=FILE)\n" in ended
    assert command(words[0], "--mode=evaluate", "--run_dir=runs").status == 0


def test_help_lists_what_is_imported(place, command):
    words = command("--help", f"--import={ALL}").out.split()
    assert {"blend", "tumours", "residual", "weight_change"} <= {w.strip(",;") for w in words}


def test_a_module_is_imported_from_the_working_directory(place, command):
    (place / "lab").mkdir()
    (place / "lab" / "numbers.py").write_text("import examples.your_own_rule\n")
    assert command("--import=lab.numbers", "--rule=blend", "--dry_run").status == 0
    assert "blend" in rules.names()


def test_a_file_is_imported_once(place):
    file = str(place / RULE)
    extensions.load([file, file])
    blend = feedback.get("blend")
    extensions.load([file])
    assert feedback.get("blend") == blend


def test_the_same_definitions_may_be_registered_again(place):
    file = str(place / RULE)
    extensions.load([file])
    del sys.modules["your_own_rule"]
    extensions.load([file])  # As a reload, or a cell that is run again.
    assert type(feedback.get("blend")) is sys.modules["your_own_rule"].Blend
    assert type(rules.get("blend").feedback) is sys.modules["your_own_rule"].Blend


IMPORTS = {
    "missing": ("--import=nothing.py", r"Received: --import=\S*/nothing.py: no such file"),
    "no_module": ("--import=no.such_module", "--import=no.such_module: ModuleNotFoundError: No m"),
    "raises": ("--import=raises.py", r"raises.py: \S*/raises.py, line 2: ZeroDivisionError: div"),
    "no_python": ("--import=half.py", r"half.py: \S*/half.py, line 1: SyntaxError: "),
    "exits": ("--import=exits.py", r"/exits.py, line 2: SystemExit: 3"),
    "taken": ("--import=taken.py", r"/taken.py, line 2: ValueError: Expected a name .* 'backprop'"),
    "shadows": ("--import=json.py", "whose name no other module has. Received: .*<module 'json'"),
}
FILES = {
    "raises": "import wna_tf\n1 / 0\n",
    "half": "def (",
    "exits": "import sys\nsys.exit(3)\n",
    "taken": "import wna_tf\nwna_tf.rules.register('backprop', wna_tf.Rule('random', 'initial', "
    "'initial'))\n",
    "json": "",
}


@pytest.mark.parametrize("name", IMPORTS)
def test_an_import_that_fails_ends_with_one_line(name, tmp_path, monkeypatch, command, forget):
    monkeypatch.chdir(tmp_path)
    for stem, text in FILES.items():
        (tmp_path / f"{stem}.py").write_text(text)
    before = set(tmp_path.iterdir())
    flag, message = IMPORTS[name]
    ended = command(flag, "--run_dir=runs")
    assert (ended.status, ended.out) == (2, "")
    (line,) = ended.splitlines()
    assert line.startswith("Expected a file ") and re.search(message, line), line
    assert set(tmp_path.iterdir()) - {tmp_path / "__pycache__"} == before


SETTINGS = {
    "no_name": ("0.01", "name=value, or several .* Received: feedback='0.01'"),
    "half": ("decay=", "name=value, or several .* Received: feedback='decay='"),
    "separators": ("decay=../x", "name=value, or several .* Received: feedback='decay=../x'"),
    "unknown": ("rate=1", r"\(kolen_pollack: decay; backprop: none\). Received: feedback='rate=1'"),
    "text": ("decay=fast", "Expected decay to be a number. Received: decay=fast"),
    "nan": ("decay=nan", "Expected decay to be a number. Received: decay=nan"),
    "range": ("decay=0.001,2", "Expected 0 <= decay < 1. Received: decay=2.0"),
}


@pytest.mark.parametrize("mode", ["--dry_run", "--nodry_run"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_setting_ends_with_one_line(name, mode, tmp_path, command):
    value, message = SETTINGS[name]
    flag = f"--feedback={value}"
    ended = command(flag, "--rule=kolen_pollack,backprop", mode, f"--run_dir={tmp_path}/runs")
    assert (ended.status, ended.out) == (2, "")
    (line,) = ended.splitlines()
    assert re.search(message, line), line
    assert not list(tmp_path.iterdir())


def test_a_run_that_records_a_setting_that_its_rule_has_not_is_told(runs, command):
    (run,) = runs.iterdir()
    config = files.read_json(run / run_directory.CONFIG)
    files.write_json(run / run_directory.CONFIG, config | {"feedback": ["decay=0.1"]})
    ended = command("--mode=evaluate", f"--run_dir={runs}")
    assert ended.status == 2
    assert "(backprop: none). Received: feedback='decay=0.1'\n" in ended
