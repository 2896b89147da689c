"""Diagnostics in a report: what is left out is told, and a baseline is labelled."""

from tests.reported import Page, make_run, study
from wna_tf.experiments import reporting


def measured_angles(norm):
    """The columns of angles over epochs, for a norm that falls: they end where it is too small."""

    def row(epoch):
        columns = {"gradient_norm/a": norm**epoch, "network_gradient_norm": norm**epoch}
        if norm**epoch >= 1e-3:
            columns |= {"update_angle/a": 30.0, "network_update_angle": 30.0}
            columns |= {"network_update_angle_frozen": 60.0}
        return {"epoch": float(epoch), "seconds": 1.0, "loss": 1.0} | columns

    return [row(epoch) for epoch in range(1, 6)]


def test_a_note_says_which_angles_are_left_out(tmp_path):
    runs = [
        make_run(rule, 8, 0, 0.5, history=measured_angles(norm))
        for rule, norm in (("backprop", 0.5), ("align_ada", 0.1))
    ]
    made = study(runs)
    said = "2 of 10 angles are left out: backpropagation's update may be rounding there (its norm"
    for name in ("update_angle", "network_update_angle"):
        assert made[name].note.startswith(f"{said} at most 0.0001 of the initial one)")
    assert not made["gradient_norm"].note
    assert not study(runs[:1])["update_angle"].note
    exhibits_by_name = {e.figure.stem: e for e in reporting.report(runs, tmp_path)}
    assert said in exhibits_by_name["update_angle"].figure.with_suffix(".md").read_text()
    page = Page((tmp_path / "report.html").read_text())
    assert sum(said in text for text in page.text) == 2
    # Letters of a figure are drawn as shapes, each line behind a comment that spells it.
    assert b"2 of 10 angles are left out" in exhibits_by_name["update_angle"].svg


def test_a_baseline_is_a_line_of_its_own_and_labelled(tmp_path):
    history = measured_angles(0.5)
    for row in history:
        row |= {"label_alignment": 0.5, "label_alignment_initial": 0.25}
    runs = [make_run(rule, 8, 0, 0.5, history=history) for rule in ("backprop", "align_ada")]
    made = study(runs)
    assert not [name for name in made if "frozen" in name or "initial" in name]
    angles, alignment = made["network_update_angle"], made["label_alignment"]
    for chart in (angles, alignment):
        assert chart.line == ("rule", "series")
    assert angles.cells["backprop", "measured", 1].mean == 30
    assert angles.cells["backprop", "frozen blocks", 1].mean == 60
    assert alignment.cells["align_ada", "at initialization", 5].mean == 0.25
    svgs = {e.figure.stem: e.svg for e in reporting.report(runs, tmp_path)}
    for name, label in (
        ("network_update_angle", b"<!-- frozen blocks -->"),
        ("label_alignment", b"<!-- at initialization -->"),
    ):
        assert svgs[name].count(label) == 1  # In the legend, once for all rules.
    assert b"frozen" not in svgs["update_angle"]
