"""Compare: every kept checkpoint of one run, or of two, as the page gives it to the browser."""

import json
import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from streamlit.runtime.scriptrunner import StopException
from streamlit.testing.v1 import AppTest

from minivit.attention import attend, cls_map, entropy
from minivit.data import load_split
from minivit.engine import SILENT, train
from minivit.inference import multiplications, predict_run
from minivit.runs import Checkpoint, Run
from pages.parts.compare.columns import common_scale
from pages.parts.components.scrub import Opened
from pages.parts.shell.cache import run_scale
from pages.parts.shell.progress import estimate
from tests.app.conftest import Open, button, errors, sent, unpacked, widget


def infos(page: AppTest) -> list[str]:
    return [info.value.replace("\\", "") for info in page.info]


def test_every_kept_checkpoint_is_a_frame_and_the_slider_begins_after_training(open_page: Open, trained: Run) -> None:
    page = open_page("compare", run=trained.id)
    assert trained.config.train_loss_note in [caption.value for caption in page.caption]
    data = sent(page)
    assert trained.checkpoints() == [
        Checkpoint(0),
        Checkpoint(0, 1),
        Checkpoint(0, 2),
        Checkpoint(1),
        Checkpoint(2),
        Checkpoint(3),
    ]
    assert [frame["checkpoint"] for frame in data["frames"]] == ["0", "0.1", "0.2", "1", "2", "3"]
    assert [frame["text"] for frame in data["frames"][::2]] == ["untrained", "epoch 0, step 2", "epoch 2 of 3"]
    assert data["start"] == 5
    assert [column["name"] for column in data["columns"]] == ["untrained", "selected checkpoint"]
    assert [column["checkpoint"] for column in data["columns"]] == [0, None]
    assert data["difference"]["columns"] == [1, 0] and data["difference"]["factors"] == [1, 1]


def test_maps_answers_and_curves_are_those_of_the_kept_models(open_page: Open, trained: Run) -> None:
    page = open_page("compare", run=trained.id, layer=1, head=2)
    data = sent(page)
    (of_run,) = data["runs"]
    numbers = [int(title.split(":")[0]) for title in data["titles"]]
    test_set = load_split(trained.config)[1]
    maps = unpacked(of_run["values"]) / 65535 * unpacked(of_run["scales"])[..., None]
    for place, checkpoint in enumerate(trained.checkpoints()):
        probs, attn = attend(trained.load_model(checkpoint), test_set.images[numbers])
        expected = cls_map(attn[:, 0], 1)
        assert np.abs(maps[place, :, 0] - expected.numpy()).max() <= float(expected.max()) / 500
        assert unpacked(of_run["predicted"])[place].tolist() == probs.argmax(1).tolist()
        np.testing.assert_allclose(unpacked(of_run["confidence"])[place], probs.amax(1), atol=1e-6)
    charts = {chart["title"]: [unpacked(line["values"]) for line in chart["lines"]] for chart in data["charts"]}
    assert [line["name"] for line in data["charts"][0]["lines"]] == ["train", "test"]
    untrained, *losses = [row["test_loss"] for row in trained.metrics()]
    np.testing.assert_allclose(charts["loss"][1], [untrained, np.nan, np.nan, *losses], rtol=1e-6)
    assert np.isnan(charts["accuracy"][0][0])  # nothing was trained before epoch 1
    _, attn = attend(trained.load_model(2), test_set.images)  # fewer than are measured at most, so all of them
    assert charts["entropy"][0][4] == pytest.approx(float(entropy(cls_map(attn[:, 0], 1)).mean()), rel=1e-5)
    assert charts["divergence"][0][0] == pytest.approx(0, abs=1e-6)
    figures = page.dataframe[0].value
    assert figures["checkpoint"].tolist() == ["0", "0.1", "0.2", "1", "2", "3"]
    assert figures["test accuracy"].tolist()[::3] == [predict_run(trained, epoch).accuracy for epoch in (0, 1)]
    np.testing.assert_allclose(figures["entropy"], charts["entropy"][0])


def test_any_two_epochs_layers_and_heads_stand_in_the_link(open_page: Open, trained: Run) -> None:
    page = open_page("compare", run=trained.id, before=1, epoch=2, layer=1, head=2)
    assert [column["name"] for column in sent(page)["columns"]] == ["epoch 1", "selected checkpoint"]
    pickers = [box for column in page.columns for box in column.selectbox]  # side by side
    assert [box.value for box in pickers if box.label in ("Layer", "Head")] == [1, "2"]
    assert [name for name, _ in sent(page)["legend"]] == ["train", "test", "attention of head 2"]
    widget(page, "selectbox", "Head").select("max").run()
    assert page.query_params["head"] == "max"
    assert page.query_params["epoch"] == "2"  # the rest stays
    widget(page, "selectbox", "Head").select("each").run()
    assert [column["name"] for column in sent(page)["columns"]] == ["mean over heads", "head 1", "head 2"]
    assert unpacked(sent(page)["runs"][0]["values"]).shape[2] == 3
    assert [name for name, _ in sent(page)["legend"]][2:] == [
        "attention, mean over heads",
        "attention of single heads",
    ]
    assert not errors(page)


