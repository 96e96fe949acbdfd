import json
import re
from html.parser import HTMLParser

import pytest
import torch

from minivit.errors import ConfigError
from minivit.export import article_json, bertviz_html, one_head, tokens

# BertViz leaves its own script file open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file .*bertviz:ResourceWarning")

LOADING = ("src", "href", "data", "poster", "action", "srcset")  # attributes that make a browser fetch something


@pytest.fixture
def attn() -> torch.Tensor:
    """Attention of one image, 3 layers of 2 heads over CLS and 4 patches."""
    return torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0)).softmax(-1)


class Page(HTMLParser):
    """Elements of a page as a browser takes it apart, with the text inside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ended: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        self.ended.append(tag)

    def handle_data(self, data):
        if self.elements and self.lasttag in ("script", "style"):
            self.text[self.lasttag][-1] += data


# One head


def test_one_head_is_that_head_of_that_layer(attn):
    for layer in range(3):
        for head in range(2):
            assert torch.equal(one_head(attn, layer, head), attn[layer, head])
        assert torch.equal(one_head(attn, layer, "max"), torch.maximum(attn[layer, 0], attn[layer, 1]))
        torch.testing.assert_close(one_head(attn, layer, "mean"), (attn[layer, 0] + attn[layer, 1]) / 2)


@pytest.mark.parametrize(
    ("layer", "head", "words"),
    [(3, 0, "no layer 4"), (-1, 0, "no layer 0"), (0, 2, "no head 3"), (0, -1, "no head 0"), (0, "min", "no head min")],
)
def test_a_layer_or_head_that_is_not_there_is_refused_with_what_there_is(attn, layer, head, words):
    with pytest.raises(ConfigError) as refused:
        one_head(attn, layer, head)
    assert words in str(refused.value).replace("'", "")
    assert ("1 to 3" if "layer" in words else "1 to 2") in str(refused.value)


# The article's JSON


def test_the_articles_json_has_the_tokens_and_one_square_of_numbers(attn):
    stored = json.loads(article_json(attn[0, 0]))
    assert set(stored) == {"tokens", "attentions"}
    assert stored["tokens"] == ["[CLS]", "p0", "p1", "p2", "p3"]
    assert torch.equal(torch.tensor(stored["attentions"]), attn[0, 0])  # every digit


def test_the_articles_model_has_65_tokens():
    assert len(tokens(64)) == 65 and tokens(64)[-1] == "p63"


# BertViz


@pytest.fixture(scope="module")
def html() -> str:
    attn = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0)).softmax(-1)
    return bertviz_html(attn, layer=2)


def test_the_head_view_loads_nothing_from_anywhere(html):
    page = Page(html)
    for tag, attributes in page.elements:
        assert not [name for name in LOADING if attributes.get(name)], (tag, attributes)
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert "http-equiv" not in attributes
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
    assert "Layer:" in html and {"html", "head", "body", "title", "select"} <= {tag for tag, _ in page.elements}
    assert html.startswith("<!DOCTYPE html>") and page.ended[-1] == "html"


def params_of(html: str) -> dict:
    found = re.search(r"params\s*=\s*(\{.*?\});", html)
    assert found
    return json.loads(found[1])


def test_the_head_view_shows_these_numbers_rounded_to_four_decimals_and_the_chosen_layer(html, attn):
    params = params_of(html)
    (shown,) = params["attention"]
    weights = torch.tensor(shown["attn"], dtype=torch.float64)
    assert weights.shape == (3, 2, 5, 5)
    assert (weights - attn.double()).abs().max() <= 0.5e-4 + 1e-12
    assert shown["left_text"] == shown["right_text"] == tokens(4)
    assert params["layer"] == 2
    digits = re.findall(r"0\.(\d+)", json.dumps(shown["attn"]))
    assert max(map(len, digits)) == 4


def test_every_layer_can_be_chosen(attn):
    assert [params_of(bertviz_html(attn, layer))["layer"] for layer in range(3)] == [0, 1, 2]
    assert params_of(bertviz_html(attn))["layer"] == 0


def test_two_views_on_one_page_do_not_share_a_name(attn):
    first, second = (params_of(bertviz_html(attn))["root_div_id"] for _ in range(2))
    assert first != second
