import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivit.config import PRESETS, TrainConfig, ViTConfig, preset, settings
from minivit.errors import ConfigError


def test_every_preset_is_complete_and_survives_json():
    for name in PRESETS:
        config = preset(name)
        assert TrainConfig.model_validate(json.loads(config.model_dump_json())) == config


def test_the_article_preset_holds_the_articles_settings():
    config = preset("article")
    assert config.classes == ("cat", "airplane", "frog", "truck")
    assert (config.epochs, config.batch_size, config.lr, config.optimizer) == (100, 64, 1e-3, "adam")
    assert (config.schedule, config.weight_decay, config.augment, config.normalize) == ("constant", 0, "none", False)
    model = config.model
    assert (model.patch_size, model.embed_dim, model.depth, model.num_heads, model.mlp_ratio) == (4, 64, 1, 1, 1)
    assert (model.norm, model.pos_embed, model.act, model.num_classes) == ("post", "sine", "relu", 4)


def test_every_setting_has_what_a_form_needs_to_explain_it():
    names = [setting.name for setting in settings()]
    assert len(names) == len(set(names))
    hidden = {"model", "num_classes", "imported", "preprocessing", "drawing", "lr_changes"}  # not chosen by a person
    hidden |= {"pool", "norm_pre", "qk_norm", "norm_eps", "rope_base"}  # of imported models
    assert set(names) == (set(TrainConfig.model_fields) | set(ViTConfig.model_fields)) - hidden
    for setting in settings():
        assert setting.title and setting.help.endswith(".")
        if setting.kind in (int, float) and not setting.choices:
            assert setting.maximum is not None and (setting.minimum is not None or setting.above is not None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"classes": ("cat",)}, ["at least 2 classes", "'cat'"]),
        ({"classes": ()}, ["at least 2 classes", "none"]),
        ({"classes": ("cat", "dog", "cat")}, ["'cat'", "twice"]),
        ({"patch_size": 5}, ["5 px", "32 px", "4, 8, 16"]),
        ({"num_heads": 3}, ["3 heads", "64", "Choose one of 1, 2, 4, 8"]),
        ({"embed_dim": 9}, ["even", "9"]),
        ({"epochs": 0}, ["Epochs", "0", "greater than or equal to 1"]),
        ({"lr": -1.0}, ["Learning rate", "-1.0", "greater than 0"]),
        ({"lr": float("nan")}, ["Learning rate", "nan", "finite"]),
        ({"depth": 99}, ["Layers", "99", "less than or equal to 40"]),
        ({"dataset": "mnist"}, ["Data set", "'mnist'", "'cifar10'"]),
        ({"warmup_epochs": 200.0}, ["200", "100"]),
        ({"color": "red"}, ["'color'"]),
    ],
)
def test_invalid_settings_are_refused_in_a_sentence_with_the_value(wrong, words):
    with pytest.raises(ConfigError) as refused:
        preset("article").changed(**wrong)
    for word in words:
        assert word in str(refused.value)


def test_building_a_model_config_directly_refuses_in_the_same_words():
    with pytest.raises(ConfigError, match="3 heads do not divide an embedding dimension of 64"):
        ViTConfig(num_heads=3)


def test_the_note_on_the_train_loss_names_all_that_makes_it_differ_from_the_test_loss():
    plain = preset("article").train_loss_note
    assert plain.endswith("while the weights change; the test loss is that of the weights after it.")
    many = preset("article").changed(label_smoothing=0.1, mixup=0.2, drop_rate=0.1, class_balance="sampling", ema=0.9)
    assert many.train_loss_note.endswith(
        "the test loss is that of the moving average of the weights after it. "
        "Only the train loss includes label smoothing, mixed images, dropout, balanced sampling."
    )


def test_an_unknown_preset_names_those_that_exist():
    with pytest.raises(ConfigError, match="article"):
        preset("huge")


def test_the_number_of_classes_follows_the_chosen_classes():
    assert preset("article").changed(classes=("cat", "dog", "frog")).model.num_classes == 3


def test_another_data_set_brings_its_own_image_size_unless_one_is_named():
    assert preset("article").changed(dataset="fashion_mnist").model.img_size == 28
    assert preset("article").changed(dataset="fashion_mnist").model.in_chans == 1
    assert preset("article").changed(dataset="fashion_mnist", img_size=32).model.img_size == 32
    assert preset("article").changed(img_size=64).changed(epochs=2).model.img_size == 64


def test_another_data_set_brings_the_newest_drawing():
    former = preset("article").changed(dataset="shapes", drawing=1)
    assert former.changed(epochs=2, dataset="shapes").drawing == 1
    assert former.changed(dataset="cifar10").drawing == 2


@given(patch=st.integers(1, 40), size=st.integers(8, 128))
def test_only_patch_sizes_that_divide_the_image_are_accepted(patch, size):
    if size % patch == 0:
        assert ViTConfig(img_size=size, patch_size=patch).num_patches == (size // patch) ** 2
    else:
        with pytest.raises(ConfigError, match="does not divide"):
            ViTConfig(img_size=size, patch_size=patch)
