"""What pages call epoch 0 of a run that starts from the weights of another one: not untrained."""

import shutil

import pytest

from minivit.runs import Run
from tests.app.conftest import Open, captions


@pytest.mark.parametrize("name", ["attention", "compare", "anatomy", "train"])
def test_no_page_calls_the_weights_of_another_run_untrained(open_page: Open, trained: Run, name: str) -> None:
    trained.set_config(trained.config.changed(init_from="20260102-101112-cat_dog_:20"))
    page = open_page(name, run=trained.id, epoch=1)
    sent = "".join(str(element.proto) for element in page.main if hasattr(element, "proto")).lower()
    sent = sent.replace("an untrained model", "")  # in explanations, which are not about this run
    assert "initial weights" in sent and "untrained" not in sent
    if name in ("attention", "compare"):
        note = "at epoch 0, are those of 20260102-101112-cat_dog_ after epoch 20."
        assert note in "".join(captions(page)).replace("\\", "")


def test_compare_says_which_of_two_runs_starts_from_other_weights(open_page: Open, trained: Run) -> None:
    other = Run.open(shutil.copytree(trained.path, trained.path.with_name("20200101-000000-older")))
    other.set_config(other.config.changed(init_from="20260102-101112-star:20"))
    page = open_page("compare", run=trained.id, run2=other.id)
    notes = " ".join(captions(page)).replace("\\", "")
    assert "Second run: The initial weights, at epoch 0, are those of" in notes and "First run" not in notes
