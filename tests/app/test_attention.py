"""Attention: one image of one epoch, with its neighbors and its class probabilities."""

import shutil

import numpy as np
import pytest
import torch

from minivit.attention import attend
from minivit.attention.cascade import CONTROLS, SEED, cascade, summary
from minivit.attention.faithfulness import area, deletion, insertion
from minivit.attention.localization import Share, localize_methods
from minivit.attention.methods import METHODS, available_methods
from minivit.config import TrainConfig
from minivit.data import load_split
from minivit.data.image_set import evenly_spaced
from minivit.engine import SILENT, train
from minivit.inference import predict_run
from minivit.runs import Run
from minivit.runs.pictures import picture_id, save_picture
from minivit.stats import rank_correlation
from pages.parts.attention.localization import format_share
from pages.parts.shell import cache
from tests.app.conftest import Open, button, captions, charts, errors, sent, widget


def test_the_probabilities_are_those_of_the_image_and_the_epoch(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id, epoch=1, image=5)
    test_set = load_split(trained.config)[1]
    probs, _ = attend(trained.load_model(1), test_set.images[5:6])
    verdict, shares = (sent(page)["prediction"][name] for name in ("verdicts", "classes"))
    np.testing.assert_allclose(
        [share for (share,) in shares.values()], sorted(probs[0].numpy(), reverse=True), rtol=1e-5
    )
    true, predicted = test_set.classes[test_set.labels[5]], test_set.classes[probs.argmax()]
    assert [name for name in shares if name.endswith(" (true)")] == [f"{true} (true)"]
    text = f"Predicted: {predicted} ({probs.max():.1%}). True class: {true}."
    assert verdict == [[text, predicted == true]]


def test_neighbors_and_numbers_lead_to_other_images(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id)
    previous, following = (
        next(element for element in page.button if element.help == f"{way} image") for way in ("Previous", "Next")
    )
    assert previous.disabled and not following.disabled
    following.click().run()
    assert page.query_params["image"] == "1"
    widget(page, "number_input", "Test image").set_value(17).run()
    assert page.query_params["image"] == "17"
    page.run()
    assert next(element for element in page.button if element.help == "Next image").disabled
    next(element for element in page.button if element.help == "Previous image").click().run()
    assert page.query_params["image"] == "16"
    assert widget(page, "number_input", "Test image").value == 16


def test_an_image_that_another_run_has_not_falls_back(open_page: Open, trained: Run) -> None:
    small = trained.path.with_name("20200101-000000-small")
    shutil.copytree(trained.path, small)
    config = trained.config.changed(images_per_class=5)
    (small / "config.json").write_text(config.model_dump_json().replace("{", '{"schema_version": 1, ', 1))
    page = open_page("attention", run=trained.id, image=17)
    widget(page, "selectbox", "Run").select(small.name).run()
    assert widget(page, "number_input", "Test image").value == 0
    assert not errors(page)


def test_every_method_is_explained_and_comes_back_from_the_link(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id, method="occlusion", **{"class": "cross", "against": "circle"})
    assert widget(page, "selectbox", "Method").value == "occlusion"
    assert widget(page, "selectbox", "Target class").value == "cross"
    assert widget(page, "selectbox", "Contrast class").value == "circle"
    assert any(
        "1311\\.2901" in caption.value and METHODS["occlusion"].title in caption.value for caption in page.caption
    )
    widget(page, "selectbox", "Target class").select("circle").run()
    assert widget(page, "selectbox", "Contrast class").value is None  # not against itself
    for name, method in available_methods(trained.config.model).items():
        widget(page, "selectbox", "Method").select(name).run()
        assert page.query_params["method"] == name
        assert any(caption.value.startswith(method.title) for caption in page.caption)
        assert len([element for element in page.selectbox if element.label == "Contrast class"]) == method.needs_class
        assert not errors(page)


def test_rollout_is_not_offered_for_one_layer_and_the_help_explains_why(open_page: Open, trained: Run) -> None:
    shutil.rmtree(trained.path)
    config = trained.config.changed(depth=1, epochs=1)
    flat = Run.create(config)
    train(config, flat, SILENT)
    page = open_page("attention", run=flat.id, method="rollout")
    picker = widget(page, "selectbox", "Method")
    assert picker.value == "cls_map" and METHODS["rollout"].title not in picker.options
    assert "layer" in picker.help