def test_one_epoch_against_itself_is_no_error(open_page: Open, trained: Run) -> None:
    page = open_page("compare", run=trained.id, before=2, epoch=2, images="Wrong before, right after")
    assert infos(page) == ["No test images match. Choose another selection or other epochs."]
    widget(page, "selectbox", "Images").select("all").run()
    assert [column["name"] for column in sent(page)["columns"]] == ["epoch 2", "selected checkpoint"]
    assert not errors(page)


@pytest.mark.parametrize("choice", ["corrected", "lost", "incorrect"])
def test_images_are_chosen_by_what_training_changed(open_page: Open, trained: Run, choice: str) -> None:
    before, after = (predict_run(trained, epoch).correct for epoch in (0, 3))
    fits = {"corrected": ~before & after, "lost": before & ~after, "incorrect": ~after}[choice]
    page = open_page("compare", run=trained.id)
    widget(page, "selectbox", "Images").select(choice).run()
    if not fits.any():
        assert infos(page) == ["No test images match. Choose another selection or other epochs."]
        return
    numbers = [int(title.split(":")[0]) for title in sent(page)["titles"]]
    assert len(numbers) == min(8, fits.sum()) and fits[numbers].all()


def test_a_link_of_an_earlier_version_selects_the_same_images(open_page: Open, trained: Run) -> None:
    page = open_page("compare", run=trained.id, images="Wrong after")
    assert widget(page, "selectbox", "Images").value == "incorrect"


def test_a_click_opens_the_image_at_the_checkpoint_of_the_slider(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = sent(open_page("compare", run=trained.id))["titles"]
    monkeypatch.setattr("pages.parts.components.scrub.scrub", lambda *data, **also: Opened(5, Checkpoint(1)))
    page = open_page("compare", run=trained.id, layer=1, head=2)
    opened = {name: page.query_params[name] for name in ("image", "epoch", "layer", "head")}
    assert opened == {"image": titles[5].split(":")[0], "epoch": "1", "layer": "1", "head": "2"}


def test_two_runs_that_cut_images_differently_share_multiples_of_uniform(open_page: Open, trained: Run) -> None:
    config = trained.config.changed(patch_size=16, depth=1, num_heads=1, epochs=1)
    other = Run.create(config, trained.path.parent)
    train(config, other, SILENT)
    page = open_page("compare", run=trained.id)
    widget(page, "selectbox", "Second run").select(other.id).run()
    assert page.query_params["run2"] == other.id
    data = sent(page)
    first, second = data["runs"]
    assert (first["numTokens"], second["numTokens"]) == (first["times"], second["times"]) == (17, 5)
    assert unpacked(second["values"]).shape[-1] == 4
    assert second["at"] == [0, 1, 2, 3, 3, 3]  # it ends after one epoch and stays there
    difference = data["difference"]
    assert (difference["columns"], difference["grid"]) == ([1, 0], 4)  # 16 patches and 4
    for place, maps in ((1, first), (0, second)):  # of the second run, which is subtracted from, and of the first
        cells = unpacked(difference["patches"][place])
        values = unpacked(maps["values"]) / 65535 * unpacked(maps["scales"])[..., None]
        on_cells = values[..., cells] * maps["times"] * difference["factors"][place] / 17
        np.testing.assert_allclose(on_cells.sum(-1), values.sum(-1), rtol=1e-5)  # none is added or lost
    assert any(
        "4×4 cells; the attention of a patch is divided evenly among its cells" in caption.value
        for caption in page.caption
    )
    assert data["scale"][1] == max(run_scale(run)[1] * count for run, count in ((trained, 17), (other, 5)))
    assert [name for name, _ in data["legend"]] == ["first run", "second run"]
    assert [[line["name"] for line in chart["lines"]] for chart in data["charts"]] == [["first run", "second run"]] * 6
    assert not [box for box in page.selectbox if box.label == "Head"]  # one of them has a single head
    assert not errors(page)


def test_two_runs_share_the_larger_scale_in_multiples_of_each_one_s_uniform(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Run.create(trained.config.changed(patch_size=16), trained.path.parent)
    tops = {trained.id: 0.5, other.id: 0.9}
    monkeypatch.setattr("pages.parts.shell.cache.run_scale", lambda run: (0.0, tops[run.id]))
    assert common_scale([trained, other]) == common_scale([other, trained]) == (0, 0.5 * 17)  # 0.9 · 5 is less
    assert common_scale([other]) == (0, 0.9)


def test_runs_on_other_images_are_rejected_with_the_difference(open_page: Open, trained: Run) -> None:
    other = trained.path.with_name("20200101-000000-star-cross")
    shutil.copytree(trained.path, other)
    stored = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**stored, "classes": ["star", "cross"]}))
    page = open_page("compare", run=trained.id, run2=other.name)
    (sentence,) = infos(page)
    assert sentence.startswith("The two runs have different test images: classes is")
    assert not page.get("bidi_component")
    gone = open_page("compare", run=trained.id, run2="20200101-000000-gone")
    assert errors(gone)[0].startswith("The run '20200101-000000-gone' is not in ")


