"""Curves, gallery and confusion matrix in a real browser: what is picked, what survives a refresh, what never runs."""

from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.browsing import broken_rules


def opened(page: Page, address: str, *show: str) -> Page:
    page.goto(f"{address}/?show={'+'.join(show)}")
    expect(page.get_by_text("the end")).to_be_visible()
    if "curves" in show:
        expect(chart(page, "accuracy").locator(".main-svg").first).to_be_visible()
    return page


def chart(page: Page, name: str) -> Locator:
    return page.locator(".chart").filter(has=page.get_by_role("slider", name=f"{name} by epoch")).locator(".plot")


def look(plot: Locator) -> dict:
    """Where the axes of a chart stand and which curves it shows."""
    return plot.evaluate(
        """(plot) => ({
            x: plot._fullLayout.xaxis.range, y: plot._fullLayout.yaxis.range,
            visible: plot._fullData.map((curve) => curve.visible), points: plot._fullData[1].x.length,
        })"""
    )


def next_epoch(page: Page, plot: Locator) -> dict:
    """What a chart shows once the next epoch's point has come."""
    points = look(plot)["points"]
    page.get_by_role("button", name="Next epoch").click()
    page.wait_for_function("([plot, n]) => plot._fullData[1].x.length === n", arg=[plot.element_handle(), points + 1])
    return look(plot)


# In one task, as a busy machine may take longer from one click to the next than a double click lasts
DOUBLE_CLICK = """(area, [clientX, clientY]) => {
    for (const _ of [1, 2]) {
        for (const [type, target] of [["mousedown", area], ["mouseup", document]])
            target.dispatchEvent(new MouseEvent(type, { bubbles: true, composed: true, clientX, clientY }));
    }
}"""


def click_in(plot: Locator, x: float, y: float, *, double: bool = False) -> None:
    """Clicks at a share of the plotting area's width and height."""
    area = plot.locator(".nsewdrag").bounding_box()
    assert area
    place = (area["x"] + x * area["width"], area["y"] + y * area["height"])
    if not double:
        plot.page.mouse.click(*place)
        return
    plot.page.mouse.move(*place)
    plot.locator(".nsewdrag").evaluate(DOUBLE_CLICK, place)


