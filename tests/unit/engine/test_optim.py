"""Flat parameters, and the optimizers against torch's own."""

import pytest
import torch

from minivit.config import TrainConfig
from minivit.engine import FlatParameters, make_optimizer
from minivit.engine.optim import Optimizer, orthogonalize
from minivit.engine.schedule import StepScalars, step_scalars
from minivit.model import MiniViT


def model_with_gradient(config: TrainConfig) -> tuple[MiniViT, FlatParameters, torch.Tensor]:
    torch.manual_seed(0)
    model = MiniViT(config.model)
    flat = FlatParameters(model)
    return model, flat, torch.randn_like(flat.values)


def update(optimizer: Optimizer, gradient: torch.Tensor, config: TrainConfig, step: int) -> None:
    scalars = step_scalars(config.changed(schedule="constant", warmup_epochs=0), step, 1, 1)
    with torch.no_grad():
        optimizer.update(gradient, StepScalars(*torch.tensor(scalars)))


def torch_optimizers(config: TrainConfig, named: dict[str, torch.nn.Parameter]) -> list[torch.optim.Optimizer]:
    """torch's optimizers for the settings; for muon, one for the matrices of blocks and one for the rest."""
    decay, parameters = config.weight_decay, list(named.values())
    decayed = [p for name, p in named.items() if p.ndim > 1 and name not in ("cls_token", "pos_embed")]
    hidden = [p for name, p in named.items() if p.ndim > 1 and name.startswith("blocks.")]
    match config.optimizer:
        case "sgd":
            return [torch.optim.SGD(parameters, lr=config.lr, momentum=0.9, nesterov=True, weight_decay=decay)]
        case "adam":
            return [torch.optim.Adam(parameters, lr=config.lr, weight_decay=decay)]
    apart = {id(p) for p in hidden} if config.optimizer == "muon" else set()
    groups = [
        {"params": [p for p in decayed if id(p) not in apart], "weight_decay": decay},
        {"params": [p for p in parameters if not any(p is other for other in decayed)], "weight_decay": 0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=config.lr)]
    if apart:
        muon = torch.optim.Muon(hidden, lr=config.lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        optimizers.append(muon)
    return optimizers


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_each_optimizer_takes_the_steps_of_torchs_own(tiny, name):
    config = tiny.changed(optimizer=name, weight_decay=0.1, lr=0.01, pos_embed="learned")
    ours, flat, _ = model_with_gradient(config)
    theirs = MiniViT(config.model)
    theirs.load_state_dict(ours.state_dict())
    optimizer, references = make_optimizer(config, flat), torch_optimizers(config, dict(theirs.named_parameters()))
    for number in range(6):
        for parameter in theirs.parameters():
            parameter.grad = torch.randn_like(parameter)
        gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
        update(optimizer, flat.flatten(gradients[name] for name in flat.shapes), config, number)
        for reference in references:
            reference.step()
    exact = name != "muon"  # torch's rounds its iteration to bfloat16
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        loose = not exact and name.startswith("blocks.") and mine.ndim > 1
        torch.testing.assert_close(mine, other, rtol=0 if loose else 1e-5, atol=1e-3 if loose else 1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_adamw_and_muon_decay_matrices_and_nothing_else(tiny, name):
    config = tiny.changed(pos_embed="learned", optimizer=name, weight_decay=0.3, lr=0.1)
    model, flat, _ = model_with_gradient(config)
    flat.values.fill_(1)
    update(make_optimizer(config, flat), torch.zeros_like(flat.values), config, 0)  # only decay moves anything
    decayed = {name for name, parameter in model.named_parameters() if parameter.allclose(torch.tensor(0.97))}
    assert all(parameter.eq(1).all() for name, parameter in model.named_parameters() if name not in decayed)
    matrices = [
        f"blocks.{block}.{layer}.weight"
        for block in (0, 1)
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    assert decayed == {"patch_embed.proj.weight", "head.weight", *matrices}


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (20, 20), (1, 8)])
def test_an_orthogonalized_matrix_has_the_singular_vectors_and_singular_values_near_1(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, before, right = torch.linalg.svd(matrix, full_matrices=False)
    between = left.T @ orthogonalize(matrix) @ right.T
    values = between.diagonal()
    assert before.max() > 3 * before.min() or min(shape) == 1
    assert values.min() > 0.65 and values.max() < 1.25
    torch.testing.assert_close(between, values.diag(), rtol=0, atol=1e-4)


def test_muon_orthogonalizes_hidden_layers_and_leaves_the_patch_embedding_and_the_head_to_adamw(tiny):
    config = tiny.changed(optimizer="muon", stem="conv")
    optimizer = make_optimizer(config, FlatParameters(MiniViT(config.model)))
    stem = ["patch_embed.stem.3.weight", "patch_embed.stem.6.weight", "patch_embed.stem.9.weight"]
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert sorted(name for names in optimizer.hidden.values() for name in names) == sorted(
        [*stem, *(f"blocks.{n}.{layer}.weight" for n in (0, 1) for layer in layers)]
    )


def test_flat_parameters_are_the_parameters_of_the_model(tiny):
    model, flat, other = model_with_gradient(tiny)
    flat.values.copy_(other)
    views = flat.views(other)
    assert views.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, views[name])
    assert torch.equal(flat.flatten(views.values()), other)
