"""The registry of attribution methods: which patches does a model's prediction depend on?

A method is added by adding its entry to `METHODS`, and nothing else: pages, the command line and the checks of
faithfulness and localization go through the registry. Values of different methods have different units.

B images, L layers, H heads, N tokens with CLS first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from minivit.attention.batches import batches
from minivit.attention.gradients import relevance
from minivit.attention.maps import Head, attend, cls_map, rollout, uniform_rollout
from minivit.attention.occlusion import leave_one_out, occlusion
from minivit.attention.value_weighting import value_weighted
from minivit.config import ViTConfig
from minivit.data import Images
from minivit.errors import ConfigError
from minivit.model import MiniViT

# (model, images, classes (B,), contrast classes (B,) or None) -> one map per image (B, N-1)
MapFunction = Callable[[MiniViT, Tensor, Tensor, Tensor | None], Tensor]
# (model, images) -> one matrix per layer and head, L tensors (B, H, N, N), of which `cls_map` takes the row of CLS
MatrixFunction = Callable[[MiniViT, Tensor], list[Tensor]]

RENAMED = {"occlusion_drop": "leave_one_out"}  # names in links of earlier versions


@dataclass(frozen=True, kw_only=True)
class Method:
    """One attribution method. It has either `maps` or, if it depends on layer and head, `matrices`."""

    title: str
    formula: str
    source: str
    limitations: str
    unit: str  # of one value
    maps: MapFunction | None = None
    matrices: MatrixFunction | None = None
    needs_class: bool = False
    signed: bool = False  # a value below 0 decreases the class's logit
    is_attention: bool = False  # the matrices are attention weights: each row sums to 1
    verbs: tuple[str, str] = ("attends to", "attended by")  # of a row and of a column
    unavailable: Callable[[ViTConfig], str | None] = lambda config: None  # the reason, or None
    # The value at every patch if attention over so many tokens is uniform in all layers; None if there is none
    uniform: Callable[[ViTConfig, int], float | None] = lambda config, num_tokens: None

    @property
    def needs_layer(self) -> bool:
        """Whether it depends on a layer and a head."""
        return self.matrices is not None

    def attribute(
        self,
        model: MiniViT,
        images: Images,
        classes: Tensor | None = None,
        *,
        contrast: Tensor | None = None,
        layer: int = -1,
        head: Head = "mean",
    ) -> Tensor:
        """Maps (B, N-1) of images, uint8 0..255 or float 0..1, on the model's device.

        `classes` (B,) and `contrast` (B,), to explain f_c − f_d instead of f_c, count if the method needs a class;
        `layer` (from 0, -1 the last) and `head` if it needs a layer. ConfigError if the model lacks the layer or head,
        or if the method is unavailable for it.
        """
        self._check(model.config, classes, layer)
        maps = [
            cls_map(values[layer], head) if self.needs_layer else values[0]
            for values in self._values(model, images, classes, contrast)
        ]
        return torch.cat(maps)

    def attribute_heads(self, model: MiniViT, images: Images, choices: list[tuple[int, Head]]) -> Tensor:
        """Maps (n, B, N-1) of n choices of layer and head, from one pass over the images."""
        parts = [
            torch.stack([cls_map(layers[layer], head) for layer, head in choices])
            for layers in self._values(model, images, None, None)
        ]
        return torch.cat(parts, dim=1)

    def values(
        self, model: MiniViT, images: Images, classes: Tensor | None = None, contrast: Tensor | None = None
    ) -> Tensor:
        """Everything the method computes: (B, L, H, N, N) if it needs a layer, else maps (B, N-1)."""
        self._check(model.config, classes)
        parts = self._values(model, images, classes, contrast)
        return torch.cat([torch.stack(values, 1) if self.needs_layer else values[0] for values in parts])

    def scale_max(self, model: MiniViT, images: Images, classes: Tensor | None = None) -> float:
        """The 99% quantile of the absolute values of all layers and heads: the end of a color scale."""
        self._check(model.config, classes)
        parts = self._values(model, images, classes, None)
        maps = [layer[:, :, 0, 1:] if self.needs_layer else layer for values in parts for layer in values]
        return max(float(torch.cat([values.flatten() for values in maps]).abs().quantile(0.99)), 1e-12)

    def _values(
        self, model: MiniViT, images: Images, classes: Tensor | None, contrast: Tensor | None
    ) -> Iterator[list[Tensor]]:
        """Batch by batch: L matrices, or one map."""
        start = 0
        for batch in batches(model, images):
            if self.matrices is not None:
                yield self.matrices(model, batch)
            elif self.maps is not None:
                rows = slice(start, start + len(batch))
                targets = torch.zeros(len(batch), dtype=torch.int64) if classes is None else classes[rows]
                yield [self.maps(model, batch, targets, None if contrast is None else contrast[rows])]
            start += len(batch)

    def _check(self, config: ViTConfig, classes: Tensor | None, layer: int = -1) -> None:
        reason = self.unavailable(config)
        if reason:
            raise ConfigError(reason)
        if self.needs_class and classes is None:
            raise ConfigError(f"{self.title} explains a class. Pass one class per image.")
        if self.needs_layer and not -config.depth <= layer < config.depth:
            raise ConfigError(
                f"There is no layer {layer + 1}; the model has {config.depth}. Choose 1 to {config.depth}."
            )


def find_method(name: str) -> Method:
    """The method of that name, also as earlier versions called it. ConfigError for an unknown name."""
    name = RENAMED.get(name, name)
    if name not in METHODS:
        raise ConfigError(f"There is no method {name!r}. Choose from {', '.join(METHODS)}.")
    return METHODS[name]


def available_methods(config: ViTConfig) -> dict[str, Method]:
    """The methods that models of this configuration have."""
    return {name: method for name, method in METHODS.items() if not method.unavailable(config)}


def _attn(model: MiniViT, images: Tensor) -> list[Tensor]:
    return list(attend(model, images)[1].unbind(1))


METHODS: dict[str, Method] = {
    "cls_map": Method(
        title="CLS map",
        formula="A⁽ˡ⁾ₕ[CLS, patches]",
        source="DINO, arXiv 2104.14294",
        limitations="Shows which patches CLS attends to in one layer, not what it reads there. Same for all classes.",
        unit="attention, × uniform",
        matrices=_attn,
        is_attention=True,
        uniform=lambda config, num_tokens: 1 / num_tokens,
    ),
    "rollout": Method(
        title="Attention rollout",
        formula="R = Â_L ⋯ Â₁,  Â = ½ (meanₕ A + I),  R[CLS, patches]",
        source="Abnar & Zuidema, arXiv 2005.00928",
        limitations="Includes all layers, but no values, no feed-forward layers and no class; averages over heads.",
        unit="rollout, × uniform",
        maps=lambda model, images, classes, contrast: rollout(_attn(model, images)),
        unavailable=lambda config: "Rollout needs at least 2 layers." if config.depth == 1 else None,
        uniform=lambda config, num_tokens: uniform_rollout(config.depth, num_tokens),
    ),
    "relevance": Method(
        title="Class relevance",
        formula="R ← R + ĀR,  Ā = meanₕ (∇A ⊙ A)⁺,  R[CLS, patches]",
        source="Chefer, Gur & Wolf, arXiv 2103.15679, eq. 5–6",
        limitations="Shows only what increases the class's logit; what decreases it is clamped to 0. A gradient "
        "describes small changes only.",
        unit="relevance",
        maps=relevance,
        needs_class=True,
    ),
    "value_weighted": Method(
        title="Value-weighted attention",
        formula="‖αᵢⱼ f(xⱼ)‖,  f(x) = (x W_V + b_V) W_O,  i = CLS",
        source="Kobayashi et al., arXiv 2004.10102",
        limitations="Shows how much CLS reads from a patch in one layer, not which class that favours. No class.",
        unit="‖α f(x)‖, in units of the embedding",
        matrices=value_weighted,
        verbs=("reads from", "read by"),
    ),
    "occlusion": Method(
        title="Occlusion (mean-filled)",
        formula="f_c(x) − f_c(x with patch j in the image's mean color),  f_c the logit",
        source="Zeiler & Fergus, arXiv 1311.2901",
        limitations="Removes one patch at a time, so redundant patches get low values. The filled patch is itself "
        "an input that the model may react to.",
        unit="decrease of the logit without the patch",
        maps=occlusion,
        needs_class=True,
        signed=True,
    ),
    "leave_one_out": Method(
        title="Leave-one-out (token dropped)",
        formula="f_c(x) − f_c(x without token j),  f_c the logit",
        source="Zeiler & Fergus, arXiv 1311.2901; tokens dropped as in arXiv 2204.08945",
        limitations="Removes one patch at a time, so redundant patches get low values. The model was never trained "
        "with a missing token.",
        unit="decrease of the logit without the patch",
        maps=leave_one_out,
        needs_class=True,
        signed=True,
    ),
}