@pytest.mark.parametrize("method", [name for name in METHODS if name != "contributions"])
def test_masked_patches_are_dropped_by_the_model_and_change_the_probabilities(
    open_page: Open, trained: Run, method: str
) -> None:
    page = open_page("attention", run=trained.id, image=5, off="p3,p4,p99,nonsense", method=method)
    test_set = load_split(trained.config)[1]
    keep = torch.tensor([[patch for patch in range(16) if patch not in (3, 4)]])
    probs, _ = attend(trained.load_model(), test_set.images[5:6], keep)
    shares = sent(page)["prediction"]["classes"]
    expected = [probs[0, test_set.classes.index(name.removesuffix(" (true)"))] for name in shares]
    complete, masked = np.array(list(shares.values())).T
    np.testing.assert_allclose(masked, expected, rtol=1e-5)
    assert np.abs(masked - complete).max() > 1e-6
    assert not errors(page)


def test_all_patches_may_be_off(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id, off=",".join(f"p{patch}" for patch in range(16)))
    assert sent(page)["prediction"]["verdicts"][1][0].startswith("With 16 patches masked: Predicted: ")
    assert any(caption.value == "All patches are masked." for caption in page.caption)


@pytest.mark.parametrize(("method", "importance"), [("cls_map", "leave_one_out"), ("occlusion", "occlusion")])
def test_the_card_masks_the_most_attended_and_the_most_important_patch_among_those_left(
    open_page: Open, trained: Run, method: str, importance: str
) -> None:
    model, image, masked = trained.load_model(), load_split(trained.config)[1].images[2:3], 6
    left = torch.tensor([[patch for patch in range(16) if patch != masked]])
    before, attn = attend(model, image, left)
    target = attend(model, image)[0].argmax(1)
    attended = left[0, attn[0, 1, :, 0, 1:].mean(0).argmax()]
    # against the most probable other class, unless the user chose a method for a class
    contrast = before.index_fill(1, target, -1).argmax(1) if method == "cls_map" else None
    important = left[0, METHODS[importance].attribute(model, image, target, contrast=contrast)[0, left[0]].argmax()]
    page = open_page("attention", run=trained.id, image=2, method=method, off=f"p{masked}")
    assert any(f"Computed from the complete image: {METHODS[importance].title}" in text for text in captions(page))
    for patch in {int(attended), int(important)}:
        after = attend(model, image, left[left != patch][None])[0]
        change = f"{before[0, target].item():.1%} → **{after[0, target].item():.1%}**"
        assert any(
            part.value.startswith(f"Without p{patch}, the most ") and change in part.value for part in page.markdown
        )
    button(page, f"Mask p{important}").click().run()
    assert page.query_params["off"] == ",".join(f"p{patch}" for patch in sorted((masked, int(important))))


def test_the_next_mistake_is_one_click_away_and_keeps_to_the_cell_it_came_from(open_page: Open, trained: Run) -> None:
    predictions = predict_run(trained, 1)
    page = open_page("attention", run=trained.id, epoch=1)
    mistakes = np.flatnonzero(~predictions.correct)
    for expected in [*mistakes[mistakes > 0], mistakes[0]]:  # round again at the end
        button(page, "Next incorrect image").click().run()
        assert page.query_params["image"] == str(expected)
    true, predicted = (predictions.labels[mistakes[0]], predictions.predicted[mistakes[0]])
    names = trained.config.classes
    page = open_page("attention", run=trained.id, epoch=1, true=names[true], predicted=names[predicted])
    button(page, f"Next {names[true]} → {names[predicted]}").click().run()
    image = int(page.query_params["image"])
    assert (predictions.labels[image], predictions.predicted[image]) == (true, predicted)


