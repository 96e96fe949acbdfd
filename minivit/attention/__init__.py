"""Analysis of attention. Tensors in, tensors out.

maps             attention as maps over the patches
metrics          distance, entropy, divergence and image dependence of maps
gradients        class relevance
value_weighting  attention × norm of the value vectors
occlusion        occlusion (mean-filled) and leave-one-out
methods          the registry of attribution methods
faithfulness     deletion and insertion against random rankings
localization     maps against object masks: pointing game, energy inside the object
mistakes         maps of incorrect predictions compared with correct ones
decomposition    position and content in the scores of layer 1
heads            statistics and ablation of heads
weights          patch filters and position embeddings
over_training    CLS maps and their metrics at every checkpoint
"""

from minivit.attention.decomposition import TERMS, position_content, term_shares
from minivit.attention.gradients import class_score, relevance
from minivit.attention.heads import head_effects
from minivit.attention.maps import Head, attend, cls_map, read_head, rollout, to_model, write_head
from minivit.attention.methods import METHODS
from minivit.attention.metrics import (
    distance,
    divergence,
    entropy,
    image_dependence,
    image_share,
    image_specific,
    uniform_distance,
)
from minivit.attention.value_weighting import value_weighted
from minivit.attention.weights import position_similarity
