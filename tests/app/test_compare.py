"""Compare: two epochs of one run, in figures."""

from minivit.predict import predict_run
from minivit.runs import Run
from tests.app.conftest import Open, told, widget


def test_the_untrained_model_stands_beside_the_newest(open_page: Open, trained: Run) -> None:
    page = open_page("compare", run=trained.id)
    figures = page.dataframe[0].value
    assert figures["model"].tolist() == ["untrained", "epoch 3"]
    assert figures["held-out accuracy"].tolist() == [predict_run(trained, epoch).accuracy for epoch in (0, 3)]
    assert (figures["entropy of the maps shown"] <= 1).all()


def test_any_two_epochs_layers_and_heads_stand_in_the_link(open_page: Open, trained: Run) -> None:
    page = open_page("compare", run=trained.id, before=1, epoch=2, layer=1, head=2)
    assert page.dataframe[0].value["model"].tolist() == ["epoch 1", "epoch 2"]
    assert [widget(page, "selectbox", name).value for name in ("Layer", "Head")] == [1, 1]
    widget(page, "selectbox", "Head").select("max").run()
    assert page.query_params["head"] == "max"
    assert page.query_params["epoch"] == "2"  # the rest stays


def test_one_epoch_against_itself_is_no_error(open_page: Open, trained: Run) -> None:
    page = open_page("compare", run=trained.id, before=2, epoch=2, images="Wrong before, right after")
    assert any("No held-out image fits this choice." in info.value for info in page.info)
    widget(page, "selectbox", "Images").select("any").run()
    assert page.dataframe[0].value["model"].tolist() == ["epoch 2", "epoch 2 again"]
    assert not told(page)
