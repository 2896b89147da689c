"""Runs to report, and what reads reports."""

import html.parser
import pathlib

from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import exhibits, fields


def make_run(rule, width, seed, accuracy, loss=0.5, history=(), **config):
    config = {"rule": rule, "width": width, "seed": seed, "dataset": "digits"} | config
    chance = {"accuracy": 0.1}
    result = {"validation_accuracy": accuracy, "train_loss": loss, "chance": chance}
    return run_directory.Run(pathlib.Path(f"{rule}{width}{seed}"), config, result, list(history))


def make_history(epochs, **columns):
    return [
        {"epoch": float(epoch), "seconds": 1.0}
        | {name.replace("__", "/"): function(epoch) for name, function in columns.items()}
        for epoch in range(1, epochs + 1)
    ]


RUNS = [
    make_run("readout", 64, 0, 0.5),
    make_run("readout", 8, 0, 0.25),
    make_run("backprop", 8, 0, 0.6),
    make_run("backprop", 8, 1, 0.8),
    # The accuracy of outputs that are not numbers is a number, but no result.
    make_run("backprop", 8, 2, 0.1, loss=None),
    make_run("align_zero", 8, 0, None, loss=None),
]


def study(runs):
    runs = fields.complete(runs)
    varying = fields.varying([run.config for run in runs])
    return {chart.name: chart for chart in exhibits.study(runs, varying)}


def cells_of(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


class Page(html.parser.HTMLParser):
    """Checks that tags close in order, and keeps what it sees."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
