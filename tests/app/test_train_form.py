"""The form on Train: what is set reaches the run, and what cannot be is told and starts nothing."""

from pathlib import Path
from typing import Any

import pytest

from minivit.config import PRESETS, TrainConfig, preset, settings
from minivit.runs import Run, load_initial
from tests.app.conftest import Open, button, captions, errors, labels, tick, widget
from tests.app.train_form import START, on_folder, set_to

# A value unlike the preset's for every setting that has a widget.
CHANGED: dict[str, Any] = {
    "images_per_class": 20,
    "split": "official",
    "stratify": False,
    "drop_duplicates": True,
    "shuffle_labels": True,
    "augment": "flip",
    "normalize": True,
    "img_size": 16,
    "in_chans": 1,
    "patch_size": 2,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 6,
    "mlp_ratio": 2.5,
    "norm": "pre",
    "pos_embed": "learned",
    "num_registers": 2,
    "class_balance": "sampling",
    "act": "gelu",
    "drop_rate": 0.25,
    "minutes": 2.5,
    "target_acc": 0.9,
    "patience": 5,
    "epochs": 7,
    "batch_size": 33,
    "optimizer": "adamw",
    "lr": 0.0005,
    "schedule": "cosine",
    "warmup_epochs": 1.5,
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "grad_clip": 2.5,
    "seed": 42,
    "device": "cpu",
    "devices": 2,
    "threads": 1,
    "mixup": 0.3,
    "cutmix": 1.5,
    "ema": 0.95,
    "whiten": True,
    "precision": "fp32",
    "compile": "off",
}


def test_every_setting_reaches_the_run_and_its_worker(open_page: Open, started: list[Run], image_folder: Path) -> None:
    page = on_folder(open_page("train"), image_folder)
    widget(page, "multiselect", "Classes").set_value(["star", "circle"])
    for name, value in CHANGED.items():
        set_to(page, name, value)
    button(page.run(), START).click().run()
    assert not errors(page)
    (run,) = started
    expected = preset("article").changed(
        dataset="folder", data_dir=str(image_folder), classes=("star", "circle"), **CHANGED
    )
    assert run.config == expected
    assert Run.open(run.path).config == expected
    unchanged = [setting.name for setting in settings() if setting.value(expected) == setting.value(TrainConfig())]
    assert unchanged == ["stem", "init_from"]  # the former excludes whitening
    assert page.query_params["run"] == run.id


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_all_widgets(open_page: Open, started: list[Run], image_folder: Path, name: str) -> None:
    page = on_folder(open_page("train"), image_folder)
    set_to(page, "epochs", 3)
    widget(page.run(), "selectbox", "Preset").select(name).run()
    button(page, START).click().run()
    settings = {"dataset": "folder", "data_dir": str(image_folder), "classes": ("circle", "cross", "star")}
    expected = preset(name).changed(**settings)
    assert started[0].config == (expected.changed(epochs=3) if name == "article" else expected)
    assert PRESETS[name] in widget(page, "selectbox", "Preset").help


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("patch_size", 5, "A patch size of 5 px does not divide the image size of 32 px. Choose one of 2, 4, 8, 16."),
        (
            "num_heads",
            3,
            "3 heads do not divide an embedding dimension of 64. Choose one of 1, 2, 4, 8, 16, 32 "
            "heads, or another embedding dimension.",
        ),
        ("warmup_epochs", 500.0, "A warm-up of 500 epochs is longer than the run of 100. Shorten it."),
        (
            "embed_dim",
            5,
            "A sine position embedding needs an even embedding dimension, not 5. "
            "Choose 6, or a learned position embedding.",
        ),
        ("in_chans", 2, "Images have 1 channel (grayscale) or 3 (RGB), not 2. Choose 1 or 3."),
        (
            "split",
            "official",
            "{folder} has no test split. Choose the split 'article', which holds out a share of the "
            "training split, or sort the images into train/<class> and test/<class>.",
        ),
    ],
)
def test_invalid_settings_are_reported_and_can_be_corrected_in_place(
    open_page: Open, started: list[Run], image_folder: Path, name: str, value: Any, sentence: str
) -> None:
    folder = image_folder / "train"
    page = on_folder(open_page("train"), folder)
    before = next(setting for setting in settings() if setting.name == name).value(preset("article"))
    set_to(page, name, value)
    page.run()
    assert errors(page) == [sentence.format(folder=folder)]
    assert button(page, START).disabled
    button(page, "Reset")  # the form is still there
    set_to(page, name, before)
    button(page.run(), START).click().run()
    assert not errors(page)
    assert len(started) == 1


@pytest.mark.parametrize("classes", [[], ["star"]])
def test_fewer_than_two_classes_start_nothing(
    open_page: Open, started: list[Run], image_folder: Path, classes: list[str]
) -> None:
    page = on_folder(open_page("train"), image_folder)
    widget(page, "multiselect", "Classes").set_value(classes).run()
    message = f"only {classes[0]!r} is selected" if classes else "none is selected"
    assert errors(page) == [f"A classifier needs at least 2 classes, and {message}. Select at least two classes."]
    assert button(page, START).disabled
    set_to(page, "epochs", 7)
    widget(page, "multiselect", "Classes").set_value(["star", "cross"]).run()
    assert not errors(page)
    assert widget(page, "number_input", "Epochs").value == 7