def test_weights_that_cannot_be_read_are_left_out_and_named(open_page: Open, trained: Run) -> None:
    broken = trained.path / "checkpoints" / "epoch-0002.safetensors"
    broken.write_bytes(broken.read_bytes()[:100])
    page = open_page("compare", run=trained.id)
    assert [frame["checkpoint"] for frame in sent(page)["frames"]] == ["0", "0.1", "0.2", "1", "3"]
    assert any("The weights of epoch 2 cannot be read and are left out." in caption.value for caption in page.caption)
    assert not errors(page)


def test_an_unreadable_untrained_model_is_an_error_and_no_other_takes_its_place(open_page: Open, trained: Run) -> None:
    broken = trained.path / "checkpoints" / "epoch-0000.safetensors"
    broken.write_bytes(broken.read_bytes()[:100])
    page = open_page("compare", run=trained.id, before=1)
    assert errors(page)[0].startswith(f"{broken} does not contain the weights")
    assert not page.get("bidi_component")


def test_many_checkpoints_are_thinned_evenly_with_the_chosen_ones_among_them(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.parts.compare.over_training.MAX_CHECKPOINTS", 2)
    page = open_page("compare", run=trained.id, before=1, epoch=3)
    assert [frame["checkpoint"] for frame in sent(page)["frames"]] == ["0", "1", "3"]
    assert any("3 of the 6 saved checkpoints are shown" in caption.value for caption in page.caption)
    assert torch.get_num_threads() == 1  # as before


def test_two_runs_are_counted_against_each_other_and_their_differences_drawn(open_page: Open, trained: Run) -> None:
    config = trained.config.changed(seed=5, depth=1)
    second = Run.create(config)
    train(config, second, SILENT)
    first, other = predict_run(trained).correct, predict_run(second).correct
    only_first, only_second = np.flatnonzero(first & ~other), np.flatnonzero(other & ~first)
    assert len(only_first) and len(only_second)
    page = open_page("compare", run=trained.id, run2=second.id, images="second")
    (words,) = [part.value for part in page.markdown if "only in the second" in part.value.replace("\n", " ")]
    assert f"**{len(only_first)}** only in the first" in words and f"**{len(only_second)}** only in the second" in words
    assert {int(title.split(":")[0]) for title in sent(page)["titles"]} <= set(only_second.tolist())
    assert widget(page, "selectbox", "Images").value == "second"
    (words,) = [part.value for part in page.markdown if "CLS maps" in part.value]
    images = load_split(trained.config)[1].images[:] / 255
    maps = [cls_map(run.load_model()(images, return_attn=True)[1][-1]) for run in (trained, second)]
    pairs = zip(*(each.detach().numpy() for each in maps), strict=True)
    mean = np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs])
    assert f"{len(images)} test images correlate by **{mean:.2f}** on average" in words
    alone = open_page("compare", run=trained.id, images="second")
    assert widget(alone, "selectbox", "Images").value == "all" and not errors(alone)


def test_many_checkpoints_of_a_slow_model_are_computed_on_request_and_cancelled(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.parts.shell.progress.MULTIPLICATIONS_PER_SECOND", 1)
    page = open_page("compare", run=trained.id, before=0, epoch=2)
    assert [frame["checkpoint"] for frame in sent(page)["frames"]] == ["0", "2", "3"]
    num_maps = 6 * (8 + 18)  # of the images on the page, and of those that the metrics are computed from
    label = f"All 6 checkpoints. {estimate(num_maps * multiplications(trained.config.model))}"
    with monkeypatch.context() as patched:
        patched.setattr("pages.parts.compare.over_training.take_snapshot", Mock(side_effect=StopException))
        page = widget(page, "toggle", label).set_value(True).run()
    page = button(page, "Cancel").click().run()
    assert not widget(page, "toggle", label).value
    page = widget(page, "toggle", label).set_value(True).run()
    assert len(sent(page)["frames"]) == 6
