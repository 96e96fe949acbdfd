"""Small models of other libraries with random weights."""

import torch
from torch import Tensor

from minivit.attention import attend
from minivit.data import load_split
from minivit.runs import Run

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


def same_features_and_attention(model: torch.nn.Module, run: Run) -> tuple[Tensor, Tensor]:
    """Checks a run against the backbone of Hugging Face that it was imported from; its own probabilities and maps."""
    images = load_split(run.config)[1].images[:4]
    with torch.no_grad():
        out = model(images / 255, output_attentions=True)
        features = run.load_model()(images / 255)
    torch.testing.assert_close(features, out.last_hidden_state[:, 0], atol=1e-4, rtol=0)
    probs, attn = attend(run.load_model(), images)
    torch.testing.assert_close(attn, torch.stack(out.attentions, 1), atol=1e-5, rtol=0)
    return probs, attn
