"""Runs that start from the weights of another run."""

import pytest
import torch
from trainings import assert_same, quiet, stop_after, trained, weights

from minivit.data import load_split
from minivit.engine import SILENT, Events, train
from minivit.errors import ConfigError, RunError
from minivit.inference import logits
from minivit.runs import Run


def test_epoch_0_has_the_weights_of_the_other_run_which_may_then_be_deleted(tiny):
    source = trained(tiny.changed(epochs=1, normalize=True))
    expected = weights(source, 1)
    config = tiny.changed(epochs=2, init_from=f"{source.id}:1", ema=0.9)
    run, other = Run.create(config), Run.create(config)
    source.delete()
    train(config, run, stop_after(1))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(run, 0).items())
    train(config, run, SILENT)
    train(config, other, SILENT)
    assert_same(run, other)  # as one that was not interrupted
    with pytest.raises(RunError, match="is not in"):
        Run.create(config)


def test_whitening_and_normalization_keep_what_the_weights_compute(tiny):
    source = trained(tiny.changed(epochs=1))
    config = tiny.changed(epochs=1, init_from=f"{source.id}:1", whiten=True, normalize=True)
    images = load_split(config)[1].images
    outputs = logits(trained(config).load_model(0), images)
    assert torch.allclose(outputs, logits(source.load_model(1), images), atol=1e-4)


def test_another_head_is_random_if_the_classes_differ_and_the_log_says_so(tiny):
    source = trained(tiny.changed(epochs=1))
    config = tiny.changed(epochs=1, init_from=f"{source.id}:1", classes=tuple(reversed(tiny.classes)))
    run, lines = Run.create(config), []
    train(config, run, Events(log=lines.append, progress=quiet))
    assert any("with a new classification head" in line for line in lines)
    theirs, ours, random = weights(source, 1), weights(run, 0), weights(trained(tiny.changed(epochs=1)), 0)
    assert torch.equal(ours["head.weight"], random["head.weight"])
    assert torch.equal(ours["blocks.0.attn.qkv.weight"], theirs["blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"depth": 3, "norm": "pre"}, r"depth \(2, not 3\), norm \(post, not pre\)"),
        ({"init_from": "run"}, "Write the folder of a run and a saved epoch"),
        ({"init_from": "../run:1"}, "is not in"),
        ({"init_from": "{}:7"}, "has no checkpoint 7"),
    ],
)
def test_weights_that_do_not_match_are_an_error_and_leave_no_folder(tiny, changes, words):
    source = trained(tiny.changed(epochs=1))
    changes = {"init_from": "{}:1"} | changes
    config = tiny.changed(**changes | {"init_from": changes["init_from"].format(source.id)})
    with pytest.raises((ConfigError, RunError), match=words):
        Run.create(config)
    assert len(list(source.path.parent.iterdir())) == 1
