"""The tour: each step opens the page and the view that it explains; it can be left and resumed anywhere."""

import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from streamlit.testing.v1 import AppTest

from minivit.config import preset
from minivit.runs import EXAMPLE, Run
from minivit.tour import example_run, read_highlights
from pages.parts.tour.steps import step_params, steps
from tests.app.conftest import Open, button, components, errors, labels, sent, unpacked, widget

NUMBERS = range(1, len(steps()) + 1)


def links(page: AppTest) -> dict[str, dict[str, str]]:
    """What the links of the bar hold in their URLs, by their labels."""
    names = ("Back", "Next", "Leave", "End", "Mask", "Show")
    links = {link.proto.label: link.proto.query_string for link in page.main.get("page_link")}
    return {
        label: {name: value[0] for name, value in parse_qs(query).items()}
        for label, query in links.items()
        if label.startswith(names)
    }


def texts(page: AppTest) -> str:
    return "\n".join(text.value for text in page.markdown)


def test_the_tour_has_at_most_eight_short_steps() -> None:
    assert len(steps()) <= 8
    for step in steps():
        for text in (step.text, step.after, step.for_viewers):
            assert len(text.split()) < 75  # less than half a minute to read
            assert len(re.findall(r"[.?](\s|$)", text)) <= 4


@pytest.mark.parametrize("number", NUMBERS)
def test_a_link_of_a_step_alone_opens_the_view_that_it_explains(open_page: Open, number: int) -> None:
    page, step = open_page(tour=number), steps()[number - 1]
    assert not errors(page)
    assert page.title[0].value == step.page.capitalize()
    assert {name: page.query_params[name] for name in step_params(number)} == step_params(number)
    assert f"**{step.title}** · step {number} of {len(steps())}" in texts(page) and step.text in texts(page)
    assert f".st-key-{step.outlined or step.target} {{" in texts_of_html(page) or step.stage
    bar = links(page)
    assert ("Back" in bar, "Next" in bar) == (number > 1, number < len(steps()))
    for label, neighbour in (("Back", number - 1), ("Next", number + 1)):
        assert bar.get(label, step_params(number)) == step_params(neighbour if label in bar else number)
    leave = bar["Leave the tour" if number < len(steps()) else "End the tour"]
    assert leave == {name: value for name, value in step_params(number).items() if name != "tour"}


def texts_of_html(page: AppTest) -> str:
    return "\n".join(element.proto.body for element in page.get("html"))


@pytest.mark.parametrize("number", ["0", "9", "x", "-1", ""])
def test_a_step_that_there_is_not_is_no_tour(open_page: Open, number: str) -> None:
    page = open_page(tour=number)
    assert page.title[0].value == "MiniViT" and not links(page) and not errors(page)


def test_one_row_of_softmax_is_that_of_the_image_of_the_tour(open_page: Open) -> None:
    page, highlights = open_page(tour=3), read_highlights()
    (data,) = [payload for payload in components(page) if "keys" in payload]
    model = example_run().load_model()
    query, keys = unpacked(data["query"]), unpacked(data["keys"])
    scores = keys @ query / len(query) ** 0.5
    assert unpacked(data["scores"]) == pytest.approx(scores, abs=1e-4)
    assert unpacked(data["weights"]).sum() == pytest.approx(1, abs=1e-5)
    assert unpacked(data["tokens"]).shape == (65, model.config.embed_dim)
    assert (data["stage"], data["patch"], data["queryToken"]) == ("softmax", highlights.patch, 0)
    assert data["title"] == f"layer 2, head {highlights.head + 1}"


def test_the_numbers_of_one_weight_are_shown_for_any_run_when_they_are_asked_for(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id, token="p3", layer=1, head=2)
    assert not [each for each in components(page) if "keys" in each]
    (toggle,) = [each for each in page.toggle if each.label == "Show the numbers"]
    toggle.set_value(True).run()
    (data,) = [each for each in components(page) if "keys" in each]
    assert (data["stage"], data["queryToken"], data["title"]) == (None, 4, "layer 1, head 2")
    assert data["patch"] == unpacked(data["weights"])[1:].argmax()