def test_faithfulness_is_measured_for_one_image_and_for_many_on_request(open_page: Open, trained: Run) -> None:
    page = open_page("attention", run=trained.id, method="relevance")
    assert not page.get("plotly_chart")
    subheaders = [part.value for part in page.subheader]
    page = open_page("attention", run=trained.id, method="relevance", trust="true")
    assert [part.value for part in page.subheader] == ["This image", "Many images", "Localization", *subheaders]
    assert len(page.get("plotly_chart")) == 2
    model, images = trained.load_model(), load_split(trained.config)[1].images[:1]
    target = attend(model, images)[0].argmax(1)
    deletion_area = area(deletion(model, images, target, METHODS["relevance"].attribute(model, images, target)))
    assert any(
        caption.value.startswith(f"Deletion area {deletion_area.item():.3f}; random rankings ")
        for caption in page.caption
    )
    assert any(text.startswith("Maps that use no model, deletion and insertion: constant ") for text in captions(page))
    assert any("Only the synthetic shapes have object masks" in caption.value for caption in page.caption)
    assert not errors(page)


def test_the_cascade_starts_with_what_it_found_and_draws_all_methods_at_the_layer_that_is_shown(
    open_page: Open, trained: Run
) -> None:
    page = open_page("attention", run=trained.id, layer=1, head=2)
    page = widget(page, "toggle", "Re-initialize the layers").set_value(True).run()
    model, test_set = trained.load_model(), load_split(trained.config)[1]
    images = test_set.images[evenly_spaced(len(test_set), 32)]
    predicted, methods = attend(model, images)[0].argmax(1), available_methods(model.config) | CONTROLS
    result = cascade(model, images, predicted, methods, layer=0, head=1, seed=SEED + trained.config.seed)
    assert f"**{summary(result)}**" in [element.value for element in page.markdown]
    (figure,) = charts(page)
    assert [line.name for line in figure.data] == [method.title for method in methods.values()]
    for name, line in zip(methods, figure.data, strict=True):
        expected = [1, *(step.mean if step else np.nan for step in result.at_steps(name))]
        np.testing.assert_allclose(np.array(line.y, float), expected, atol=1e-5)
    assert not errors(page)


def test_set_against_another_class_curves_and_agreement_follow_the_same_score(open_page: Open, trained: Run) -> None:
    params = {"method": "occlusion", "class": "cross", "against": "circle"}
    page = open_page("attention", run=trained.id, image=2, trust="true", **params)
    model, images = trained.load_model(), load_split(trained.config)[1].images[2:3]
    target, against = torch.tensor([1]), torch.tensor([2])  # of star, cross, circle
    maps = METHODS["occlusion"].attribute(model, images, target, contrast=against)
    insertion_area = area(insertion(model, images, target, maps, against))
    assert any(
        caption.value.startswith(f"Insertion area {insertion_area.item():.3f}; random rankings ")
        for caption in page.caption
    )
    reference = METHODS["leave_one_out"].attribute(model, images, target, contrast=against)
    agrees = f"Rank correlation with leave-one-out: {rank_correlation(maps, reference).item():.2f} "
    assert any(agrees in caption.value for caption in page.caption)
    assert charts(page)[0].layout.yaxis.title.text == "p(cross) / (p(cross) + p(circle))"
    assert charts(page)[1].layout.yaxis.title.text == "probability of the predicted class"


def test_curves_of_one_and_of_many_follow_the_map_of_the_layer_and_head_that_are_shown(
    open_page: Open, trained: Run
) -> None:
    page = open_page("attention", run=trained.id, image=4, layer=1, head=2, trust="true", trust_images=16)
    model, test_set = trained.load_model(), load_split(trained.config)[1]
    many = evenly_spaced(len(test_set), 16)
    for chart, indices in zip(charts(page), ([4], many), strict=True):
        images = test_set.images[indices]
        classes = attend(model, images)[0].argmax(1)
        maps = METHODS["cls_map"].attribute(model, images, classes, layer=0, head=1)
        deleted, inserted = (measure(model, images, classes, maps).mean(0).numpy() for measure in (deletion, insertion))
        _, _, gone_by_chance, gone, _, _, come_by_chance, come = (trace.y for trace in chart.data)
        np.testing.assert_allclose(gone, deleted, atol=1e-5)
        np.testing.assert_allclose(come, inserted, atol=1e-5)
        complete, empty = deleted[0], deleted[-1]
        assert (gone_by_chance[0], gone_by_chance[-1]) == pytest.approx((complete, empty), abs=1e-5)
        assert (come_by_chance[0], come_by_chance[-1]) == pytest.approx((empty, complete), abs=1e-5)


