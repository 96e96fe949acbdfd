"""Anatomy: figures of the weights, at any epoch."""

import shutil

import pytest

from minivit.engine import train
from minivit.runs import Run
from tests.app.conftest import Open, told


@pytest.mark.parametrize("epoch", [0, 3])
def test_filters_positions_and_distances_are_drawn(open_page: Open, trained: Run, epoch: int) -> None:
    page = open_page("anatomy", run=trained.id, epoch=epoch)
    assert [part.value for part in page.header][:1] == ["Patch filters"]
    assert len(page.get("bidi_component")) == 1
    assert len(page.get("plotly_chart")) == 2
    assert not told(page)


def test_grey_images_and_learned_positions_are_drawn_too(open_page: Open, trained: Run) -> None:
    shutil.rmtree(trained.path)
    config = trained.config.changed(in_chans=1, pos_embed="learned", norm="pre", img_size=16, epochs=1)
    grey = Run.create(config)
    train(config, grey, say=lambda line: None)
    for name in ("anatomy", "predictions", "attention", "compare", "train"):
        assert not told(open_page(name, run=grey.id))
