"""Take it along: the buttons of the Attention page, and what their files hold."""

import pytest
from streamlit.testing.v1 import AppTest

from minivit.runs import Run
from tests.app.conftest import Open, widget

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file .*bertviz:ResourceWarning")


def downloads(page: AppTest) -> list[str]:
    return [element.label for element in page.get("download_button")]


def test_every_file_has_its_button_and_nothing_is_drawn_before_it_is_requested(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for made in ("json", "npz", "picture", "bertviz", "bertviz_model"):
        monkeypatch.setattr(
            f"minivit.export.ImageExport.{made}", lambda *_: pytest.fail("made without being asked for")
        )
    page = open_page("attention", run=trained.id)
    assert downloads(page) == [
        "Attention as JSON (the article's format)",
        "Arrays (.npz)",
        "Map as PNG",
        "Map as SVG",
        "Map as PDF",
        "Head view as HTML",
        "Model view as HTML",
    ]


def test_bertviz_takes_the_chosen_layers(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id, bertviz="true")
    layers = widget(page, "multiselect", "Layers in BertViz")
    assert layers.value == [1, 2]
    (view,) = page.get("iframe")
    assert '"include_layers": [0, 1]' in view.proto.srcdoc
    layers.set_value([2]).run()
    (view,) = page.get("iframe")
    assert '"include_layers": [1]' in view.proto.srcdoc
    widget(page, "multiselect", "Layers in BertViz").set_value([]).run()
    assert not page.get("iframe")
    assert page.info[0].value == "Select at least one layer to see BertViz."
