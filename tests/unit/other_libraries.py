"""Small models of other libraries with random weights."""

import torch

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 32,
    "patch_size": 8,
}
NAMES = {0: "star", 1: "moon", 2: "circle"}


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.15)
    return model.eval()


EAGER = {**SMALL, "id2label": NAMES, "attn_implementation": "eager"}
