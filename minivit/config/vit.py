"""The settings of the model, and how images are resized for it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from minivit.config.fields import Settings, setting
from minivit.errors import ConfigError

# What the head reads: CLS; the mean of the patches, after or before the last LayerNorm; CLS and that mean side by side
# (DINOv2); CLS and the first register, a distillation token with its own head (DeiT)
Pool = Literal["cls", "mean", "mean, then norm", "cls and mean", "cls and distillation"]


class ViTConfig(Settings):
    """Shape of one Vision Transformer. Names are timm's."""

    img_size: int = setting(32, "Image size", "data", unit="px", ge=8, le=1024)
    """Images are resized to this many pixels per side."""
    in_chans: int = setting(3, "Channels", "data", ge=1, le=16)
    """3 for RGB, 1 for grayscale; images are converted."""
    num_classes: int = setting(4, "Number of classes", "derived", ge=0, le=25_000)
    """Set by the selected classes; 0 for no head."""
    patch_size: int = setting(4, "Patch size", "model", unit="px", ge=1, le=128)
    """Side of one square patch; it must divide the image size."""
    stem: Literal["patch", "conv"] = setting("patch", "Stem", "model")
    """How a patch becomes a token: by one linear layer, or by small convolutions that also see neighboring pixels."""
    embed_dim: int = setting(64, "Embedding dimension", "model", ge=4, le=2048)
    """Length of the vector of one token."""
    depth: int = setting(1, "Layers", "model", unit="layers", ge=1, le=40)
    """Transformer blocks in sequence."""
    num_heads: int = setting(1, "Heads", "model", ge=1, le=32)
    """Attention heads per layer; they must divide the embedding dimension."""
    mlp_ratio: float = setting(1.0, "MLP ratio", "model", ge=0.25, le=8)
    """Width of the MLP's hidden layer, as a multiple of the embedding dimension."""
    norm: Literal["post", "pre"] = setting("post", "LayerNorm", "model")
    """'post' normalizes after each residual sum, as in the article; 'pre' before each sublayer, as in ViT."""
    pos_embed: Literal["sine", "learned", "rotary"] = setting("sine", "Position embedding", "model")
    """A fixed sine and cosine table, or learned; 'rotary' (RoPE) rotates queries and keys by position instead."""
    num_registers: int = setting(0, "Register tokens", "model", unit="tokens", ge=0, le=8)
    """Learned tokens between CLS and the patches, without a position in the image (2309.16588)."""
    act: Literal["relu", "gelu", "gelu_tanh", "quick_gelu"] = setting("relu", "Activation", "model")
    """Non-linearity of the MLP."""
    drop_rate: float = setting(0.0, "Dropout", "model", ge=0, le=0.9)
    """Share of activations that are set to 0 during training."""

    # Parts of imported models
    pool: Pool = setting("cls", "Pooling", "derived")
    """The tokens that the head reads."""
    norm_pre: bool = setting(False, "LayerNorm before the first layer", "derived")
    """As in CLIP."""
    qk_norm: bool = setting(False, "Normalized queries and keys", "derived")
    """A LayerNorm over each head's query and key (2302.05442)."""
    rope_base: float = setting(100.0, "Base of rotary positions", "derived", ge=1, le=1e6)
    """From an image's center to its edge, the fastest dimensions make a turn, the slowest 1 / this (2508.10104)."""
    norm_eps: float = setting(0.0, "Epsilon of LayerNorm", "derived", ge=0, le=1)
    """0 for 1e-6 in a pre-norm and 1e-5 in a post-norm model."""

    @model_validator(mode="after")
    def _validate(self) -> Self:
        if self.img_size % self.patch_size:
            divisors = [p for p in range(2, self.img_size) if self.img_size % p == 0]
            raise ConfigError(
                f"A patch size of {self.patch_size} px does not divide the image size of {self.img_size} px. "
                f"Choose one of {', '.join(map(str, divisors)) or self.img_size}."
            )
        if self.stem == "conv":
            self._validate_conv_stem()
        if self.pool == "cls and distillation" and not self.num_registers:
            raise ConfigError("Pooling 'cls and distillation' needs a register token. Set num_registers to at least 1.")
        if self.embed_dim % self.num_heads:
            divisors = [h for h in range(1, 33) if self.embed_dim % h == 0]
            raise ConfigError(
                f"{self.num_heads} heads do not divide an embedding dimension of {self.embed_dim}. "
                f"Choose one of {', '.join(map(str, divisors))} heads, or another embedding dimension."
            )
        if self.pos_embed == "sine" and self.embed_dim % 2:
            raise ConfigError(
                f"A sine position embedding needs an even embedding dimension, not {self.embed_dim}. "
                f"Choose {self.embed_dim + 1}, or a learned position embedding."
            )
        if self.pos_embed == "rotary" and self.embed_dim // self.num_heads % 4:
            raise ConfigError(
                f"Rotary positions need a multiple of 4 dimensions per head, not {self.embed_dim // self.num_heads}. "
                "Choose another number of heads, or a learned position embedding."
            )
        return self

    def _validate_conv_stem(self) -> None:
        num_halvings = self.patch_size.bit_length() - 1
        if self.patch_size != 2**num_halvings or not num_halvings:
            raise ConfigError(
                f"A convolutional stem halves the image repeatedly, and a patch size of {self.patch_size} px is not a "
                "power of 2. Choose 2, 4, 8 or 16 px, or the stem 'patch'."
            )
        divisor = 2 ** (num_halvings - 1)
        if self.embed_dim % divisor:
            raise ConfigError(
                f"A convolutional stem for patches of {self.patch_size} px doubles its width {num_halvings - 1} times "
                f"up to the embedding dimension, and {self.embed_dim} is not a multiple of {divisor}. "
                f"Choose a multiple of {divisor}."
            )

    @property
    def grid(self) -> int:
        """Patches along one side of the image."""
        return self.img_size // self.patch_size

    @property
    def num_patches(self) -> int:
        return self.grid**2

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patches: CLS and the registers."""
        return 1 + self.num_registers

    @property
    def num_tokens(self) -> int:
        """All tokens of one image."""
        return self.num_prefix_tokens + self.num_patches


class Preprocessing(Settings):
    """Resizing for an imported model, then a center crop to its image size, as the model's own library does it.

    `size` is the length of the shorter side in pixels, or of both sides if `keep_aspect` is off; 0 only crops. timm and
    torchvision resize PIL images; Hugging Face resizes tensors (`on_tensors`), which rounds differently; for DINOv3 it
    does not round at all, while images here are uint8.
    """

    size: int = Field(ge=0, le=4096)
    keep_aspect: bool = True
    interpolation: Literal["nearest", "nearest-exact", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bicubic"
    on_tensors: bool = False
