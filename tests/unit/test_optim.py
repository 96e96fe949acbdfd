"""Parameters laid out flat, optimisers and learning rates, against torch's own."""

import pytest
import torch
from trainings import trained

from minivit.config import TrainConfig
from minivit.engine import FlatParameters, learning_rate, make_optimizer
from minivit.engine.optim import Optimizer, orthogonal
from minivit.model import MiniViT

# The learning rate


def schedule_of(config: TrainConfig, steps_per_epoch: int) -> list[float]:
    return [learning_rate(config, step, steps_per_epoch) for step in range(config.epochs * steps_per_epoch)]


def steps_of(scheduler: torch.optim.lr_scheduler.LRScheduler, num_steps: int) -> list[float]:
    taken = []
    for step in range(num_steps):
        taken.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        if step < num_steps - 1:
            scheduler.step()
    return taken


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(1, 1), (1, 2), (3, 1), (2, 5), (10, 1), (7, 13)])
def test_one_cycle_is_torchs_one_cycle(tiny, epochs, steps_per_epoch):
    config = tiny.changed(schedule="one-cycle", epochs=epochs, lr=0.3, warmup_epochs=0.5)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    total = epochs * steps_per_epoch
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=total, cycle_momentum=False)
    expected = steps_of(theirs, total)
    assert schedule_of(config, steps_per_epoch) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("epochs", "steps_per_epoch", "warmup"), [(4, 5, 0.0), (4, 5, 1.0), (6, 7, 2.5), (3, 1, 1.0)])
def test_cosine_after_warm_up_is_torchs_cosine_annealing_down_to_0(tiny, epochs, steps_per_epoch, warmup):
    config = tiny.changed(schedule="cosine", epochs=epochs, lr=0.3, warmup_epochs=warmup)
    rising = round(warmup * steps_per_epoch)
    falling = epochs * steps_per_epoch - rising
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=falling - 1)
    expected = [0.3 * (step + 1) / rising for step in range(rising)] + steps_of(cosine, falling)
    ours = schedule_of(config, steps_per_epoch)
    assert ours == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert ours[-1] == pytest.approx(0, abs=1e-12) and max(ours) == pytest.approx(0.3)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 3.0])
def test_no_learning_rate_is_ever_negative_or_above_the_setting(tiny, schedule, warmup):
    for steps_per_epoch in (1, 2, 5):
        config = tiny.changed(schedule=schedule, warmup_epochs=warmup, lr=0.1)
        ours = schedule_of(config, steps_per_epoch)
        assert all(-1e-18 <= lr <= 0.1 + 1e-12 for lr in ours)
        assert ours[0] > 0 and len(ours) == 3 * steps_per_epoch


def test_a_constant_learning_rate_is_constant_after_warm_up(tiny):
    config = tiny.changed(lr=0.5, warmup_epochs=1, epochs=3)
    assert schedule_of(config, 4) == pytest.approx([0.125, 0.25, 0.375, *[0.5] * 9])


def test_the_row_of_an_epoch_holds_the_learning_rate_of_its_last_step_and_that_of_epoch_0_the_first(tiny):
    config = tiny.changed(schedule="cosine", warmup_epochs=1)
    rows = trained(config).metrics()
    steps = schedule_of(config, 3)
    assert [row["lr"] for row in rows] == pytest.approx([steps[0], steps[2], steps[5], steps[8]])


# The rules


def model_with_gradient(config: TrainConfig) -> tuple[MiniViT, FlatParameters, torch.Tensor]:
    torch.manual_seed(0)
    model = MiniViT(config.model)
    flat = FlatParameters(model)
    return model, flat, torch.randn_like(flat.values)


def step(optimizer: Optimizer, gradient: torch.Tensor, lr: float, number: int) -> None:
    with torch.no_grad():
        optimizer.update(gradient, torch.tensor(optimizer.factors(lr, number)))


def torchs_own(config: TrainConfig, named: dict[str, torch.nn.Parameter]) -> list[torch.optim.Optimizer]:
    """What torch has for the settings; matrices of blocks apart from the rest where the settings say muon."""
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
def test_each_rule_gives_the_steps_of_torchs_own(tiny, name):
    config = tiny.changed(optimizer=name, weight_decay=0.1, lr=0.01, pos_embed="learned")
    ours, flat, _ = model_with_gradient(config)
    theirs = MiniViT(config.model)
    theirs.load_state_dict(ours.state_dict())
    optimizer, references = make_optimizer(config, flat), torchs_own(config, dict(theirs.named_parameters()))
    for number in range(6):
        for parameter in theirs.parameters():
            parameter.grad = torch.randn_like(parameter)
        gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
        step(optimizer, flat.join(gradients[name] for name in flat.shapes), config.lr, number)
        for reference in references:
            reference.step()
    exact = name != "muon"  # torch's rounds its iteration to bfloat16
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        loose = not exact and name.startswith("blocks.") and mine.ndim > 1
        torch.testing.assert_close(mine, other, rtol=0 if loose else 1e-5, atol=1e-3 if loose else 1e-6)


def test_bias_corrections_are_those_of_double_precision(tiny):
    optimizer = make_optimizer(tiny, FlatParameters(MiniViT(tiny.model)))
    for number in (0, 99, 10**6):
        _, mean, squares = optimizer.factors(1e-3, number)
        assert mean == 1 / (1 - 0.9 ** (number + 1)) and squares == (1 - 0.999 ** (number + 1)) ** -0.5


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_adamw_and_muon_decay_matrices_and_nothing_else(tiny, name):
    config = tiny.changed(pos_embed="learned", optimizer=name, weight_decay=0.3, lr=0.1)
    model, flat, _ = model_with_gradient(config)
    flat.values.fill_(1)
    step(make_optimizer(config, flat), torch.zeros_like(flat.values), config.lr, 0)  # only decay moves anything
    decayed = {name for name, parameter in model.named_parameters() if parameter.allclose(torch.tensor(0.97))}
    assert all(parameter.eq(1).all() for name, parameter in model.named_parameters() if name not in decayed)
    matrices = [
        f"blocks.{block}.{layer}.weight"
        for block in (0, 1)
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    assert decayed == {"patch_embed.proj.weight", "head.weight", *matrices}


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (20, 20), (1, 8)])
def test_an_orthogonal_step_has_the_singular_vectors_of_the_matrix_and_singular_values_near_1(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, before, right = torch.linalg.svd(matrix, full_matrices=False)
    between = left.T @ orthogonal(matrix) @ right.T
    values = between.diagonal()
    assert before.max() > 3 * before.min() or min(shape) == 1
    assert values.min() > 0.65 and values.max() < 1.25
    torch.testing.assert_close(between, values.diag(), rtol=0, atol=1e-4)


def test_muon_makes_orthogonal_what_lies_between_features_and_leaves_pixels_and_head_to_adamw(tiny):
    config = tiny.changed(optimizer="muon", stem="conv")
    optimizer = make_optimizer(config, FlatParameters(MiniViT(config.model)))
    stem = ["patch_embed.stem.3.weight", "patch_embed.stem.6.weight", "patch_embed.stem.9.weight"]
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert sorted(optimizer.hidden) == sorted(
        [*stem, *(f"blocks.{n}.{layer}.weight" for n in (0, 1) for layer in layers)]
    )


def test_parameters_side_by_side_are_the_models_own(tiny):
    model, flat, other = model_with_gradient(tiny)
    flat.values.copy_(other)
    views = flat.views(other)
    assert views.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, views[name])
    assert torch.equal(flat.join(views.values()), other)
