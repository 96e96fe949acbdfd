"""The report of a run: what is in it, and that it needs nothing else."""

import re

import pytest
from test_export import Page

from minivit.engine import train
from minivit.errors import RunError
from minivit.export import make, report_html
from minivit.export.report import _answer, _confusion
from minivit.inference import predict_run
from minivit.runs import Run
from minivit.stats import wilson


@pytest.fixture
def run(tiny) -> Run:
    run = Run.create(tiny.changed(epochs=2))
    train(run.config, run, say=lambda line: None)
    return run


def test_the_report_holds_accuracy_confusion_curves_settings_and_maps_of_eight_images(run):
    html = report_html(run)
    said = predict_run(run)
    low, high = wilson(int(said.correct.sum()), 24)
    assert f"Test accuracy {said.accuracy:.1%}" in html and f"interval {low:.1%} to {high:.1%}" in html
    cells = re.findall(r"<td style=[^>]*>(\d+)</td>", html)
    assert [int(cell) for cell in cells] == said.confusion.flatten().tolist()
    assert html.count("<polyline") == 4
    assert len(re.findall(r"<figcaption>image \d+: ", html)) == 8
    assert "uniform 1/17 = 0.0588" in html and "untrained" in html and "epoch 2" in html
    assert ">Learning rate<" in html and ">torch<" in html
    assert "<td>circle, star </td>" in html
    assert html == make(run, "report")


def test_the_report_loads_nothing_and_runs_nothing(run):
    page = Page(report_html(run))
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "img"), tag
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            assert (attributes.get(name) or "data:image/png;base64,").startswith("data:image/png;base64,")
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in page.text["style"][0] and "@import" not in page.text["style"][0]


def test_names_that_are_markup_stay_text(run):
    classes = ("<img src=x onerror=alert(1)>", '"><script>alert(2)</script>')
    run.rename("<svg onload=alert(3)>")
    run.set_environment({"<b>": ["</table><script>"]})
    html = report_html(run)
    assert "<svg onload" not in html and "&lt;svg onload=alert(3)&gt;" in html
    assert "<script" not in html and "<b>" not in html
    assert "<img" not in _confusion(predict_run(run), classes) + _answer("epoch 1", classes[0], 0.5, True)
    assert "<script" not in _confusion(predict_run(run), classes)


def test_a_report_of_an_epoch_that_is_not_kept_is_refused(run):
    with pytest.raises(RunError, match="has no checkpoint 9"):
        report_html(run, 9)