def drag_in(plot: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    area = plot.locator(".nsewdrag").bounding_box()
    assert area
    mouse = plot.page.mouse
    places = [(area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in (start, end)]
    mouse.move(*places[0])
    mouse.down()
    mouse.move(*places[1], steps=5)
    mouse.up()


def test_curves_are_valid_while_the_chart_library_loads_and_say_when_it_does_not(
    page: Page, component_app: str
) -> None:
    held: list[Route] = []
    page.route("**/plotly*.js", lambda route: held.append(route))
    with page.expect_request("**/plotly*.js"):
        page.goto(f"{component_app}/?show=curves")
    expect(page.get_by_role("slider", name="accuracy by epoch")).to_have_attribute("aria-valuetext", "epoch 0")
    assert broken_rules(page) == []
    held[0].fulfill(content_type="text/javascript", body="")  # a refused request would be in the console
    expect(page.get_by_role("alert").first).to_contain_text("The chart library did not load")
    page.unroute_all()


def test_zoom_and_hidden_legend_entries_survive_a_refresh(page: Page, component_app: str) -> None:
    loss = chart(opened(page, component_app, "curves"), "loss")
    drag_in(loss, (0.2, 0.2), (0.6, 0.7))
    loss.locator(".legendtoggle").first.click()
    page.wait_for_function("(plot) => plot._fullData[0].visible === 'legendonly'", arg=loss.element_handle())
    before = look(loss)
    after = next_epoch(page, loss)
    assert after == {**before, "points": before["points"] + 1}
    assert after["visible"] == ["legendonly", True, True, True]
    assert look(chart(page, "accuracy"))["visible"] == [True, True, True, True]


def test_axes_without_zoom_follow_new_epochs(page: Page, component_app: str) -> None:
    loss = chart(opened(page, component_app, "curves"), "loss")
    assert next_epoch(page, loss)["x"][1] >= 6
    drag_in(loss, (0.2, 0.2), (0.5, 0.7))
    assert look(loss)["x"][1] < 5
    click_in(loss, 0.5, 0.5, double=True)
    page.wait_for_function("(plot) => plot._fullLayout.xaxis.range[1] >= 6", arg=loss.element_handle())
    assert next_epoch(page, loss)["x"][1] >= 7
    expect(page.get_by_text("marker None")).to_be_visible()  # the double click picked nothing


def test_curves_begin_with_the_untrained_model_and_an_epoch_is_picked_by_click_and_by_keyboard(
    page: Page, component_app: str
) -> None:
    opened(page, component_app, "curves")
    for name in ("loss", "accuracy"):
        curves = chart(page, name).evaluate("(plot) => plot._fullData.map((curve) => [curve.x[0], curve.y[0] > 0])")
        assert curves == [[0, False], [0, True], [0, True], [3, True]]  # train has no figure there; the best epoch is 3
    for text in ("chance 25%", "most frequent class 40%"):
        expect(chart(page, "accuracy").get_by_text(text)).to_be_visible()
    drag_in(chart(page, "loss"), (0.2, 0.2), (0.6, 0.7))
    expect(page.get_by_text("marker None")).to_be_visible()  # a drag picks nothing
    click_in(chart(page, "accuracy"), 0.999, 0.5)
    expect(page.get_by_text("marker 5")).to_be_visible()
    reader = page.get_by_role("slider", name="loss by epoch")
    for name in ("aria-valuemax", "aria-valuenow"):
        expect(reader).to_have_attribute(name, "5")
    reader.focus()
    page.keyboard.press("Home")
    expect(reader).to_have_attribute("aria-valuetext", "epoch 0, test 1.500")
    page.keyboard.press("ArrowRight")
    expect(reader).to_have_attribute("aria-valuetext", "epoch 1, train 0.700, test 0.750")
    expect(page.get_by_text("marker 5")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_text("marker 1")).to_be_visible()
    page.get_by_role("button", name="Next epoch").click()
    expect(page.get_by_text("epoch 6, marker 1")).to_be_visible()


def test_a_notification_that_was_asked_for_is_shown_once_at_the_end(page: Page, component_app: str) -> None:
    opened(page, component_app, "curves")
    page.evaluate(
        "window.shown = []; window.Notification = class { constructor(title, { body }) { shown.push(body); }"
        " static requestPermission = async () => window.answer; }; null"
    )
    box = page.get_by_label("Notify me when it is done")
    page.evaluate("answer = 'denied'")
    box.click()
    expect(page.get_by_text("This browser blocks notifications of this page.")).to_be_visible()
    expect(page.get_by_role("checkbox")).not_to_be_checked()
    page.evaluate("answer = 'granted'")
    page.get_by_role("checkbox").check()
    next_epoch(page, chart(page, "loss"))
    assert page.evaluate("shown") == []
    next_epoch(page, chart(page, "loss"))  # 7 of 7
    expect(page.get_by_role("checkbox")).to_be_hidden()
    next_epoch(page, chart(page, "loss"))
    assert page.evaluate("shown") == ["done · 7/7"]


def test_an_image_and_a_cell_are_picked_by_click_and_by_keyboard(page: Page, component_app: str) -> None:
    opened(page, component_app, "images", "cells")
    sheet = page.locator(".thumb").first.evaluate("(thumb) => getComputedStyle(thumb).backgroundImage")
    assert f"{component_app}/media/" in sheet  # below the base path
    assert page.request.get(sheet.split('"')[1]).ok
    a_cell_is_picked_and_unpicked(page)
    an_image_is_picked_once(page)
    arrow_keys_reach_every_image_and_tab_leaves_them(page)


def an_image_is_picked_once(page: Page) -> None:
    image = page.get_by_role("button", name="image 3: true frog, predicted cat, incorrect, 61%")
    expect(image).to_have_attribute("aria-pressed", "false")
    image.click()
    expect(page.get_by_text("picked images [3]")).to_be_visible()
    expect(image).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("button", name="image 4: true frog, predicted frog, correct, 61%")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("picked images [3, 4]")).to_be_visible()
    expect(image).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Rerun").click()
    page.get_by_text("Other images").click()
    expect(page.get_by_role("button", name="image 104")).to_be_visible()
    expect(page.get_by_text("picked images [3, 4]")).to_be_visible()


def arrow_keys_reach_every_image_and_tab_leaves_them(page: Page) -> None:
    images = page.get_by_role("group", name="test images").get_by_role("button")
    images.first.focus()
    page.keyboard.press("End")
    expect(images.last).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    expect(images.first).to_be_focused()
    page.set_viewport_size({"width": 390, "height": 800})
    page.keyboard.press("ArrowDown")
    expect(images.nth(images_a_row(images))).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("group", name="test images").locator(":focus")).to_have_count(0)


def images_a_row(images: Locator) -> int:
    tops = images.evaluate_all("(buttons) => buttons.map((button) => button.offsetTop)")
    return tops.count(tops[0])


def a_cell_is_picked_and_unpicked(page: Page) -> None:
    cell = page.get_by_role("button", name="true cat, predicted frog: 1 of 10 (10.0%)")
    cell.click()
    expect(page.get_by_text("cell (0, 1)")).to_be_visible()
    expect(cell).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_text("cell (1, 1)")).to_be_visible()
    expect(cell).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Enter")
    expect(page.get_by_text("cell None")).to_be_visible()
    expect(page.get_by_role("table").locator("[aria-pressed=true]")).to_have_count(0)


def test_all_components_show_markup_as_text_and_are_for_everybody_in_both_themes_and_on_a_phone(
    page: Page, component_app: str
) -> None:
    opened(page, component_app, "curves", "images", "cells", "inspector&layers=6&heads=8")
    evil = "<img src=x onerror=alert(1)>"
    expect(page.get_by_role("button", name=f"image 11: {evil}")).to_contain_text(evil)
    expect(page.get_by_role("columnheader", name=evil)).to_have_text(evil)
    expect(page.get_by_role("rowheader", name=evil)).to_have_text(evil)
    assert page.locator("img[src=x]").count() == 0
    loss = chart(page, "loss")
    for theme in ("dark", "light"):
        page.emulate_media(color_scheme=theme)  # charts and cells follow without a reload
        is_light = "(plot) => plot._fullLayout.font.color.match(/\\d+/)[0] < 128"
        page.wait_for_function(
            f"([plot, wanted]) => ({is_light})(plot) === wanted", arg=[loss.element_handle(), theme == "light"]
        )
        assert broken_rules(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth <= 390")
    assert broken_rules(page) == []
    boxes = [chart(page, name).bounding_box() for name in ("loss", "accuracy")]
    assert boxes[0] and boxes[1] and boxes[1]["y"] > boxes[0]["y"] + boxes[0]["height"]
