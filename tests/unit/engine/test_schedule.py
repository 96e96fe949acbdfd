"""The learning rate against torch's own schedulers, and the other scalars of a step."""

import pytest
import torch
from trainings import trained

from minivit.config import TrainConfig
from minivit.engine.schedule import StepScalars, epoch_scalars, learning_rate, step_scalars


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


def test_bias_corrections_are_those_of_double_precision(tiny):
    for step in (0, 99, 10**6):
        scalars = step_scalars(tiny, step, 3, 32)
        assert scalars.exp_avg_scale == 1 / (1 - 0.9 ** (step + 1))
        assert scalars.exp_avg_sq_scale == (1 - 0.999 ** (step + 1)) ** -0.5


def test_each_step_of_an_epoch_has_a_row_of_scalars(tiny):
    config = tiny.changed(ema=0.9, schedule="cosine", epochs=4)
    rows = epoch_scalars(config, 2, [32, 32, 8])
    expected = [step_scalars(config, step, 3, size) for step, size in ((3, 32), (4, 32), (5, 8))]
    torch.testing.assert_close(rows, torch.tensor(expected))
    named = StepScalars(*rows[2])
    assert named.loss_scale == 1 / 8 and float(named.ema_decay) == pytest.approx(6 / 15)
    assert step_scalars(config, 1000, 3, 32).ema_decay == 0.9
