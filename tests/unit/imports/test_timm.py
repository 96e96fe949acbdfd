"""timm models as runs: the same logits and attention; other architectures are refused by name."""

import json
import re
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from minivit.attention import attend
from minivit.data import load_split
from minivit.engine import train
from minivit.errors import ConfigError, DataError, MiniViTError, RunError
from minivit.imports import ImportOptions, import_model
from minivit.imports.architecture import read_architecture
from minivit.imports.importer import read_class_names
from minivit.imports.metadata import Facts
from minivit.imports.state_dict import read_state_dict
from minivit.inference import logits as compute_logits
from minivit.inference import predict_run
from minivit.runs import Run, default_runs_dir

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 3, "num_heads": 2, "num_classes": 5}


def timm_model(**changes) -> VisionTransformer:
    """A small timm model whose weights are all random, biases too."""
    torch.manual_seed(1)
    model = VisionTransformer(**{**TINY, **changes}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def save(model: torch.nn.Module | dict, path) -> str:
    state = model if isinstance(model, dict) else model.state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return str(path)


def timm_logits_and_attention(
    model: VisionTransformer, images: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits and the attention of each block as timm computes them."""
    attns = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, inputs, __: attns.append(inputs[0]))
    with torch.no_grad():
        return model(images), attns


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"init_values": 0.3},  # LayerScale
        {"qkv_bias": False, "mlp_ratio": 2.5},
        {"no_embed_class": True, "num_classes": 3},
        {"in_chans": 1, "depth": 1},
        {"reg_tokens": 4},
        {"reg_tokens": 3, "no_embed_class": True, "depth": 1},
        {"pre_norm": True},
        {"qk_norm": True, "reg_tokens": 1},
        {"global_pool": "avg", "reg_tokens": 2},
    ],
    ids=[
        *("plain", "LayerScale", "no qkv bias", "CLS without position", "gray", "registers"),
        *("registers without positions", "norm_pre", "qk-norm", "average pooling with fc_norm"),
    ],
)
def test_an_imported_model_gives_timms_logits_and_attention(image_folder, tmp_path, changes):
    model = timm_model(**changes)
    options = ImportOptions(normalization="half")
    run = import_model(save(model, tmp_path / "vit_tiny.safetensors"), image_folder, options)
    test_set = load_split(run.config)[1]
    images = test_set.images[:6]
    logits, attn = timm_logits_and_attention(model, (images / 255 - 0.5) / 0.5)
    with torch.no_grad():
        logits_here = run.load_model()(images / 255)
    torch.testing.assert_close(logits_here, logits, atol=1e-4, rtol=0)
    probs, attn_here = attend(run.load_model(), images)
    torch.testing.assert_close(attn_here, torch.stack(attn, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(probs, logits.softmax(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(compute_logits(run.load_model(), images), logits, atol=1e-4, rtol=0)  # by the shortcuts
    assert logits.std() > 0.1 and attn[0].std() > 0.001


@pytest.mark.parametrize("option", [True, False], ids=["by option", "by metadata"])
@pytest.mark.parametrize("fc_norm", [True, False])
@pytest.mark.parametrize("global_pool", ["token", "avg"])
def test_the_head_reads_what_the_metadata_or_the_user_say(image_folder, tmp_path, global_pool, fc_norm, option):
    model = timm_model(global_pool=global_pool, fc_norm=fc_norm)
    path = save(model, tmp_path / "model.safetensors")
    assert any("the head reads" in line for line in import_model(path, image_folder).environment["assumed"])
    if not option:
        config = {"architecture": "vit_tiny_patch16_224", "global_pool": global_pool}
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    options = ImportOptions(normalization="none", global_pool=global_pool if option else None)
    run = import_model(path, image_folder, options)
    images = load_split(run.config)[1].images[:4]
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(images / 255), model(images / 255), atol=1e-4, rtol=0)
    assert not any("the head reads" in line for line in run.environment["assumed"])


def test_the_activation_of_clip_is_read_from_the_name_of_its_architecture(image_folder, tmp_path):
    model = timm_model(act_layer="quick_gelu", pre_norm=True, norm_layer=partial(torch.nn.LayerNorm, eps=1e-5))
    path = save(model, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_clip_quickgelu_224"}', encoding="utf-8")
    run = import_model(path, image_folder, ImportOptions(normalization="none"))
    images = load_split(run.config)[1].images[:4]
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(images / 255), model(images / 255), atol=1e-4, rtol=0)
    assert run.config.model.norm_eps == 1e-5


def test_all_images_are_test_images_and_epoch_0_has_random_weights(image_folder, tmp_path):
    run = import_model(save(timm_model(), tmp_path / "vit.safetensors"), image_folder)
    train_set, test_set = load_split(run.config)
    assert (len(train_set), len(test_set)) == (0, 90)
    assert run.epochs() == [0, 1] and (run.state.phase, run.state.epoch) == ("done", 1)
    assert run.config.classes[:2] == ("class 0", "class 1")
    assert run.config.classes[5:] == ("circle", "cross", "star") and run.config.model.num_classes == 5
    assert not torch.equal(run.load_model(0).head.weight, run.load_model(1).head.weight)
    predictions = predict_run(run)
    assert predictions.accuracy == 0 and predictions.predicted.max() < 5  # no prediction can be correct
    assert predictions.confusion.shape == (8, 8) and np.isnan(predictions.loss).all()
    assert run.environment["imported_from"].endswith("vit.safetensors")
    assert Run.open(run.path).config == run.config


def test_class_folders_match_the_models_class_names(image_folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("star\ncrane\ncircle\ncrane\n<b>\n")
    run = import_model(save(timm_model(), tmp_path / "vit.safetensors"), image_folder, ImportOptions(class_names=names))
    assert run.config.classes == ("star", "crane", "circle", "crane (2)", "<b>", "cross")
    test_set = load_split(run.config)[1]
    assert test_set.counts == {
        "star": 30,
        "crane": 0,
        "circle": 30,
        "crane (2)": 0,
        "<b>": 0,
        "cross": 30,
    }
    assert predict_run(run).confusion.sum() == 90


def test_the_normalization_is_that_of_the_options(image_folder, tmp_path):
    path = save(timm_model(), tmp_path / "vit.safetensors")
    run = import_model(path, image_folder, ImportOptions(normalization="imagenet"))
    assert run.load_model().mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    clip = import_model(save(timm_model(pre_norm=True), tmp_path / "clip.safetensors"), image_folder)
    assert clip.load_model().mean.flatten().tolist() == pytest.approx([0.481, 0.458, 0.408], abs=1e-3)
    assert "Assumed: the normalization 'clip' (--normalization)." in clip.environment["assumed"]
    with pytest.raises(RunError, match="Unknown normalization 'x'"):
        import_model(path, image_folder, ImportOptions(normalization="x"))


def test_a_disk_that_is_full_during_an_import_leaves_no_half_run(image_folder, tmp_path, monkeypatch):
    def full(run, model, epoch):
        raise RunError("No space left on device")

    monkeypatch.setattr(Run, "save_checkpoint", full)
    with pytest.raises(RunError, match="No space left"):
        import_model(save(timm_model(), tmp_path / "vit.safetensors"), image_folder)
    assert not list(default_runs_dir().iterdir())


def test_an_imported_model_is_not_trained(image_folder, tmp_path):
    run = import_model(save(timm_model(), tmp_path / "vit.safetensors"), image_folder)
    before = run.load_model().head.weight
    with pytest.raises(RunError, match="imported"):
        train(run.config, run)
    assert run.state.phase == "done" and torch.equal(run.load_model().head.weight, before)


def test_a_class_folder_added_after_the_import_raises_an_error(image_folder, tmp_path):
    folder = shutil.copytree(image_folder, tmp_path / "images")
    run = import_model(save(timm_model(), tmp_path / "vit.safetensors"), folder)
    shutil.copytree(folder / "train" / "star", folder / "train" / "moon")
    with pytest.raises(DataError, match=r"'moon' was added to .* Import the model again"):
        load_split(run.config)


@pytest.mark.parametrize(
    "sizes", [(224, 16, 768, 12, 12), (518, 14, 1280, 32, 16), (224, 14, 1408, 40, 16)], ids=["base", "huge", "giant"]
)
def test_the_largest_published_models_fit(sizes):
    names = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")
    with torch.device("meta"):
        weights = VisionTransformer(**dict(zip(names, sizes, strict=True))).state_dict()
    vit = read_architecture(weights, "vit", Facts())
    assert tuple(getattr(vit, name) for name in names) == sizes
    assert (vit.mlp_ratio, vit.num_classes, vit.norm, vit.act) == (4, 1000, "pre", "gelu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_token": False, "global_pool": "avg"}, "no class token"),
        ({"class_token": False, "global_pool": "avg", "fc_norm": False}, "no class token"),
        ({"global_pool": "map"}, "an attention-pool head"),
        ({"num_classes": 1}, "to 1 logits"),
        ({"pos_embed": "none"}, "no learned positions"),
        (
            {"num_heads": 4, "embed_dim": 100},
            r"64 dimensions per head do not divide its embedding dimension of 100\. Specify the",
        ),
    ],
)
def test_an_unsupported_part_is_refused_by_name_before_a_run_is_created(image_folder, tmp_path, changes, words):
    path = save(timm_model(**changes), tmp_path / "vit.safetensors")
    with pytest.raises(RunError, match=words):
        import_model(path, image_folder)
    assert not list((tmp_path / "runs").iterdir())


def test_swiglu_and_unknown_parts_are_refused_by_name(image_folder, tmp_path):
    state = timm_model().state_dict()
    wide = dict(state) | {"blocks.0.mlp.fc1.weight": torch.zeros(1024, 128), "blocks.0.mlp.fc1.bias": torch.zeros(1024)}
    with pytest.raises(RunError, match="SwiGLU"):
        import_model(save(wide, tmp_path / "a.safetensors"), image_folder)
    with pytest.raises(RunError, match=r"blocks\.1\.attn\.gate"):
        import_model(save(state | {"blocks.1.attn.gate": torch.zeros(1)}, tmp_path / "b.safetensors"), image_folder)


def test_a_number_of_heads_that_divides_the_embedding_dimension_is_accepted(image_folder, tmp_path):
    model = timm_model(num_heads=4)
    path = save(model, tmp_path / "vit.safetensors")
    run = import_model(path, image_folder, ImportOptions(num_heads=4))
    images = load_split(run.config)[1].images[:2]
    with torch.no_grad():
        torch.testing.assert_close(
            run.load_model()(images / 255)[:, :5], model((images / 255 - 0.5) / 0.5), atol=1e-4, rtol=0
        )
    for number in (3, -1):
        with pytest.raises(RunError, match=f"{number} heads do not divide"):
            import_model(path, image_folder, ImportOptions(num_heads=number))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dict_saved_by_torch_is_read(image_folder, tmp_path, wrapped):
    state = timm_model().state_dict()
    torch.save({"model": state, "epoch": 3} if wrapped else state, tmp_path / "vit.pth")
    assert import_model(tmp_path / "vit.pth", image_folder).config.model.depth == 3


class Trap:
    def __reduce__(self):
        return (print, ("executed",))


def test_nothing_in_a_file_is_executed(image_folder, tmp_path, capsys):
    torch.save({"cls_token": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(RunError, match="without running code"):
        import_model(tmp_path / "trap.pth", image_folder)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"x" * 100, "list", "values"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_without_a_state_dict_is_refused_with_its_path(tmp_path, content, suffix):
    path = tmp_path / f"file{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif suffix == ".pth":
        torch.save([torch.zeros(2)] if content == "list" else {"cls_token": 3}, path)
    with pytest.raises(RunError, match=re.escape(str(path))):
        read_state_dict(path)


@pytest.mark.parametrize("name", ["fc", "heads", "head.1", "heads.1", "linear_head", "classifier"])
def test_a_head_is_recognized_by_the_names_that_scripts_give_it(image_folder, tmp_path, name):
    model = timm_model()
    weights = {key.replace("head.", f"{name}."): value for key, value in model.state_dict().items()}
    run = import_model(save(weights, tmp_path / "vit.safetensors"), image_folder, ImportOptions(normalization="none"))
    images = load_split(run.config)[1].images[:2]
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(images / 255), model(images / 255), atol=1e-4, rtol=0)


def test_a_head_of_several_layers_is_refused(image_folder, tmp_path):
    weights = timm_model().state_dict()
    weights |= {"head.0.weight": weights.pop("head.weight"), "head.2.weight": torch.zeros(3, 5)}
    with pytest.raises(RunError, match="a head of several layers"):
        import_model(save(weights, tmp_path / "vit.safetensors"), image_folder)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_class_names_are_read_in_the_encodings_of_editors_and_shells(tmp_path, encoding):
    (tmp_path / "names.txt").write_text("a\nä\na\na (2)\n", encoding=encoding)
    assert read_class_names(tmp_path / "names.txt", 4) == ["a", "ä", "a (3)", "a (2)"]


def test_there_must_be_as_many_class_names_as_classes(image_folder, tmp_path):
    path = save(timm_model(), tmp_path / "vit.safetensors")
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(RunError, match="lists 2 classes, but the model has 5"):
        import_model(path, image_folder, ImportOptions(class_names=tmp_path / "names.txt"))
    with pytest.raises(RunError, match="cannot be read"):
        import_model(path, image_folder, ImportOptions(class_names=tmp_path / "nowhere.txt"))


def test_sizes_beyond_the_bounds_are_refused(image_folder, tmp_path):
    model = timm_model(depth=41, embed_dim=64, num_heads=1)
    with pytest.raises(ConfigError, match=r"Layers .* is 41"):
        import_model(save(model, tmp_path / "vit.safetensors"), image_folder)
    with pytest.raises(MiniViTError):
        import_model(tmp_path / "nowhere.safetensors", image_folder)
