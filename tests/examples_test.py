"""The example of a language model, but for how long it trains."""

import numpy as np

from examples import language_model


def test_a_language_model(monkeypatch, capsys):
    rules = ("backprop", "align_prop", "direct_feedback_alignment")
    for name, value in {"RULES": rules, "STEPS": 30, "DEPTH": 1, "CONTEXT": 16}.items():
        monkeypatch.setattr(language_model, name, value)
    language_model.main()
    alone, backprop, align_prop, refused = capsys.readouterr().out.splitlines()
    assert float(backprop.split()[-1]) < float(alone.split()[-1])
    assert float(align_prop.split()[-1]) < float(alone.split()[-1])
    assert "Expected a network with one output [batch, classes]" in refused


def test_its_text_is_split_without_overlap():
    train, test = language_model.load_text()
    assert len(train) > 8 * len(test) > 100_000
    x, y = next(language_model.draw(train, 1, seed=0))
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    assert x.max() < language_model.CHARACTERS
