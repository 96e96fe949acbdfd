"""Everything that analyses attention. Tensors in, tensors out."""

from minivit.attention.maps import (
    TERMS,
    Head,
    attend,
    class_score,
    cls_map,
    distance,
    divergence,
    entropy,
    head_effects,
    image_dependence,
    image_share,
    image_specific,
    position_content,
    position_similarity,
    read_head,
    relevance,
    rollout,
    term_shares,
    to_model,
    uniform_distance,
    value_weighted,
    write_head,
)
from minivit.attention.methods import METHODS
