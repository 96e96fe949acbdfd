"""The registry of attribution methods: which patches does a model's prediction depend on?

To add a method, add its entry to `METHODS`: pages, the command line and the checks of faithfulness and localization go
through the registry. Values of different methods have different units.

B images, L layers, H heads, N tokens with CLS first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minivit.attention.attribution import (
    Report,
    leave_one_out,
    no_report,
    occlusion,
    relevance,
    value_norms,
    value_weighted,
)
from minivit.attention.image_attention import Weighting
from minivit.attention.logit_parts import (
    direct_contributions,
    logit_lens,
    logit_shares,
    why_no_contributions,
    why_no_lens,
)
from minivit.attention.maps import Head, attend, batches, cls_map, rollout, uniform_rollout, without_registers
from minivit.config import ViTConfig
from minivit.data import Images
from minivit.errors import ConfigError
from minivit.model import MiniViT

MAX_BYTES = 2**31  # of memory that a method may need for one image

# (model, images, classes (B,), contrast classes (B,) or None) -> one map per image (B, N-1). Those that remove patches
# take a Report as well.
MapFunction = Callable[..., Tensor]
# (model, images, layers from 0) -> a matrix per head for each layer, (B, H, N, N), of which `cls_map` takes CLS's row
MatrixFunction = Callable[[MiniViT, Tensor, Sequence[int]], list[Tensor]]

FORMER_NAMES = {"occlusion_drop": "leave_one_out"}  # names in links of earlier versions


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
    weighting: Weighting | None = None  # the factor of each key token, if the matrices are not attention itself
    needs_class: bool = False
    signed: bool = False  # values below 0 decrease the class's logit
    removes_patches: bool = False  # one forward pass for each patch
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
        report: Report = no_report,
    ) -> Tensor:
        """Maps (B, N-1) of images, uint8 0..255 or float 0..1, on the model's device.

        `classes` (B,) and `contrast` (B,), which explains f_c − f_d instead of f_c, apply if the method needs a class,
        `layer` (from 0, -1 the last) and `head` if it needs a layer. ConfigError if the model lacks the layer or head,
        or if the method is unavailable for it.
        """
        self._check(model.config, classes, layer)
        if self.needs_layer:
            return self.attribute_heads(model, images, [(layer, head)])[0]
        return torch.cat(list(self._maps(model, images, classes, contrast, report)))

    def attribute_heads(self, model: MiniViT, images: Images, choices: Sequence[tuple[int, Head]]) -> Tensor:
        """Maps (n, B, N-1) of n choices of layer and head, from one pass over the images."""
        assert self.matrices is not None
        choices = [(layer % model.config.depth, head) for layer, head in choices]
        layers = sorted({layer for layer, _ in choices})
        parts = []
        for batch in batches(model, images):
            matrices = dict(zip(layers, self.matrices(model, batch, layers), strict=True))
            P = model.config.num_prefix_tokens
            parts.append(torch.stack([cls_map(matrices[layer], head, P) for layer, head in choices]))
        return torch.cat(parts, dim=1)

    def values(
        self,
        model: MiniViT,
        images: Images,
        classes: Tensor | None = None,
        contrast: Tensor | None = None,
        report: Report = no_report,
    ) -> Tensor:
        """All values of the method: (B, L, H, n + 1, n + 1), CLS and patches, if it needs a layer, else (B, n)."""
        self._check(model.config, classes)
        if self.matrices is None:
            return torch.cat(list(self._maps(model, images, classes, contrast, report)))
        layers = range(model.config.depth)
        matrices = [torch.stack(self.matrices(model, batch, layers), 1) for batch in batches(model, images)]
        return without_registers(torch.cat(matrices), model.config)

    def scale_max(self, model: MiniViT, images: Images, classes: Tensor | None = None) -> float:
        """The 99% quantile of the absolute values of all layers and heads: the end of a color scale."""
        self._check(model.config, classes)
        if self.needs_layer:
            heads = [(layer, head) for layer in range(model.config.depth) for head in range(model.config.num_heads)]
            maps = self.attribute_heads(model, images, heads)
        else:
            maps = self.attribute(model, images, classes)
        return max(float(maps.flatten().abs().quantile(0.99)), 1e-12)

    def _maps(
        self, model: MiniViT, images: Images, classes: Tensor | None, contrast: Tensor | None, report: Report
    ) -> Iterator[Tensor]:
        """The maps (n, N-1) of each batch."""
        assert self.maps is not None
        start = 0
        for batch in batches(model, images):
            rows = slice(start, start + len(batch))

            def report_batch(share: float, rows: slice = rows) -> None:
                report((rows.start + share * (rows.stop - rows.start)) / len(images))

            targets = torch.zeros(len(batch), dtype=torch.int64) if classes is None else classes[rows]
            arguments = (model, batch, targets, None if contrast is None else contrast[rows])
            report_batch(0)
            yield self.maps(*arguments, report_batch) if self.removes_patches else self.maps(*arguments)
            start += len(batch)

    def why_unavailable(self, config: ViTConfig) -> str | None:
        """Why the method is unavailable for models of this config, or None."""
        if self.needs_class and not config.num_classes:
            return "It explains a class, and the model has no classifier head."
        return self.unavailable(config)

    def _check(self, config: ViTConfig, classes: Tensor | None, layer: int = -1) -> None:
        if reason := self.why_unavailable(config):
            raise ConfigError(reason)
        if self.needs_class and classes is None:
            raise ConfigError(f"{self.title} explains a class. Pass one class per image.")
        if self.needs_layer and not -config.depth <= layer < config.depth:
            raise ConfigError(f"There is no layer {layer + 1}; the model has {config.depth}. Choose another one.")


def stem_note(config: ViTConfig) -> str:
    """That dropped patches leave traces behind a convolutional stem; empty for other models."""
    if config.stem != "conv":
        return ""
    return (
        "Behind the convolutional stem each token depends on the whole image, so the other tokens keep traces of a "
        "dropped patch."
    )


def query_note(method: Method, layer: int, token: int) -> str:
    """That CLS has one query for all images in the first layer (0); empty for other layers, tokens and methods."""
    if not method.needs_layer or layer or token:
        return ""
    what = "keys" if method.is_attention else "keys and values"
    return f"In layer 1 the query of CLS is the same for all images: their maps differ only by their {what}."


def available_methods(config: ViTConfig) -> dict[str, Method]:
    return {name: method for name, method in METHODS.items() if not method.why_unavailable(config)}


def _attn(model: MiniViT, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
    attn = attend(model, images)[1]
    return [attn[:, layer] for layer in layers]


def _exceeds_memory(config: ViTConfig, num_copies: int) -> str | None:
    """The reason if the attention of all layers for one image, so many times, exceeds `MAX_BYTES`; else None."""
    num_bytes = 4 * num_copies * config.depth * config.num_heads * config.num_tokens**2
    if num_bytes <= MAX_BYTES:
        return None
    return (
        f"For an image of this model it needs {num_bytes / 2**30:.1f} GiB of memory, more than {MAX_BYTES >> 30} GiB."
    )


METHODS: dict[str, Method] = {
    "cls_map": Method(
        title="CLS map",
        formula="A⁽ˡ⁾ₕ[CLS, patches]",
        source="DINO, arXiv 2104.14294",
        limitations="Shows which patches CLS attends to in one layer, not what it reads there. Not class-specific.",
        unit="attention, × uniform",
        matrices=_attn,
        is_attention=True,
        uniform=lambda config, num_tokens: 1 / num_tokens,
    ),
    "rollout": Method(
        title="Attention rollout",
        formula="R = Â_L ⋯ Â₁,  Â = ½ (meanₕ A + I),  R[CLS, patches]",
        source="Abnar & Zuidema, arXiv 2005.00928",
        limitations="Includes all layers, but ignores values and MLPs; averages over heads. Not class-specific.",
        unit="rollout, × uniform",
        maps=lambda model, images, classes, contrast: rollout(
            list(attend(model, images)[1].unbind(1)), model.config.num_prefix_tokens
        ),
        unavailable=lambda config: (
            "Rollout needs at least 2 layers." if config.depth == 1 else _exceeds_memory(config, 1)
        ),
        uniform=lambda config, num_tokens: uniform_rollout(config.depth, num_tokens),
    ),
    "relevance": Method(
        title="Class relevance",
        formula="R ← R + ĀR,  Ā = meanₕ (∇A ⊙ A)⁺,  R[CLS, patches]",
        source="Chefer, Gur & Wolf, arXiv 2103.15679, eq. 5–6",
        limitations="Shows only what increases the class's logit; what decreases it is clamped to 0. A gradient "
        "describes small changes only.",
        unit="relevance",
        unavailable=lambda config: _exceeds_memory(config, 2),  # the attention of all layers and its gradients
        maps=relevance,
        needs_class=True,
    ),
    "logit_shares": Method(
        title="Logit shares",
        formula="tⱼ · ∂f_c/∂tⱼ  with attention weights, deviations and act(x)/x held constant",
        source="LibraGrad, arXiv 2411.16760",
        limitations="The shares of patches, CLS and biases add up to the logit. Attention weights are treated as "
        "constants, so the query–key computation gets no credit.",
        unit="logits",
        maps=lambda model, images, classes, contrast: logit_shares(model, images, classes, contrast).patches,
        needs_class=True,
        signed=True,
    ),
    "contributions": Method(
        title="Direct contributions",
        formula="Σ over layers and heads of W_c · γ (a (x W_V + b_V) W_O − mean) / σ",
        source="Gandelsman et al., arXiv 2310.05916",
        limitations="What the heads write from a patch into CLS. Direct effects only: what a layer contributes through "
        "later layers is credited to those.",
        unit="logits",
        maps=lambda model, images, classes, contrast: direct_contributions(model, images, classes, contrast).heads.sum(
            (1, 2)
        )[:, model.config.num_prefix_tokens :],
        needs_class=True,
        signed=True,
        unavailable=why_no_contributions,
    ),
    "logit_lens": Method(
        title="Logit lens",
        formula="W_c · LN(x_j)  after the last layer",
        source="ViT-Explainer, arXiv 2604.02182",
        limitations="The classifier was trained for CLS alone. In the last layer the patches do not affect the logits.",
        unit="logits",
        maps=lambda model, images, classes, contrast: logit_lens(model, images, classes, contrast)[
            :, -1, model.config.num_prefix_tokens :
        ],
        needs_class=True,
        signed=True,
        unavailable=why_no_lens,
    ),
    "value_weighted": Method(
        title="Value-weighted attention",
        formula="‖αᵢⱼ f(xⱼ)‖,  f(x) = (x W_V + b_V) W_O,  i = CLS",
        source="Kobayashi et al., arXiv 2004.10102",
        limitations="Shows how much CLS reads from a patch in one layer. Not class-specific.",
        unit="‖α f(x)‖, in units of the embedding",
        matrices=value_weighted,
        weighting=value_norms,
        verbs=("reads from", "read by"),
    ),
    "occlusion": Method(
        title="Occlusion (mean-filled)",
        formula="f_c(x) − f_c(x with patch j in the image's mean color),  f_c the logit",
        source="Zeiler & Fergus, arXiv 1311.2901",
        limitations="Removes one patch at a time, so redundant patches get low values. The model may also react to the "
        "filled patch itself.",
        unit="decrease of the logit without the patch",
        maps=occlusion,
        needs_class=True,
        signed=True,
        removes_patches=True,
    ),
    "leave_one_out": Method(
        title="Leave-one-out (token dropped)",
        formula="f_c(x) − f_c(x without token j),  f_c the logit",
        source="Zeiler & Fergus, arXiv 1311.2901; tokens dropped as in arXiv 2204.08945",
        limitations="Removes one patch at a time, so redundant patches get low values. The model was never trained "
        "with a missing token. Behind a convolutional stem, the other tokens keep traces of the patch.",
        unit="decrease of the logit without the patch",
        maps=leave_one_out,
        needs_class=True,
        signed=True,
        removes_patches=True,
    ),
}
