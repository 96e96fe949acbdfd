"""The report of a run: what is in it, and that it needs nothing else."""

import re
from dataclasses import replace

import pytest
from html_page import Page

from minivit.data import load_split
from minivit.engine import SILENT, train
from minivit.errors import RunError
from minivit.export import export, report_html
from minivit.inference import predict_run
from minivit.runs import Run
from minivit.stats import wilson


@pytest.fixture
def run(tiny) -> Run:
    run = Run.create(tiny.changed(epochs=2))
    train(run.config, run, SILENT)
    return run


def test_the_report_holds_accuracy_confusion_curves_settings_and_maps_of_eight_images(run):
    html = report_html(run)
    predictions = predict_run(run)
    low, high = wilson(int(predictions.correct.sum()), 24)
    assert f"Test accuracy {predictions.accuracy:.1%}" in html and f"{low:.1%} to {high:.1%}, Wilson" in html
    majority = load_split(run.config)[1].labels.bincount().max() / 24
    assert f"Chance: 50.0%. Most frequent class: {majority:.1%}." in html
    cells = re.findall(r"<td style=[^>]*>(\d+)</td>", html)
    assert [int(cell) for cell in cells] == predictions.confusion.flatten().tolist()
    assert html.count("data:image/svg+xml") == 2  # curves and color scale
    assert len(re.findall(r"<figcaption>image \d+: ", html)) == 8
    assert html.count("data:image/png") == 24
    assert "untrained" in html and "epoch 2" in html
    assert ">Learning rate<" in html and ">torch<" in html
    assert "<td>circle, star</td>" in html
    assert run.config.train_loss_note in html
    assert html == export(run, "report")


def test_the_report_loads_nothing_and_runs_nothing(run):
    page = Page(report_html(run))
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            assert (attributes.get(name) or "data:image/").startswith("data:image/")
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in page.text["style"][0] and "@import" not in page.text["style"][0]


def test_names_that_are_markup_stay_text(run, monkeypatch):
    test_set = load_split(run.config)[1]
    classes = ("<img src=x onerror=alert(1)>", '"><script>alert(2)</script>')
    run.rename("<svg onload=alert(3)>")
    run.set_environment({"<b>": ["</table><script>"]})
    html = report_html(run)
    assert "<svg onload" not in html and "&lt;svg onload=alert(3)&gt;" in html
    assert "<script" not in html and "<b>" not in html
    hostile = run.config.model_copy(update={"classes": classes})
    monkeypatch.setattr(run, "config", hostile)
    monkeypatch.setattr("minivit.export.report.load_split", lambda config: (None, replace(test_set, classes=classes)))
    html = report_html(run)
    assert "<img src=x" not in html and "<script" not in html and html.count("&lt;img src=x onerror=alert(1)&gt;") > 8


def test_a_report_of_an_epoch_that_is_not_kept_is_refused(run):
    with pytest.raises(RunError, match="has no checkpoint 9"):
        report_html(run, 9)
