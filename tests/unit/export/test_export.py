"""Files of one image: what is in them, and that they load nothing from anywhere."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from html_page import Page
from PIL import Image

from minivit.attention import attend
from minivit.attention.image_attention import attention_inputs
from minivit.data import load_split
from minivit.engine import SILENT, train
from minivit.errors import ConfigError, MiniViTError
from minivit.export import (
    FORMATS,
    ExportRequest,
    ImageExport,
    MapPicture,
    bertviz_html,
    bertviz_model_html,
    export,
    tokens,
)
from minivit.export.picture import map_pixels
from minivit.figures import colormap
from minivit.model import MiniViT
from minivit.runs import Run

# BertViz leaves its own script file open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file .*bertviz:ResourceWarning")

LOADING = ("src", "href", "data", "poster", "action", "srcset")  # attributes that make a browser fetch something


@pytest.fixture
def attn() -> torch.Tensor:
    """Attention of one image, 3 layers of 2 heads over CLS and 4 patches."""
    return torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0)).softmax(-1)


# Tokens


def test_the_articles_model_has_65_tokens():
    assert len(tokens(64)) == 65 and tokens(64)[-1] == "p63"


def test_registers_are_in_no_file_and_a_model_without_a_head_predicts_nothing(tiny):
    run = Run.create(tiny.changed(num_registers=2))
    config = run.config.model.model_copy(update={"num_classes": 0})
    model, image = MiniViT(config).eval(), torch.zeros(3, 32, 32, dtype=torch.uint8)
    inputs = attention_inputs(model, image[None])
    export = ImageExport(run, 0, 0, "image 0", image, 1, ("a", "b"), model, inputs, (0.0, 0.1))
    assert len(json.loads(export.json(0, 0))["tokens"]) == 17
    with np.load(io.BytesIO(export.npz())) as arrays:
        assert arrays["attn"].shape == (2, 2, 17, 17) and arrays["probs"].shape == (0,)
    picture = export.picture(0, "mean")
    assert "no prediction" in picture.title and len(picture.values) == 16
    assert "p15" in export.bertviz(0) and "p16" not in export.bertviz(0)


# The map as a picture


def a_map(values: list[float], *, title: str = "", high: float = 0.4, channels: int = 3) -> MapPicture:
    """A map of 2 × 2 patches over an image of one gray, 8 × 8 px."""
    image = np.full((channels, 8, 8), 100, np.uint8)
    return MapPicture(image, np.array(values, np.float32), (0, high), 1 / 5, title)


def texts(picture: MapPicture) -> list[str]:
    return [
        element.text or "" for element in ET.fromstring(picture.render("svg")).iter("{http://www.w3.org/2000/svg}text")
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_each_patch_of_the_picture_has_the_color_of_its_weight_at_its_position(channels):
    picture = a_map([0, 0.1, 0.2, 0.4], channels=channels)
    pixels = map_pixels(picture.values, picture.scale, 8)
    colors = colormap("magma")[[0, 64, 128, 255]].reshape(2, 2, 3)
    assert np.array_equal(pixels, colors.repeat(4, 0).repeat(4, 1))
    image = np.asarray(Image.open(io.BytesIO(picture.render("png"))).convert("RGB"))
    for color in (*colors.reshape(-1, 3), np.array([100, 100, 100])):  # the image stands beside the map
        assert (image == color).all(-1).sum() > 10_000


def test_the_scale_stands_in_numbers_with_the_uniform_value_marked():
    picture = a_map([0, 0.1, 0.2, 0.3])
    assert {"0", "0.4000", "uniform 1/5 = 0.2000"} <= set(texts(picture))
    (mark,) = [line for line in picture.figure().axes[2].lines if line.get_gid() == "uniform"]
    assert list(mark.get_xdata()) == [0.2, 0.2]


def test_a_weight_beyond_the_scale_is_mentioned():
    assert "≥ 0.4000" in texts(a_map([0, 0, 0, 0.5]))
    assert "0.4000" in texts(a_map([0, 0, 0, 0.4]))


def test_a_title_with_markup_or_formulas_or_letters_without_a_glyph_stays_text():
    title = '<script>alert(1)</script> & $x^2$ 猫 "x" \0\n\ud800'
    picture = a_map([0, 0, 0, 0], title=title)
    assert b"<script" not in picture.render("svg")
    assert texts(picture)[-1].startswith('<script>alert(1)</script> & $x^2$ 猫 "x" ')
    assert picture.render("pdf").startswith(b"%PDF")


def test_the_svg_loads_nothing_and_is_the_same_each_time():
    picture = a_map([0, 0, 0, 0])
    for element in ET.fromstring(picture.render("svg")).iter():
        for name, value in element.attrib.items():
            assert not name.endswith("href") or value.startswith(("data:image/png;base64,", "#"))
    assert picture.render("svg") == picture.render("svg")


# BertViz

PATCHES = torch.arange(3 * 8 * 8).reshape(3, 8, 8).to(torch.uint8)


@pytest.fixture(scope="module", params=["head view", "model view"])
def html(request) -> str:
    attn = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0)).softmax(-1)
    if request.param == "head view":
        return bertviz_html(attn, layer=2, image=PATCHES)
    return bertviz_model_html(attn, image=PATCHES)


def test_the_views_load_nothing_from_anywhere(html):
    page = Page(html)
    for tag, attributes in page.elements:
        assert not [name for name in LOADING if attributes.get(name)], (tag, attributes)
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
    policies = [attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'; ")  # and it allows no address
    assert "http" not in policies[0]
    for style in page.text.get("style", []):
        assert "@import" not in style and "url(" not in style


def test_scripts_end_where_they_should(html):
    page = Page(html)
    scripts = page.text["script"]
    assert page.ended.count("script") == len(scripts) == len(re.findall("</script", html))
    assert not any("<!--" in script for script in scripts)  # after it, a "<script" would swallow the end of its script
    assert sum(len(script) for script in scripts) > 0.9 * len(html)
    jquery, d3, shim, *_ = scripts
    assert "jQuery" in jquery and "d3js.org" in d3 and "requirejs" in shim
    assert {"html", "head", "body", "title"} <= {tag for tag, _ in page.elements}
    assert html.startswith("<!DOCTYPE html>") and page.ended[-1] == "html"


def params_of(html: str) -> dict:
    match = re.search(r"params\s*=\s*(\{.*?\});", html)
    assert match
    return json.loads(match[1])


def test_the_views_show_these_numbers_rounded_to_four_decimals(html, attn):
    params = params_of(html)
    (view,) = params["attention"]
    weights = torch.tensor(view["attn"], dtype=torch.float64)
    assert weights.shape == (3, 2, 5, 5)
    assert (weights - attn.double()).abs().max() <= 0.5e-4 + 1e-12
    assert view["left_text"] == view["right_text"] == tokens(4)
    digits = re.findall(r"0\.(\d+)", json.dumps(view["attn"]))
    assert max(map(len, digits)) == 4


def test_the_image_for_the_patches_stands_in_the_page(html):
    match = re.search(r"const PEEK = (\{.*?\});", html)
    assert match
    facts = json.loads(match[1])
    assert facts["grid"] == 2
    image = Image.open(io.BytesIO(base64.b64decode(facts["image"].removeprefix("data:image/png;base64,"))))
    assert np.array_equal(np.asarray(image), PATCHES.permute(1, 2, 0).numpy())


def test_without_an_image_no_patch_is_shown(attn):
    assert "PEEK" not in bertviz_html(attn) + bertviz_model_html(attn)


def test_every_layer_can_be_shown_first(attn):
    assert [params_of(bertviz_html(attn, layer))["layer"] for layer in range(3)] == [0, 1, 2]
    assert params_of(bertviz_html(attn))["layer"] == 0


@pytest.mark.parametrize("view", [bertviz_html, bertviz_model_html])
def test_only_the_selected_layers_are_exported_with_their_own_indices(attn, view):
    params = params_of(view(attn, layers=[2, 0]))
    assert params["include_layers"] == [0, 2]
    weights = torch.tensor(params["attention"][0]["attn"])
    torch.testing.assert_close(weights, attn[[0, 2]], atol=1e-4, rtol=0)
    with pytest.raises(ConfigError, match=r"no layer 4; the model has 3"):
        view(attn, layers=[0, 3])
    with pytest.raises(ConfigError, match="No layer is selected"):
        view(attn, layers=[])


def test_a_first_layer_that_is_not_selected_is_replaced_by_one_that_is(attn):
    assert params_of(bertviz_html(attn, 1, layers=[2, 0]))["layer"] == 0
    assert params_of(bertviz_html(attn, 2, layers=[2, 0]))["layer"] == 2


def test_two_views_on_one_page_do_not_share_a_name(attn):
    first, second = (params_of(bertviz_html(attn))["root_div_id"] for _ in range(2))
    assert first != second


# From a run folder


@pytest.fixture
def run(tiny) -> Run:
    run = Run.create(tiny.changed(epochs=1))
    train(run.config, run, SILENT)
    return run


def test_files_of_one_image_have_the_predictions_of_the_runs_model(run):
    test_set = load_split(run.config)[1]
    probs, attn = attend(run.load_model(0), test_set.images[5:6])
    with np.load(io.BytesIO(export(run, "npz", ExportRequest(0, 5))), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["attn"], attn[0].numpy()) and np.array_equal(arrays["probs"], probs[0].numpy())
        assert arrays["attn"].dtype == np.float32 and np.array_equal(arrays["image"], test_set.images[5].numpy())
        assert arrays["tokens"].tolist() == tokens(16) and arrays["classes"].tolist() == list(test_set.classes)
        assert (arrays["label"], arrays["run"]) == (int(test_set.labels[5]), run.id)
        assert (arrays["epoch"], arrays["number"], arrays["name"]) == (0, 5, "image 5")
    stored = json.loads(export(run, "json", ExportRequest(0, 5, 1, 0)))
    assert set(stored) == {"tokens", "attentions"} and stored["tokens"] == tokens(16)
    assert torch.equal(torch.tensor(stored["attentions"]), attn[0, 1, 0])  # every digit
    picture = ImageExport.of(run, 0, 5).picture(1, 0)
    assert np.array_equal(picture.values, attn[0, 1, 0, 0, 1:].numpy()) and picture.uniform == 1 / 17
    assert picture.scale[1] >= 4 / 17
    assert "layer 2, head 1 · untrained" in picture.title


def test_too_much_attention_is_refused_with_an_alternative(run, monkeypatch):
    monkeypatch.setattr("minivit.export.image_export.MAX_BERTVIZ_VALUES", 2 * 17**2)
    image = ImageExport.of(run, 0, 5)
    assert "BertViz" in image.bertviz(1, [1]) and "BertViz" in image.bertviz_model([1])
    with pytest.raises(ConfigError, match=r"2 layers has 1,156 values.* Choose fewer layers, or export one layer and"):
        image.bertviz(0)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"epoch": 9}, "has no checkpoint 9"),
        ({"image": 24}, "no image 24"),
        ({"layer": 2}, "no layer 3"),
        ({"head": 2}, "no head 3"),
    ],
)
@pytest.mark.parametrize("fmt", ["json", "png"])
def test_what_the_run_does_not_have_is_refused_in_words(run, fmt, choice, words):
    with pytest.raises(MiniViTError, match=words):
        export(run, fmt, ExportRequest(**choice))


def test_an_unknown_format_is_refused_with_those_that_exist(run):
    with pytest.raises(ConfigError, match=r"no file format 'docx'\. Choose one of json, npz"):
        export(run, "docx")
    assert "npz" in FORMATS
