"""Imported models of other kinds on every page."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from minivit.attention.methods import available_methods
from minivit.imports import import_model
from minivit.runs import Run
from tests.app.conftest import Open, errors, widget

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 128, "depth": 2, "num_heads": 2}  # of timm's


@pytest.mark.parametrize(
    "settings",
    [
        {"num_classes": 0, "reg_tokens": 2},
        {"reg_tokens": 3},
        {"global_pool": "avg", "pre_norm": True, "qk_norm": True},
    ],
    ids=["no head", "registers", "average pooling, norm_pre and qk-norm"],
)
def test_every_page_shows_imported_models_of_other_kinds(
    open_page: Open, trained: Run, image_folder: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    theirs = VisionTransformer(**{"num_classes": 3} | TINY | settings)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    run = import_model(tmp_path / "theirs.safetensors", image_folder)
    for name in ("dashboard", "runs", "data", "train", "compare", "anatomy"):
        page = open_page(name, run=run.id, heads_silence="true")
        assert not errors(page), name
    for method in available_methods(run.config.model):
        page = open_page("attention", run=run.id, method=method, layer=2, head=2, token="p4", off="p1,p7")
        assert not errors(page)
        assert widget(page, "selectbox", "Method").value == method
    predicts = settings.get("num_classes") != 0
    assert len(available_methods(run.config.model)) == (
        3 if not predicts else 9 if run.config.model.pool == "cls" else 7
    )
    page = open_page("predictions", run=run.id)
    assert any("no classifier head" in error for error in errors(page)) is not predicts
    assert any("names of this model's classes are unknown" in info.value for info in page.info) is predicts
    assert not page.metric  # an accuracy of 0.0% would be that of the unknown names
