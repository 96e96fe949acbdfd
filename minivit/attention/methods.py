"""The ways to ask which patches mattered, each with its formula, source and limits, and one call for all of them.

Maps are (B, N-1), one number a patch, row by row; the numbers of two methods are not on one scale.
"""

from dataclasses import dataclass

from torch import Tensor

from minivit.attention import faithfulness
from minivit.attention import maps as attention
from minivit.attention.maps import Head
from minivit.config import ViTConfig
from minivit.errors import ConfigError
from minivit.inference import eval_mode
from minivit.model import MiniViT


@dataclass(frozen=True)
class Method:
    """One way to ask, in words for people."""

    title: str
    formula: str
    source: str
    limits: str
    signed: bool = False  # below 0: the patch speaks against the class
    needs_class: bool = False
    needs_layer: bool = False  # and a head


METHODS: dict[str, Method] = {
    "cls_map": Method(
        title="CLS map",
        formula="A⁽ˡ⁾ₕ[CLS, patches]",
        source="DINO, arXiv 2104.14294",
        limits="Where CLS looks in one layer, not what it takes from there; the same whichever class is asked for.",
        needs_layer=True,
    ),
    "rollout": Method(
        title="Attention rollout",
        formula="R = Â_L ⋯ Â₁,  Â = ½ (meanₕ A + I),  R[CLS, patches]",
        source="Abnar & Zuidema, arXiv 2005.00928",
        limits="All layers, but no values, no feed-forward layers and no class; averages over heads.",
    ),
    "relevance": Method(
        title="Class relevance",
        formula="R ← R + ĀR,  Ā = meanₕ (∇A ⊙ A)⁺,  R[CLS, patches]",
        source="Chefer, Gur & Wolf, arXiv 2103.15679, eq. 5–6",
        limits="What speaks for the class; what speaks against it is clamped away. A gradient sees small changes only.",
        needs_class=True,
    ),
    "value_weighted": Method(
        title="Value-weighted attention",
        formula="‖αᵢⱼ f(xⱼ)‖,  f(x) = (x W_V + b_V) W_O,  i = CLS",
        source="Kobayashi et al., arXiv 2004.10102",
        limits="How much CLS takes from a patch in one layer, not which way it moves the answer; no class.",
        needs_layer=True,
    ),
    "occlusion": Method(
        title="Occlusion, filled",
        formula="f_c(x) − f_c(x with patch j in the image's mean colour),  f_c the logit",
        source="Zeiler & Fergus, arXiv 1311.2901",
        limits="One patch at a time: patches that stand in for each other hide. The filling is a sight of its own.",
        signed=True,
        needs_class=True,
    ),
    "occlusion_drop": Method(
        title="Occlusion, dropped",
        formula="f_c(x) − f_c(x without token j),  f_c the logit",
        source="Zeiler & Fergus, arXiv 1311.2901; tokens dropped as in arXiv 2204.08945",
        limits="One patch at a time: patches that stand in for each other hide. The model never saw one missing.",
        signed=True,
        needs_class=True,
    ),
}


def maps(
    name: str,
    model: MiniViT,
    images: Tensor,
    classes: Tensor,
    layer: int = -1,
    head: Head = "mean",
    against: Tensor | None = None,
) -> Tensor:
    """Maps (B, N-1) of images, uint8 0..255 or float 0..1, by the method of that name; on the model's device.

    `classes` (B,) and, where it is asked why not another one, `against` (B,) count for methods that need a class;
    `layer` (from 0, -1 the last) and `head` for those that need a layer. ConfigError for a method, layer or head
    that is not there or says nothing for this model.
    """
    reason = unavailable(name, model.config)
    if reason:
        raise ConfigError(reason)
    depth = model.config.depth
    if METHODS[name].needs_layer and not -depth <= layer < depth:
        raise ConfigError(f"There is no layer {layer + 1}; the model has {depth}. Choose 1 to {depth}.")
    if METHODS[name].needs_layer:
        return attention.cls_map(every_layer(name, model, images)[layer], head)
    match name:
        case "rollout":
            return attention.rollout(_attn(model, images))
        case "relevance":
            return attention.relevance(model, images, classes, against)
    return faithfulness.occlusion(model, images, classes, "drop" if name == "occlusion_drop" else "mean", against)


def every_layer(name: str, model: MiniViT, images: Tensor) -> list[Tensor]:
    """What a method that needs a layer is read from by `attention.cls_map`: a tensor (B, H, N, N) a layer."""
    assert METHODS[name].needs_layer
    return attention.value_weighted(model, images) if name == "value_weighted" else _attn(model, images)


def unavailable(name: str, config: ViTConfig) -> str | None:
    """Why a method says nothing for models of this shape; None where it does. ConfigError for an unknown method."""
    if name not in METHODS:
        raise ConfigError(f"There is no method {name!r}. Choose from {', '.join(METHODS)}.")
    if name == "rollout" and config.depth == 1:
        return "With one layer, rollout is the CLS map, mean over heads, at half its size. Look at the CLS map."
    return None


def _attn(model: MiniViT, images: Tensor) -> list[Tensor]:
    with eval_mode(model):
        return model(attention.to_model(model, images), return_attn=True)[1]
