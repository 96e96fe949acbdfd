"""Presentation mode: a page without navigation, kept in the link, along the tour as well."""

from minivit.runs import Run
from pages.parts.tour.steps import step_params
from tests.app.conftest import Open, button, labels, sent
from tests.app.test_tour import links


def test_a_presentation_has_no_navigation_and_can_be_left(open_page: Open) -> None:
    page = open_page("attention", run="example")
    assert page.sidebar.get("page_link")
    button(page, "Present").click().run()
    assert page.query_params["present"] == "true"
    assert not page.sidebar.get("page_link") and "Glossary" not in labels(page)
    button(page, "Leave presentation").click().run()
    assert "present" not in page.query_params and page.sidebar.get("page_link")


def test_the_tour_stays_a_presentation_from_step_to_step(open_page: Open) -> None:
    page = open_page("attention", present="true", **step_params(4))
    assert links(page)["Next"] == {**step_params(5), "present": "true"}
    assert links(page)["Back"] == {**step_params(3), "present": "true"}
    first = open_page(tour=1, present="true")  # the link of the step alone opens its view
    assert first.title[0].value == "Attention" and first.query_params["present"] == "true"


def test_compare_presents_one_image_after_the_other(open_page: Open, trained: Run) -> None:
    page = open_page("compare", run=trained.id)
    titles = sent(page)["titles"]
    assert len(titles) > 1
    page.query_params["present"] = "true"
    page.run()
    assert sent(page)["titles"] == titles[:1]
    page.button(key="frame_Next").click().run()
    assert sent(page)["titles"] == titles[1:2]
    page.button(key="frame_Previous").click().run()
    assert sent(page)["titles"] == titles[:1] and page.button(key="frame_Previous").disabled