def test_masking_the_most_attended_patch_tells_that_the_class_becomes_more_probable(open_page: Open) -> None:
    page, highlights = open_page(tour=7), read_highlights()
    mask = links(page)[f"Mask p{highlights.misleading_patch}"]
    assert mask == {**step_params(7), "off": f"p{highlights.misleading_patch}"}
    page = open_page("attention", **mask)
    assert steps()[6].after in texts(page) and steps()[6].text not in texts(page)
    assert f"{highlights.probability_masked:.1%}" in sent(page)["prediction"]["verdicts"][1][0]
    assert links(page)["Show the whole image again"] == step_params(7)


def test_the_form_holds_a_quick_training_on_shapes_and_its_run_stays_in_the_tour(
    open_page: Open, started: list[Run]
) -> None:
    page = open_page(tour=5)
    assert widget(page, "selectbox", "Preset").value == "quick"
    button(page, "Start training").click().run()
    (run,) = started
    assert (run.config.dataset, run.config.model) == ("shapes", preset("quick").model)
    assert run.config.epochs > preset("quick").epochs
    assert (page.query_params["run"], page.query_params["tour"]) == (run.id, "5")
    assert links(page)["Next"] == step_params(6)


def test_what_the_user_chooses_in_the_form_stays_when_the_tour_comes_back(open_page: Open) -> None:
    page = open_page(tour=5)
    widget(page, "selectbox", "Preset").select("article").run()
    page.switch_page("dashboard.py").run()
    page.switch_page("pages/train.py")
    page.query_params |= step_params(5)
    page.run()
    assert page.title[0].value == "Train" and widget(page, "selectbox", "Preset").value == "article"


def test_who_may_only_look_takes_the_tour_too(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVIT_MODE", "view")
    for number in NUMBERS:
        page, step = open_page(tour=number), steps()[number - 1]
        assert not errors(page) and (step.for_viewers or step.text) in texts(page)
        assert "Press **Start" not in texts(page) and "upload" not in texts(page)


def test_no_page_writes_into_the_folder_of_the_example(open_page: Open) -> None:
    def files() -> dict[Path, float]:
        return {path: path.stat().st_mtime_ns for path in EXAMPLE.rglob("*")}

    before = files()
    for name in ("train", "predictions", "attention", "compare", "anatomy", "runs"):
        page = open_page(name, run="example", weight="true", logit="true")
        assert not errors(page)
        assert not {"Pause", "Stop", "Resume", "Train on", "Save name and note"} & set(labels(page))
    assert files() == before


def test_a_tour_that_was_left_is_resumed_where_it_was(open_page: Open) -> None:
    page = open_page(tour=3)
    assert not resume(page)
    page.switch_page("dashboard.py")
    page.query_params.clear()
    page.run()
    assert page.title[0].value == "MiniViT" and not links(page)
    assert resume(page) == {"Resume the tour: step 3": step_params(3)}


def resume(page: AppTest) -> dict[str, dict[str, str]]:
    return {
        link.proto.label: {name: value[0] for name, value in parse_qs(link.proto.query_string).items()}
        for link in page.sidebar.get("page_link")
        if link.proto.label.startswith("Resume")
    }


def test_another_page_in_the_tour_leads_back_to_what_the_step_explains(open_page: Open) -> None:
    page = open_page("predictions", run="example", tour=6)
    assert page.title[0].value == "Predictions"
    assert links(page)["Show what this step explains"] == step_params(6)


def test_another_run_in_the_tour_leads_back_to_the_example(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id, tour=7)
    assert page.query_params["run"] == trained.id and not errors(page)
    assert links(page)["Show what this step explains"] == step_params(7)