def test_changed_settings_are_named_and_reset(open_page: Open, image_folder: Path) -> None:
    page = on_folder(open_page("train"), image_folder)
    assert "Reset" not in labels(page)
    set_to(page, "batch_size", 33)
    set_to(page, "depth", 3)
    page.run()
    assert "2 changed: Layers, Batch size." in captions(page)
    button(page, "Reset").click().run()
    assert widget(page, "number_input", "Batch size").value == preset("article").batch_size
    assert "Reset" not in labels(page)


def test_a_new_session_starts_with_data_set_and_folder_of_the_newest_run(open_page: Open, trained: Run) -> None:
    page = open_page("train")
    assert widget(page, "selectbox", "Data set").value == "folder"
    assert widget(page, "text_input", "Folder").value == trained.config.data_dir
    widget(page, "selectbox", "Data set").select("shapes").run()
    assert widget(page, "selectbox", "Data set").value == "shapes"


def test_a_set_that_is_not_here_is_offered_and_starts_nothing(
    open_page: Open, started: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page("train")
    widget(page, "selectbox", "Data set").select("cifar10").run()
    assert "CIFAR-10 is not on this machine yet." in page.info[0].value
    assert button(page, START).disabled and "no images to train on" in button(page, START).help
    requests: list[str] = []
    monkeypatch.setattr("minivit.data.download", lambda name, progress: requests.append(name))
    button(page, "Download CIFAR-10 (170 MB)").click().run()
    assert requests == ["cifar10"]
    assert not started


def test_the_form_is_kept_while_other_pages_are_open(open_page: Open, trained: Run, image_folder: Path) -> None:
    page = on_folder(open_page("train", run=trained.id), image_folder)
    widget(page, "multiselect", "Classes").set_value(["star", "circle"])
    set_to(page, "epochs", 7)
    page.run()
    page.switch_page("pages/predictions.py").run()
    assert not [box for box in page.selectbox if box.label == "Data set"]
    page.switch_page("pages/train.py").run()
    assert widget(page, "text_input", "Folder").value == str(image_folder)
    assert widget(page, "multiselect", "Classes").value == ["star", "circle"]
    assert widget(page, "number_input", "Epochs").value == 7


@pytest.mark.parametrize("where", ["train", "runs"])
def test_the_settings_of_a_run_are_copied_to_the_form_whatever_it_showed(
    open_page: Open, started: list[Run], image_folder: Path, where: str
) -> None:
    config = preset("article").changed(dataset="folder", data_dir=str(image_folder), classes=("star", "circle"))
    run = Run.create(config.changed(**CHANGED | {"split": "article"}))
    run.set_state("done")
    page = on_folder(open_page("train", run=run.id), image_folder)
    widget(page, "multiselect", "Classes").set_value(["cross", "circle"]).run()
    for epochs in (11, 12):
        if where == "runs":
            page.switch_page("pages/runs.py").run()
            page = tick(page, 0)
        button(page, "Copy to the Train form").click().run()
        if where == "runs":
            page.switch_page("pages/train.py").run()
        assert not errors(page)
        assert widget(page, "number_input", "Epochs").value == 7
        set_to(page, "epochs", epochs)  # the second copy takes this back
        page.run()
    button(page, START).click().run()
    assert started[-1].config == run.config.changed(epochs=12)


def test_the_form_starts_from_the_weights_of_a_run_and_names_what_does_not_match(
    open_page: Open, started: list[Run], trained: Run
) -> None:
    page = open_page("train", run=trained.id)
    button(page, "Start from its weights").click().run()
    widget(page, "selectbox", "Initial weights").select(f"{trained.id}:2").run()
    set_to(page, "depth", 1)
    assert "differs in depth (2, not 1)" in errors(page.run())[0] and button(page, START).disabled
    set_to(page, "depth", 2)
    widget(page.run(), "multiselect", "Classes").set_value(["star", "circle"]).run()
    assert "The classification head starts from random weights, as the classes differ." in captions(page)
    button(page, START).click().run()
    assert not errors(page) and started[0].config.init_from == f"{trained.id}:2"
    assert load_initial(started[0])


def test_a_copy_of_a_run_with_the_former_drawing_of_shapes_keeps_and_names_it(
    open_page: Open, started: list[Run], tiny: TrainConfig
) -> None:
    run = Run.create(tiny.changed(drawing=1))
    run.set_state("done")
    page = open_page("train", run=run.id)
    table = next(table.value for table in page.dataframe if "in the article" in table.value)
    assert table.set_index("name").loc["drawing", ["value", "in the article"]].tolist() == ["1", "2"]
    assert not [caption for caption in page.caption if "earlier version" in caption.value]
    button(page, "Copy to the Train form").click().run()
    assert [caption for caption in page.caption if "earlier version" in caption.value]
    button(page, START).click().run()
    assert started[-1].config == run.config
    widget(page, "selectbox", "Preset").select("article").run()
    assert not [caption for caption in page.caption if "earlier version" in caption.value]
