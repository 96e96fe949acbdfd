"""Analysis of attention. Tensors in, tensors out.

maps             attention as maps over the patches, in batches that fit into memory
metrics          distance, entropy, divergence and between-image variation of maps; maps of mistakes
attribution      class relevance, attention × norm of the values, occlusion and leave-one-out
logit_parts      the parts of a logit: of patches, CLS and biases; of heads and MLPs; the logit lens
methods          the registry of attribution methods
faithfulness     deletion, insertion and SaCo
cascade          do maps change when layers are re-initialized?
verdicts         is a map better than random rankings and than maps of other images?
localization     maps against object masks: pointing game, energy inside the object
exercises        does what the user did with a model and an image solve a task?
decomposition    patch filters, position embeddings, position and content in the scores of layer 1
heads            statistics and ablation of heads
tokens           similarity and principal components of the tokens after each layer; attention sinks
image_attention  the attention of one image in parts; one row of softmax with its query, keys and values
over_training    CLS maps and their metrics at every checkpoint
"""

from minivit.attention.attribution import class_score, relevance, value_weighted
from minivit.attention.decomposition import TERMS, position_content, position_similarity, term_shares
from minivit.attention.heads import head_effects
from minivit.attention.logit_parts import LogitShares, logit_shares
from minivit.attention.maps import Head, attend, cls_map, head_title, read_head, rollout, to_model, write_head
from minivit.attention.methods import METHODS
from minivit.attention.metrics import (
    between_image_variation,
    distance,
    divergence,
    entropy,
    image_specific,
    image_specific_share,
    uniform_distance,
)
