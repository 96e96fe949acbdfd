"""Independent yardsticks for attention and its maps; the article's own is in `article`."""

from yardstick.faithfulness import deletion_curve, insertion_curve, mass_inside, occlusion, pointing, rise_area, shares
from yardstick.maps import (
    attention_distance,
    between_image_variation,
    entropy,
    jensen_shannon,
    pearson,
    position_content,
    relevance,
    rollout,
    spearman,
    value_weighted,
)
from yardstick.network import Forward, activate, embed, layer_norm, sincos, softmax, vit_forward
