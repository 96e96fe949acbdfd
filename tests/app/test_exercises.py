"""Exercises on Attention: the page checks the answer with the run in view and keeps the progress of the session."""

from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from minivit.attention import attend
from minivit.attention.maps import attend_masked
from minivit.data import load_split
from minivit.inference import predict_run
from minivit.runs import Run, find_run
from minivit.tour import read_highlights
from tests.app.conftest import Open, button


@pytest.fixture(params=["example", "trained"])
def run(request: pytest.FixtureRequest) -> Run:
    """The example, and a run of the user's own."""
    trained: Run = request.getfixturevalue("trained")
    return find_run("example") if request.param == "example" else trained


def bar(page: AppTest) -> str:
    """What the page says about the selected exercise."""
    return " ".join(text.value for text in page.markdown if text.value.startswith((":material/check", "Not solved")))


def progress(page: AppTest) -> str:
    return next(text.value for text in page.markdown if text.value.startswith("**Exercises**"))


def solve(page: AppTest, **params: Any) -> AppTest:
    for name, value in params.items():
        page.query_params[name] = str(value)
    return page.run()


def test_the_patch_that_cls_attends_to_most_in_the_last_head_solves_its_exercise(open_page: Open, run: Run) -> None:
    _, attn = attend(run.load_model(run.epochs()[-1]), load_split(run.config)[1].images[3:4])
    most = int(attn[0, -1, -1, 0, 1:].argmax())
    page = open_page("attention", run=run.id, image=3, exercise="attended")
    assert bar(page).startswith("Not solved yet.") and "0 of " in progress(page)
    solve(page, token=f"p{(most + 1) % attn.shape[-1]}")
    assert bar(page).startswith("Not solved yet.")
    solve(page, token=f"p{most}")
    assert "**Solved.**" in bar(page) and "1 of " in progress(page)
    assert page.radio(key="Attention_exercise").options[0].startswith("✓ ")
    button(page, "Next exercise").click().run()
    assert page.query_params["exercise"] == "change" and "token" not in page.query_params
    assert bar(page).startswith("Not solved yet.") and "1 of " in progress(page)
    button(page, "Reset").click().run()
    assert "0 of " in progress(page) and not bar(page) and "exercise" not in page.query_params


def test_a_patch_without_which_the_model_predicts_another_class_solves_its_exercise(open_page: Open) -> None:
    run = find_run("example")
    model, images = run.load_model(run.epochs()[-1]), load_split(run.config)[1].images[:500]
    probs = attend(model, images)[0]
    image = int(probs.max(1).values.argmin())
    masks = torch.eye(run.config.model.num_patches, dtype=torch.bool)
    predicted = [int(attend_masked(model, images[image : image + 1], mask)[0].argmax()) for mask in masks]
    changes = [prediction != int(probs[image].argmax()) for prediction in predicted]
    page = open_page("attention", run=run.id, image=image, off="p1,p2")
    page.radio(key="Attention_exercise").set_value("change").run()
    assert "off" not in page.query_params and bar(page).startswith("Not solved yet.")
    solve(page, off=f"p{changes.index(False)}")
    assert bar(page).startswith("Not solved yet.")
    solve(page, off=f"p{changes.index(True)}")
    assert "**Solved.**" in bar(page)


def test_the_patch_of_the_tours_last_finding_solves_the_exercise_on_attention_and_explanation(open_page: Open) -> None:
    highlights = read_highlights()
    page = open_page("attention", run="example", image=highlights.misleading_image, exercise="against")
    assert bar(page).startswith("Not solved yet.")
    solve(page, off=f"p{highlights.misleading_patch}")
    assert "**Solved.**" in bar(page)


def test_a_mistake_above_the_named_confidence_solves_its_exercise(open_page: Open, run: Run) -> None:
    predictions = predict_run(run, run.epochs()[-1])
    worst = int(np.where(predictions.correct, 0, predictions.confidence).argmax())
    page = open_page("attention", run=run.id, image=int(predictions.correct.argmax()), exercise="mistake")
    assert bar(page).startswith("Not solved yet.")
    solve(page, image=worst)
    assert "**Solved.**" in bar(page)
