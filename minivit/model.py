"""The Vision Transformer: batch -> patches -> tokens -> attention -> logits.

One class for all settings of `ViTConfig`. Parameter names are timm's; a pre-norm model with learned positions loads
into `timm.models.vision_transformer.VisionTransformer`. The article's post-norm block is the same class.

B images, C channels, H × W pixels, N tokens (CLS first, then the patches row by row), D embed_dim, K classes;
inside attention, H heads of D / H numbers each.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minivit.config import ViTConfig
from minivit.data import patches


class PatchEmbed(nn.Module):
    """Images to one token a patch, (B, C, H, W) -> (B, N-1, D): one strided convolution, or small ones before it."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        conv = config.stem == "conv"
        self.stem = conv_stem(config) if conv else nn.Identity()
        in_chans, size = (config.embed_dim, 1) if conv else (config.in_chans, config.patch_size)
        self.proj = nn.Conv2d(in_chans, config.embed_dim, size, stride=size)

    def forward(self, images: Tensor) -> Tensor:
        if not isinstance(self.stem, nn.Identity):
            images = images.contiguous(memory_format=torch.channels_last)  # as convolutions are fastest
        return self.proj(self.stem(images)).flatten(2).mT


def conv_stem(config: ViTConfig) -> nn.Sequential:
    """3×3 convolutions that halve the image until a patch is one pixel, and one more, (B, C, H, W) -> (B, D, G, G).

    Widths double up to D. As in 'Early Convolutions Help Transformers See Better' (2106.14881), with a LayerNorm over
    each whole image in place of BatchNorm, so that no image's result depends on the others of its batch.
    """
    halvings = config.patch_size.bit_length() - 1
    widths = [config.embed_dim >> (halvings - 1 - i) for i in range(halvings)] + [config.embed_dim]
    layers: list[nn.Module] = []
    for i, (before, width) in enumerate(zip([config.in_chans, *widths], widths, strict=False)):
        layers += [
            nn.Conv2d(before, width, 3, stride=2 if i < halvings else 1, padding=1, bias=False),
            nn.GroupNorm(1, width),
            nn.ReLU() if config.act == "relu" else nn.GELU(),
        ]
    return nn.Sequential(*layers)


