import copy

import numpy as np
import pytest
import torch
import yardstick
from small_models import KINDS, random_images, random_model

from minivit.attention.cascade import CONTROLS, Cascade, cascade, layer_groups, summary
from minivit.attention.methods import METHODS, available_methods
from minivit.model import MiniViT

CLASSES = torch.tensor([3, 0, 2])


def written_out(model: MiniViT) -> list[MiniViT]:
    """A model of three blocks with one more part of a new model each time, from the head to the embedding."""
    torch.manual_seed(7)
    new, models = MiniViT(model.config).eval(), []
    for part in ("head", 2, 1, 0, "embedding"):
        model = copy.deepcopy(model)
        if part == "head":
            model.norm, model.head = new.norm, new.head
        elif part == "embedding":
            new.mean, new.std = model.mean, model.std
            model = new
        else:
            model.blocks[part] = new.blocks[part]
        models.append(model)
    return models


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_is_correlated_with_its_own_map_of_the_model_as_written_out(kind):
    model, images = random_model(**kind), random_images(3)
    model.mean.fill_(0.4)
    methods = available_methods(model.config)
    ours = cascade(model, images, CLASSES, methods, layer=1, head=2, seed=7)
    assert ours.steps == ["head", "block 3", "block 2", "block 1", "embedding"]
    assert len(methods) == len(METHODS) - (kind["norm"] == "post")  # which has no direct contributions
    for name, method in methods.items():
        intact = method.attribute(model, images, CLASSES, layer=1, head=2)
        for step, changed in enumerate(written_out(model)):
            maps = method.attribute(changed, images, CLASSES, layer=1, head=2)
            expected = [yardstick.spearman(*pair) for pair in zip(intact, maps, strict=True)]
            np.testing.assert_allclose(ours.correlations[name][step], expected, atol=1e-6, err_msg=f"{name}, {step}")


def test_a_method_that_ignores_the_weights_keeps_a_correlation_of_1():
    result = cascade(random_model(), random_images(3), CLASSES, CONTROLS, seed=7)
    assert [(step.mean, step.low, step.high) for step in result.at_steps("brightness")] == [(pytest.approx(1),) * 3] * 5
    assert result.changed_at("brightness") is None
    assert summary(result).startswith("All maps change")  # a control is no method


def test_the_model_that_is_passed_stays_as_it_is():
    model = random_model().train()
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    cascade(model, random_images(3), CLASSES, {"relevance": METHODS["relevance"]}, seed=7)
    assert model.training
    torch.testing.assert_close(model.state_dict(), before, atol=0, rtol=0)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_each_parameter_belongs_to_one_step_and_a_model_without_a_head_has_none_for_it():
    for settings in (
        {"num_registers": 2, "stem": "conv"},
        {"pool": "cls and distillation", "num_registers": 1},
        {"pool": "mean, then norm"},
        {"num_classes": 0},
    ):
        model = random_model(**settings)
        names = [name for _, group in layer_groups(model) for name in group]
        assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert layer_groups(random_model(norm="post", num_classes=0))[0][0] == "block 3"


def test_a_map_has_changed_at_the_step_from_which_on_its_correlation_stays_low():
    steps = ["head", "block 2", "block 1", "embedding"]
    constant = torch.full((2,), torch.nan)
    rows = {"late": [0.9, 0.2, 0.9, 0.1], "never": [0.1, 0.2, 0.3, 0.9], "first": [0.1, 0.2, 0.3, 0.4]}
    rows["inverted"] = [-0.9, -0.8, 0.1, 0.2]
    correlations = {name: torch.tensor(row)[:, None].expand(4, 2) for name, row in rows.items()}
    correlations["constant"] = torch.stack([constant + 1, *torch.ones(2, 2), constant])
    result = Cascade(steps, correlations)
    changed = {name: result.changed_at(name) for name in correlations}
    assert changed == {
        "late": "embedding",
        "never": None,
        "first": "head",
        "inverted": "block 1",
        "constant": "embedding",
    }
    assert result.at_steps("constant")[0] is None


def test_the_summary_names_the_methods_whose_maps_do_not_change():
    correlations = {"occlusion": torch.full((1, 2), 0.9), "relevance": torch.zeros(1, 2)}
    assert summary(Cascade(["head"], correlations)).startswith("Occlusion (mean-filled) does not show what the model")
    del correlations["occlusion"]
    assert summary(Cascade(["head"], correlations)).startswith("All maps change")
