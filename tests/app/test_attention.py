"""Attention: one image of one epoch, with its neighbours and its class probabilities."""

import shutil

import numpy as np

from minivit.attention import attend
from minivit.data import load_split
from minivit.runs import Run
from tests.app.conftest import Open, told, widget


def test_the_probabilities_are_those_of_the_image_and_the_epoch(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id, epoch=1, image=5)
    held_out = load_split(trained.config)[1]
    probs, _ = attend(trained.load_model(1), held_out.images[5:6])
    table = page.dataframe[0].value
    np.testing.assert_allclose(table["probability"], sorted(probs[0].numpy(), reverse=True), rtol=1e-5)
    true = held_out.classes[held_out.labels[5]]
    assert [name for name in table["class"] if name.endswith(" (true)")] == [f"{true} (true)"]


def test_neighbours_and_numbers_lead_to_other_images(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id)
    previous, following = (
        next(one for one in page.button if one.help == f"{way} image") for way in ("Previous", "Next")
    )
    assert previous.disabled and not following.disabled
    following.click().run()
    assert page.query_params["image"] == "1"
    widget(page, "number_input", "Held-out image").set_value(17).run()
    assert page.query_params["image"] == "17"
    page.run()
    assert next(one for one in page.button if one.help == "Next image").disabled
    next(one for one in page.button if one.help == "Previous image").click().run()
    assert page.query_params["image"] == "16"
    assert widget(page, "number_input", "Held-out image").value == 16


def test_an_image_that_another_run_has_not_falls_back(open_page: Open, trained: Run) -> None:
    small = trained.path.with_name("20200101-000000-small")
    shutil.copytree(trained.path, small)
    config = trained.config.changed(images_per_class=5)
    (small / "config.json").write_text(config.model_dump_json().replace("{", '{"schema_version": 1, ', 1))
    page = open_page("attention", run=trained.id, image=17)
    widget(page, "selectbox", "Run").select(small.name).run()
    assert widget(page, "number_input", "Held-out image").value == 0
    assert not told(page)