class Attention(nn.Module):
    """Multi-head self-attention that shows its weights. What the heads gather goes through `project`."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.scale = (config.embed_dim // config.num_heads) ** -0.5
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)
        self.drop = nn.Dropout(config.drop_rate)

    def forward(self, x: Tensor, num_queries: int, silenced: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, N, D) -> what the first `num_queries` (1 or all) tokens gather (B, Q, D), and attention (B, H, Q, N).

        `silenced`, bool (H,), are heads whose output is put to zero before `proj`.
        """
        B, N, D = x.shape
        if num_queries == 1:
            gathered, attn = self.gather_for_cls(x)
        else:
            H = self.num_heads
            q, k, v = self.qkv(x).view(B, N, 3, H, D // H).permute(2, 0, 3, 1, 4)  # (B, H, N, D / H) each
            attn = (q @ k.mT * self.scale).softmax(-1)
            gathered = (attn @ v).transpose(1, 2).reshape(B, N, D)
        if silenced is not None:
            gathered = gathered.masked_fill(silenced.repeat_interleave(D // self.num_heads), 0)
        return gathered, attn

    def project(self, gathered: Tensor) -> Tensor:
        """(B, Q, D) of all heads side by side -> (B, Q, D) to add to the tokens."""
        return self.drop(self.proj(gathered))

    def gather_for_cls(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same for CLS alone, (B, N, D) -> (B, 1, D) and (B, H, 1, N), without forming keys and values.

        q · (W_k x + b_k) is (W_kᵀ q) · x and a number that is the same for every x, which softmax ignores; and as the
        weights add up to 1, Σ a (W_v x + b_v) is W_v (Σ a x) + b_v. Exact, and several times less work.
        """
        B, _, D = x.shape
        W_q, W_k, W_v = self.qkv.weight.view(3, self.num_heads, -1, D)  # (H, D / H, D) each
        b_q, _, b_v = self.qkv.bias.view(3, self.num_heads, -1)
        q = torch.einsum("bd,hed->bhe", x[:, 0], W_q) + b_q
        asked = torch.einsum("bhe,hed->bhd", q * self.scale, W_k)
        attn = (asked @ x.mT).softmax(-1)  # (B, H, N)
        gathered = torch.einsum("bhd,hed->bhe", attn @ x, W_v) + b_v
        return gathered.reshape(B, 1, D), attn[:, :, None]


class Mlp(nn.Module):
    """Feed-forward layer, token by token."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        hidden = int(config.embed_dim * config.mlp_ratio)
        self.fc1 = nn.Linear(config.embed_dim, hidden)
        self.act = nn.ReLU() if config.act == "relu" else nn.GELU()
        self.fc2 = nn.Linear(hidden, config.embed_dim)
        self.drop = nn.Dropout(config.drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class Block(nn.Module):
    """Attention and feed-forward, each with a residual sum; LayerNorm after the sums (post) or before the layers."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.post_norm = config.norm == "post"
        self.norm1 = layer_norm(config)
        self.attn = Attention(config)
        self.norm2 = layer_norm(config)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, num_queries: int, silenced: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, N, D) -> the first `num_queries` tokens (B, Q, D) and their attention (B, H, Q, N)."""
        gathered, attn = self.attn(x if self.post_norm else self.norm1(x), num_queries, silenced)
        return self.finish(x[:, :num_queries], gathered), attn

    def finish(self, x: Tensor, gathered: Tensor) -> Tensor:
        """The rest of the block, from tokens x (B, Q, D) and what their heads gathered (B, Q, D)."""
        x = x + self.attn.project(gathered)
        if self.post_norm:
            x = self.norm1(x)
            return self.norm2(x + self.mlp(x))
        return x + self.mlp(self.norm2(x))


class MiniViT(nn.Module):
    """Images (B, C, H, W), float 0..1, to logits (B, K). Normalisation is inside, as buffers."""

    pos_embed: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.in_chans, 1, 1))
        self.register_buffer("std", torch.ones(config.in_chans, 1, 1))
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        if config.pos_embed == "sine":
            self.register_buffer("pos_embed", sine_positions(config.num_patches + 1, config.embed_dim)[None])
        else:
            self.pos_embed = nn.Parameter(torch.empty(1, config.num_patches + 1, config.embed_dim))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.pos_drop = nn.Dropout(config.drop_rate)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.Identity() if config.norm == "post" else layer_norm(config)
        self.head = nn.Linear(config.embed_dim, config.num_classes)

    def embed(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> tokens with their positions (B, N, D)."""
        embedded = self.patch_embed((images - self.mean) / self.std)
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), embedded], dim=1)
        return self.pos_drop(tokens + self.pos_embed)

    def forward(
        self, images: Tensor, return_attn: bool = False, keep: Tensor | None = None, silenced: Tensor | None = None
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Logits (B, K); with `return_attn` also a list of `depth` attentions (B, H, N, N), each row adding up to 1.

        `keep`, int64 (B, n), are the patches that stay, from 0: the tokens of all others are dropped once they have
        their positions, so that N is n + 1. `silenced`, bool (depth, H), are heads whose output is put to zero.
        A model that `absorbs` takes images also cut into patches, (B, N-1, C·p·p).
        """
        if images.ndim == 3:
            return self.forward_patches(images)
        if self.absorbs and not return_attn and keep is None and silenced is None:
            return self.forward_patches(patches(images, self.config.patch_size).flatten(2))
        x = self.embed(images)
        x = x if keep is None else keep_patches(x, keep)
        logits, attns = self.forward_tokens(x, only_cls=not return_attn, silenced=silenced)
        return (logits, attns) if return_attn else logits

    def forward_tokens(
        self, x: Tensor, only_cls: bool = True, silenced: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits and attentions from tokens with their positions (B, N, D).

        Only the CLS row of the last block reaches the logits, so with `only_cls` no other row is computed there. The
        logits are the same.
        """
        attns = []
        for index, block in enumerate(self.blocks):
            num_queries = 1 if only_cls and block is self.blocks[-1] else x.shape[1]
            x, attn = block(x, num_queries, None if silenced is None else silenced[index])
            attns.append(attn)
        return self.head(self.norm(x[:, 0])), attns

    @property
    def absorbs(self) -> bool:
        """Whether `forward_patches` is the whole model: one block that reads the tokens just as they are embedded."""
        config = self.config
        linear = config.stem == "patch" and config.norm == "post" and not (self.training and config.drop_rate)
        return linear and config.depth == 1

    def forward_patches(self, patches: Tensor) -> Tensor:
        """Logits (B, K) of patches (B, N-1, C·p·p), float 0..1, where the model `absorbs`; the same as `forward`'s.

        The CLS token of the first block is the same for every image, and so is its query. The score of a patch is
        thus one filter of its pixels and a number for its place, and what CLS gathers is the embedding of the mean
        patch, Σ a · patch: no token, key or value is formed.
        """
        block, proj = self.blocks[0], self.patch_embed.proj
        assert isinstance(block, Block) and proj.bias is not None
        H, D = block.attn.num_heads, self.config.embed_dim
        W_q, W_k, W_v = block.attn.qkv.weight.view(3, H, -1, D).unbind()  # (H, D / H, D) each
        b_q, _, b_v = block.attn.qkv.bias.view(3, H, -1).unbind()
        weight = proj.weight / self.std
        filters = weight.flatten(1)  # (D, C·p·p)
        cls = self.cls_token[0] + self.pos_embed[0, :1]
        places = torch.cat([cls, proj.bias - (weight * self.mean).sum((1, 2, 3)) + self.pos_embed[0, 1:]])  # (N, D)
        q = F.linear(cls, W_q.flatten(0, 1), b_q.flatten()).view(H, 1, -1)
        asked = (q * block.attn.scale @ W_k)[:, 0]  # (H, D)
        scores = F.pad((patches @ (asked @ filters).T).mT, (1, 0)) + asked @ places.T  # (B, H, N)
        attn = scores.softmax(-1)
        mean_token = F.linear(attn[:, :, 1:] @ patches, filters) + attn @ places  # (B, H, D)
        gathered = torch.einsum("bhd,hed->bhe", mean_token, W_v) + b_v
        return self.head(self.norm(block.finish(cls, gathered.flatten(1))))


def keep_patches(x: Tensor, keep: Tensor) -> Tensor:
    """CLS and the tokens of the patches `keep`, int64 (B, n): (B, N, D) -> (B, n + 1, D)."""
    rows = F.pad(keep + 1, (1, 0))  # 0 is CLS
    return x.gather(1, rows[:, :, None].expand(-1, -1, x.shape[-1]))


def layer_norm(config: ViTConfig) -> nn.LayerNorm:
    """LayerNorm with the epsilon of the model that the setting stands for: timm's ViT, or PyTorch's default."""
    return nn.LayerNorm(config.embed_dim, eps=1e-6 if config.norm == "pre" else 1e-5)


def sine_positions(num_tokens: int, embed_dim: int) -> Tensor:
    """The fixed table of 'Attention Is All You Need' (1706.03762, 3.5), (N, D): sine on even, cosine on odd columns."""
    position = torch.arange(num_tokens, dtype=torch.float64)[:, None]
    frequency = torch.exp(torch.arange(0, embed_dim, 2, dtype=torch.float64) * (-math.log(10000.0) / embed_dim))
    table = torch.stack([(position * frequency).sin(), (position * frequency).cos()], dim=-1)
    return table.reshape(num_tokens, embed_dim).float()


def num_parameters(config: ViTConfig) -> int:
    """Trained numbers of a model with these settings, without building its weights."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in MiniViT(config).parameters())
