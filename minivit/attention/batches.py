"""How many images an analysis takes at once, and in total: attention takes L·H·N² values per image."""

from collections.abc import Iterator

from torch import Tensor

from minivit.config import ViTConfig
from minivit.data import Images
from minivit.model import MiniViT

MAX_BATCH = 64  # on a CPU, larger batches fall out of the cache
MAX_VALUES = 2e7  # of attention in memory at once, 4 bytes each
MAX_MULTIPLICATIONS = 4e10  # of one analysis on a page: a second or two of a CPU core


def batches(model: MiniViT, images: Images) -> Iterator[Tensor]:
    """Images in batches for which the attention of all layers fits into memory."""
    config = model.config
    values = config.depth * config.num_heads * (config.num_patches + 1) ** 2
    return iter(images.split(max(1, min(MAX_BATCH, int(MAX_VALUES / values)))))


def affordable(config: ViTConfig, max_images: int) -> int:
    """The number of images, 8 to `max_images`, that a page can analyse without a noticeable wait."""
    N, D = config.num_patches + 1, config.embed_dim
    per_layer = N * D * ((4 + 2 * config.mlp_ratio) * D + 2 * N)  # projections and feed-forward layer, and attention
    return max(8, min(max_images, int(MAX_MULTIPLICATIONS / (config.depth * per_layer))))