def test_on_drawn_shapes_the_maps_are_held_against_the_objects(open_page: Open, tiny: TrainConfig) -> None:
    run = Run.create(tiny)
    train(tiny, run, SILENT)
    page = open_page("attention", run=run.id, trust="true", layer=1, head=2)
    table = next(element.value for element in page.dataframe if "map" in element.value)
    test_set, last = load_split(tiny)[1], tiny.epochs
    images, masks, labels = test_set.images[:], test_set.masks, test_set.labels
    trained, untrained = (localize_methods(run.load_model(epoch), images, masks, labels) for epoch in (last, 0))
    assert table["map"].tolist() == [result.name for result in trained]
    assert table["verdict on the energy"].tolist() == [result.verdict for result in trained]
    for column, scores, score in (
        (f"energy, epoch {last}", trained, "energy"), ("energy, untrained", untrained, "energy"),
        (f"pointing, epoch {last}", trained, "pointing"), ("pointing, untrained", untrained, "pointing"),
    ):  # fmt: skip
        assert table[column].tolist() == [format_share(getattr(result, score)) for result in scores], column
    assert table["energy, untrained"].tolist() != table[f"energy, epoch {last}"].tolist()
    over_epochs = charts(page)[2].data[0]
    energy = {result.name: result for result in trained}[f"{METHODS['cls_map'].title}, layer 1, head 2"].energy
    assert over_epochs.y[-1] == pytest.approx(energy.value, rel=1e-5)
    assert over_epochs.error_y.array[-1] == pytest.approx(energy.high - energy.value, rel=1e-4)


def test_a_share_is_written_with_its_interval() -> None:
    assert format_share(Share(0.8049, 0.789, 0.82)) == "80.5% (78.9 to 82.0)"


def test_a_logit_is_decomposed_and_its_parts_add_up(open_page: Open, trained: Run) -> None:
    config = trained.config.changed(norm="pre", num_registers=2, epochs=1)
    run = Run.create(config)
    train(config, run, SILENT)
    page = open_page("attention", run=run.id, image=5, method="logit_shares", **{"class": "circle"}, logit="true")
    model, image = run.load_model(), load_split(config)[1].images[5:6]
    logit = float(model(image / 255)[0, config.classes.index("circle")].detach())
    (bar,) = (figure.data[0] for figure in charts(page) if figure.data[0].type == "waterfall")
    assert bar.y == ("patches", "CLS and registers", "biases", "logit") and bar.measure[-1] == "absolute"
    assert bar.x[-1] == pytest.approx(logit, abs=1e-5) and sum(bar.x[:-1]) == pytest.approx(logit, abs=1e-5)
    assert f"in total {logit:.2f}" in " ".join(caption.value for caption in page.caption)
    assert any("Shares of the logit of circle" in part.value for part in page.markdown)
    assert "The last LayerNorm and the head on every token" in " ".join(captions(page))
    page = open_page("attention", run=trained.id, logit="true")
    assert "The head on every token" in " ".join(captions(page))
    widget(page, "selectbox", "Target class").select("cross").run()  # the method of the map has no class
    assert any("Shares of the logit of cross" in part.value for part in page.markdown)
    assert any("need LayerNorm 'pre'" in info.value for info in page.info)


def test_every_image_and_every_picture_has_a_seed_of_its_own_that_torch_takes() -> None:
    ids = [0, 7, picture_id(b"one"), picture_id(b"another")]
    assert len({torch.Generator().manual_seed(cache.seed(image)).initial_seed() for image in ids}) == len(ids)


def test_a_saved_picture_that_is_damaged_is_named_and_the_page_works(open_page: Open, trained: Run) -> None:
    save_picture(trained, b"no picture", ".png")
    page = open_page("attention")
    (error,) = errors(page)
    assert f"{picture_id(b'no picture')}.png cannot be read" in error and page.get("bidi_component")
