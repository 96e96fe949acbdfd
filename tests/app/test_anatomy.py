"""Anatomy: what the weights are made of, at any kept checkpoint, as the page gives it to the browser."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from streamlit.runtime.scriptrunner import StopException
from streamlit.testing.v1 import AppTest
from timm.models.vision_transformer import VisionTransformer

from minivit.attention import METHODS, attend
from minivit.attention.decomposition import cls_terms, filter_components
from minivit.attention.heads import HeadAblation, head_statistics
from minivit.data import load_split
from minivit.data.image_set import evenly_spaced
from minivit.engine import SILENT, train
from minivit.figures import filter_images
from minivit.imports import ImportOptions, import_model
from minivit.inference import multiplications, predict_run
from minivit.model import MiniViT
from minivit.runs import Checkpoint, Run
from minivit.stats import paired_change
from pages.parts.anatomy.heads import finding
from pages.parts.anatomy.rollout_overlays import NUM_IMAGES
from pages.parts.shell.progress import estimate
from tests.app.conftest import Open, button, captions, components, errors, labels, unpacked, widget

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 2, "num_heads": 2}  # of timm's
HEADINGS = {
    "Filters and positions": ["Patch filters", "Position similarity"],
    "Heads": ["Mean attention distance", "Head ablation"],
    "Maps": ["Attention rollout"],
    "Position and content": ["Position and content in layer 1"],
}


def component(page: AppTest, name: str) -> dict[str, Any]:
    """What one browser component is given, by its key or its label."""
    (data,) = [data for data in components(page) if name in (data["key"], data.get("label"))]
    return data


def pixels(tile: dict[str, Any]) -> np.ndarray:
    return unpacked(tile.get("pixels", tile))


def text_of(page: AppTest) -> str:
    """All sentences on the page."""
    return "\n".join(part.value.replace("\\", "") for part in (*page.caption, *page.markdown, *page.info))


def one_epoch(run: Run, **changes: Any) -> Run:
    """Another run, trained for an epoch with other settings."""
    other = Run.create(run.config.changed(epochs=1, **changes))
    train(other.config, other, SILENT)
    return other


def headings(page: AppTest) -> list[str]:
    return [part.value for part in page.header]


@pytest.mark.parametrize(
    ("tab", "name"),
    [*zip(HEADINGS, ("Patch filters", "Heads", "anatomy_overlays", "Terms of layer 1"), strict=True)],
)
def test_the_linked_tab_alone_is_drawn_at_any_kept_checkpoint(
    open_page: Open, trained: Run, tab: str, name: str
) -> None:
    page = open_page("anatomy", run=trained.id, epoch=3, anatomy_tab=tab)
    assert headings(page) == HEADINGS[tab]
    before = component(page, name)
    (slider,) = page.select_slider
    assert slider.options == ["untrained", "epoch 0, step 1", "epoch 0, step 2", "epoch 1", "epoch 2", "epoch 3"]
    slider.set_value("0.2").run()
    after = component(page, name)
    assert before != after
    assert before["scale"] == after["scale"] or name == "Patch filters"  # two checkpoints compare
    assert "0.2" in page.query_params["epoch"]
    assert headings(page) == HEADINGS[tab] and not errors(page)


def test_links_without_a_tab_open_the_heads_if_they_are_to_be_ablated(open_page: Open, trained: Run) -> None:
    page = open_page("anatomy", run=trained.id)
    assert headings(page) == HEADINGS["Filters and positions"]
    assert headings(open_page("anatomy", run=trained.id, heads_silence="true")) == HEADINGS["Heads"]


def test_filters_are_the_components_of_the_checkpoints_patch_embedding(open_page: Open, trained: Run) -> None:
    tiles = component(open_page("anatomy", run=trained.id, epoch="0.1"), "Patch filters")["rows"][0]["tiles"]
    components, shares = filter_components(trained.load_model(Checkpoint(0, 1)).patch_embed.proj.weight)
    expected = filter_images(components.numpy()).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(np.stack([pixels(tile) for tile in tiles]), expected)
    assert [tile["caption"] for tile in tiles] == [f"{share:.1%}" for share in shares]


def test_a_convolutional_stem_shows_its_first_filters_and_claims_no_components(open_page: Open, trained: Run) -> None:
    conv = one_epoch(trained, stem="conv")
    page = open_page("anatomy", run=conv.id)
    assert headings(page) == ["Filters of the first convolution", "Position similarity"]
    tiles = component(page, "Patch filters")["rows"][0]["tiles"]
    weight = conv.load_model().patch_embed.stem[0].weight.detach().numpy()
    np.testing.assert_array_equal(pixels(tiles[2]), filter_images(weight)[2].transpose(1, 2, 0))
    assert len(tiles) == len(weight) and not any(tile["caption"] for tile in tiles)
    assert "no principal components" in text_of(page) and "Principal components of" not in text_of(page)
    assert not errors(page)


def test_the_distance_chart_says_that_the_last_layer_s_patch_rows_are_not_used(open_page: Open, trained: Run) -> None:
    note = "What patches attend to in the last layer does not affect the logits."
    assert note in text_of(open_page("anatomy", run=trained.id, anatomy_tab="Heads"))
    pooled = trained.config.model.model_copy(update={"pool": "mean, then norm"})
    other = Run.create(trained.config.model_copy(update={"model": pooled}))
    other.save_checkpoint(MiniViT(pooled), 0)
    assert note not in text_of(open_page("anatomy", run=other.id, anatomy_tab="Heads"))


def test_filters_of_channels_that_no_screen_has_are_mentioned(open_page: Open, trained: Run) -> None:
    odd = Run.create(trained.config.changed(in_chans=5))
    odd.save_checkpoint(MiniViT(odd.config.model), 0)
    page = open_page("anatomy", run=odd.id)
    assert "This model reads 5 channels; filters can be drawn" in text_of(page)
    page = open_page("anatomy", run=odd.id, anatomy_tab="Maps")
    assert errors(page) == ["Images have 1 channel (grayscale) or 3 (RGB), not 5. Choose 1 or 3."]


def test_the_rollout_is_drawn_over_evenly_spaced_test_images(open_page: Open, trained: Run) -> None:
    data = component(open_page("anatomy", run=trained.id, epoch=2, anatomy_tab="Maps"), "anatomy_overlays")
    test_set = load_split(trained.config)[1]
    indices = evenly_spaced(len(test_set), 8)
    model, images = trained.load_model(2), test_set.images[indices]
    probs, maps = attend(model, images)[0], METHODS["rollout"].attribute(model, images)
    np.testing.assert_allclose(pixels(data["columns"][0]["values"]), maps, atol=1e-6)
    assert data["titles"] == [f"{i}: {test_set.classes[test_set.labels[i]]}" for i in indices]
    correct = [bool(answer == test_set.labels[i]) for i, answer in zip(indices, probs.argmax(1), strict=True)]
    assert [caption[1] for caption in data["columns"][0]["captions"]] == correct
    assert (data["quantity"], data["uniformName"]) == ("Rollout", "uniform attention")
    assert data["uniform"] == pytest.approx(0.75 / 17)


def test_a_click_on_an_overlay_opens_the_rollout_of_that_image(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.parts.anatomy.rollout_overlays.maps", lambda *data, **also: 1)
    page = open_page("anatomy", run=trained.id, epoch=2, anatomy_tab="Maps")
    assert page.title[0].value == "Attention" and not errors(page)
    second = evenly_spaced(len(load_split(trained.config)[1]), NUM_IMAGES)[1]
    opened = {name: page.query_params[name] for name in ("run", "epoch", "image", "method", "head")}
    assert opened == {"run": trained.id, "epoch": "2", "image": str(second), "method": "rollout", "head": "mean"}


def test_with_one_layer_the_page_explains_why_there_is_no_rollout_and_shows_the_cls_map(
    open_page: Open, trained: Run
) -> None:
    page = open_page("anatomy", run=one_epoch(trained, depth=1).id, anatomy_tab="Maps")
    assert headings(page) == ["CLS map"]
    assert "layer" in page.header[0].help
    data = component(page, "anatomy_overlays")
    assert data["columns"][0]["name"] == "CLS map" and data["uniform"] == pytest.approx(1 / 17)


def test_the_terms_of_the_picked_image_stand_beside_their_sum(open_page: Open, trained: Run) -> None:
    page = open_page("anatomy", run=trained.id, epoch=3, image=4, anatomy_tab="Position and content")
    image, *heads = component(page, "Terms of layer 1")["rows"]
    test_set = load_split(trained.config)[1]
    np.testing.assert_array_equal(pixels(image["tiles"][0]), test_set.images[4].permute(1, 2, 0))
    expected = cls_terms(trained.load_model(3), test_set.images[4:5]).maps[0].reshape(2, 4, 4, 4)
    for head, row in enumerate(heads):
        maps = np.stack([pixels(tile) for tile in row["tiles"]])
        np.testing.assert_allclose(maps[:4], expected[head], atol=1e-6)
        np.testing.assert_allclose(maps[4], maps[:4].sum(0), atol=1e-5)
    terms = cls_terms(trained.load_model(3), test_set.images[evenly_spaced(len(test_set), 64)])
    low, high = terms.position_share.min(), terms.position_share.max()
    assert f"**{low:.1%} to {high:.1%}** of the variance of its scores comes from the position" in text_of(page)
    assert f"and **{1 - high:.1%} to {1 - low:.1%}** from their content" in text_of(page)


def test_an_untrained_map_is_called_nearly_uniform(open_page: Open, trained: Run) -> None:
    assert "nearly uniform" in text_of(
        open_page("anatomy", run=trained.id, epoch=0, anatomy_tab="Position and content")
    )


def test_weights_that_cannot_be_read_do_not_hide_those_of_other_checkpoints(open_page: Open, trained: Run) -> None:
    (trained.path / "checkpoints" / "epoch-0003.safetensors").write_bytes(b"half a file")
    for tab, names in HEADINGS.items():
        page = open_page("anatomy", run=trained.id, epoch=2, anatomy_tab=tab)
        assert headings(page) == names and not errors(page)
    broken = errors(open_page("anatomy", run=trained.id, epoch=3))
    assert len(broken) == 1 and "does not contain the weights" in broken[0]


def test_heads_are_ablated_on_request(open_page: Open, trained: Run) -> None:
    model, test_set = trained.load_model(3), load_split(trained.config)[1]
    torch.manual_seed(0)
    with torch.no_grad():  # weights with which every head matters, and differently, and all classes are predicted
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        model.head.bias -= model(test_set.images / 255).mean(0)
    trained.save_checkpoint(model, 3)
    page = open_page("anatomy", run=trained.id, epoch=3, anatomy_tab="Heads")
    rows = component(page, "Heads")["rows"]
    statistics = head_statistics(model, test_set.images[evenly_spaced(len(test_set), 64)])
    np.testing.assert_allclose(pixels(rows[1]["tiles"][0]), statistics.cls_maps[1, 0].reshape(4, 4), atol=1e-6)
    assert not any(tile["caption"] for row in rows for tile in row["tiles"])
    widget(page, "toggle", "Ablate each head").set_value(True).run()
    complete = torch.from_numpy(predict_run(trained, 3).correct)
    assert f"All heads: **{complete.float().mean():.1%}** (" in text_of(page)
    assert f"of {len(test_set)} test images correct" in text_of(page)
    captions = set()
    for layer, row in enumerate(component(page, "Heads")["rows"]):
        for head, tile in enumerate(row["tiles"]):
            head_mask = torch.ones(2, 2, dtype=torch.bool)
            head_mask[layer, head] = False
            with torch.no_grad():
                correct = model(test_set.images / 255, head_mask=head_mask).argmax(1) == test_set.labels
            gained, lost = int((correct & ~complete).sum()), int((complete & ~correct).sum())
            change = (gained - lost) / len(complete)
            low, high = paired_change(gained, lost, len(complete))
            points = [f"{100 * value:+.1f}".replace("-", "−") for value in (change, low, high)]
            expected = [f"{correct.float().mean():.1%}", f"{points[0]} points", f"{points[1]} to {points[2]}"]
            assert tile["caption"].split("\n") == expected
            captions.add(tile["caption"])
    assert len(captions) == 4


def test_the_words_name_the_head_that_is_needed_most_and_how_many_chance_would_give() -> None:
    complete = np.arange(100) < 80
    ablated = np.tile(complete, (2, 10, 1))
    assert "No head has a significant effect" in finding(HeadAblation(ablated, complete))
    ablated[1, 4, :30] = False
    ablated[0, 2, 50:70] = False
    words = finding(HeadAblation(ablated, complete))
    assert "All heads: **80.0%** (71.1% to 86.7%) of 100 test images correct." in words
    assert "Without layer 2, head 5: **50.0%** (−30.0 points, −38.5 to −20.4)." in words
    assert "2 of 20 heads have a significant effect at 95%; by chance alone it would be at most about 1." in words


def test_a_run_of_nothing_but_its_untrained_model_is_shown_without_a_slider(open_page: Open, trained: Run) -> None:
    for path in (trained.path / "checkpoints").iterdir():
        if path.name != "epoch-0000.safetensors":
            path.unlink()
    page = open_page("anatomy", run=trained.id)
    assert headings(page) == HEADINGS["Filters and positions"]
    assert not page.select_slider and not errors(page)


@pytest.mark.parametrize("knows", [True, False], ids=["its classes", "other classes"])
def test_an_imported_model_is_decomposed_too(
    open_page: Open, trained: Run, image_folder: Path, tmp_path: Path, knows: bool
) -> None:
    theirs = VisionTransformer(**TINY, num_classes=3)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    names = tmp_path / "names.txt"
    names.write_text("circle\nstar\ncross\n" if knows else "cat\ndog\nfrog\n")
    run = import_model(tmp_path / "theirs.safetensors", image_folder, ImportOptions(class_names=names))
    page = open_page("anatomy", run=run.id, anatomy_tab="Position and content")
    assert headings(page) == HEADINGS["Position and content"] and not errors(page)
    page = open_page("anatomy", run=run.id, heads_silence="true")
    assert ("All heads: " in text_of(page)) is knows
    assert ("None of these images belongs to a class of this model" in text_of(page)) is not knows


def test_a_long_ablation_is_estimated_before_and_cancelled_meanwhile(
    open_page: Open, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.parts.shell.progress.MULTIPLICATIONS_PER_SECOND", 1)
    page = open_page("anatomy", run=trained.id, anatomy_tab="Heads")
    of_a_head = 18 * multiplications(trained.config.model) / 2  # of 18 images, as half of the layers follow a head's
    assert estimate(4 * of_a_head) in captions(page)
    seen: list[str] = []

    def interrupted(model: MiniViT, images: Any, labels: Any, report: Any) -> None:
        report(0.25)
        raise StopException  # as Streamlit does at a report when the script is overtaken

    with monkeypatch.context() as patched:
        patched.setattr("pages.parts.anatomy.heads.head_effects", interrupted)
        page = widget(page, "toggle", "Ablate each head").set_value(True).run()
        seen = labels(page)
    assert "Cancel" in seen
    page = button(page, "Cancel").click().run()
    assert not widget(page, "toggle", "Ablate each head").value and "Cancel" not in labels(page)


def test_gray_images_and_learned_positions_are_drawn_too(open_page: Open, trained: Run) -> None:
    shutil.rmtree(trained.path)
    gray = one_epoch(trained, in_chans=1, pos_embed="learned", norm="pre", img_size=16)
    filters = component(open_page("anatomy", run=gray.id), "Patch filters")["rows"][0]
    assert pixels(filters["tiles"][0]).shape == (8, 8, 1)
    for name in ("anatomy", "predictions", "attention", "compare", "train"):
        assert not errors(open_page(name, run=gray.id))
