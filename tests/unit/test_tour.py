"""The example run: what ships, that it stays as it is, and that its images show what the tour says."""

from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import pytest
import torch

from minivit.attention import attend
from minivit.background_predictions import is_slow_to_predict
from minivit.cli.commands import main
from minivit.config import TrainConfig
from minivit.data import load_split
from minivit.errors import DataError, RunError
from minivit.runs import EXAMPLE, Run, extend, find_damage, find_run, list_runs, runs_to_open
from minivit.runs.archive import pack, unpack
from minivit.runs.pictures import save_picture
from minivit.tour import CONFIG, example_run, find_highlights, make_example, read_highlights, recipe
from minivit.tour.recipe import touches_border, without_top_patch

MAX_BYTES = 2_000_000


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_example_is_small_complete_and_made_by_the_recipe() -> None:
    run = example_run()
    assert sum(map(len, content(EXAMPLE).values())) < MAX_BYTES
    assert run.config == CONFIG and run.state.phase == "done" and not find_damage(run)
    assert run.epochs() == list(recipe.KEPT_EPOCHS)
    assert [row["epoch"] for row in run.metrics()] == list(range(CONFIG.epochs + 1))
    assert not is_slow_to_predict(run.config.model, 10_000)  # predictions that do are kept in a run's folder
    assert not set(run.environment) - set(recipe.FACTS)


def test_the_example_has_learned_its_images_as_they_are_drawn_today() -> None:
    run = example_run()
    test_set = load_split(run.config)[1]
    probs, _ = attend(run.load_model(), test_set.images[:200])
    accuracy = (probs.argmax(1) == test_set.labels[:200]).float().mean().item()
    assert accuracy == pytest.approx(run.metrics()[-1]["test_acc"], abs=0.08)
    assert run.metrics()[-1]["test_acc"] > 0.8 > 0.4 > run.metrics()[0]["test_acc"]


def test_the_images_of_the_tour_are_those_that_the_function_finds() -> None:
    run, highlights = example_run(), read_highlights()
    result = find_highlights(run.load_model(), load_split(run.config)[1])
    assert asdict(highlights) == pytest.approx(asdict(result), abs=1e-4)


def test_masking_the_misleading_patch_raises_the_class_that_is_predicted() -> None:
    run, highlights = example_run(), read_highlights()
    image = load_split(run.config)[1].pick(highlights.misleading_image)
    label, patch = image.labels[0], highlights.misleading_patch
    probs, attn = attend(run.load_model(), image.images[:])
    cls = attn[0, -1].mean(0)[0, 1:]
    assert run.config.classes[label] == highlights.misleading_class and probs.argmax() == label
    assert cls.argmax() == patch and cls[patch] * 65 == pytest.approx(highlights.ratio, rel=1e-4)
    others = torch.tensor([[other for other in range(64) if other != patch]])
    masked, _ = attend(run.load_model(), image.images[:], others)
    assert probs[0, label] == pytest.approx(highlights.probability, abs=1e-4)
    assert masked[0, label] == pytest.approx(highlights.probability_masked, abs=1e-4)
    assert masked[0, label] > probs[0, label] + 0.1


def test_a_model_whose_attention_is_uniform_misleads_nobody() -> None:
    run = example_run()
    model, images = run.load_model(), load_split(run.config)[1].select(range(20))
    for block in model.blocks:
        torch.nn.init.zeros_(block.attn.qkv.weight)
    with pytest.raises(DataError, match="Choose another seed"):
        find_highlights(model, images)


def test_a_shape_that_the_border_cuts_touches_it() -> None:
    masks = torch.zeros(5, 8, 8, dtype=torch.bool)
    masks[0, 1:7, 1:7] = masks[1, 0, 3] = masks[2, 7, 3] = masks[3, 3, 0] = masks[4, 3, 7] = True
    assert touches_border(masks).tolist() == [False, True, True, True, True]
    test_set, highlights = load_split(CONFIG)[1], read_highlights()
    assert not touches_border(test_set.masks[[highlights.image, highlights.misleading_image]]).any()


def test_the_top_patch_of_each_image_is_its_own() -> None:
    run = example_run()
    model, images = run.load_model(), load_split(run.config)[1].images[:2]
    maps = torch.zeros(2, 64)
    maps[0, 5] = maps[1, 63] = 1
    masked = without_top_patch(model, images, maps)
    for index, patch in enumerate((5, 63)):
        kept = torch.tensor([[other for other in range(64) if other != patch]])
        assert torch.allclose(masked[index], attend(model, images[index : index + 1], kept)[0][0], atol=1e-5)


def test_the_example_opens_by_its_id_and_stands_in_no_list_of_the_user_s(run: Run) -> None:
    assert find_run("example") == example_run() and find_run("example").is_example
    assert list_runs() == [run] and runs_to_open() == [run, example_run()]
    assert not run.is_example


def test_a_copy_of_the_example_among_the_user_s_runs_is_the_user_s(run: Run) -> None:
    copy = unpack(BytesIO(pack(example_run())))
    assert copy.id == "imported" and not copy.is_example
    copy.rename("mine")
    moved = Run.open(copy.path.rename(copy.path.with_name("example")))
    assert find_run("example") == moved and runs_to_open() == list_runs()
    moved.delete()
    assert find_run("example") == example_run()


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.rename("mine"),
        lambda run: extend(run, 99),
        lambda run: run.request("pause"),
        lambda run: run.delete(),
        lambda run: run.hold().__enter__(),
        lambda run: save_picture(run, b"picture", ".png"),
    ],
    ids=["rename", "extend", "request", "delete", "hold", "save a picture"],
)
def test_nothing_changes_the_example(change) -> None:
    before = content(EXAMPLE)
    with pytest.raises(RunError, match="The example run ships with MiniViT"):
        change(example_run())
    assert content(EXAMPLE) == before


def test_the_command_line_lists_own_runs_alone_and_trains_the_example_no_further(run: Run, capsys) -> None:
    assert main(["runs"]) == 0
    assert str(run.path) in (listed := capsys.readouterr().out) and str(EXAMPLE) not in listed
    before = content(EXAMPLE)
    for options in ([], ["--epochs", "99"]):
        assert main(["resume", str(EXAMPLE), *options]) == 2
        assert "The example run ships with MiniViT" in capsys.readouterr().err
    assert content(EXAMPLE) == before


def test_the_recipe_writes_a_run_that_opens(tmp_path: Path, tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "CONFIG", tiny)
    monkeypatch.setattr(recipe, "KEPT_EPOCHS", (0, 3))
    highlights = read_highlights()
    monkeypatch.setattr(recipe, "find_highlights", lambda model, test_set: highlights)
    (tmp_path / "example" / "checkpoints").mkdir(parents=True)
    (tmp_path / "example" / "checkpoints" / "epoch-0099.safetensors").write_bytes(b"of an earlier recipe")
    make_example(tmp_path / "example")
    made = Run.open(tmp_path / "example")
    assert made.config == tiny and made.epochs() == [0, 3] and made.state.phase == "done"
    assert made.load_model().config == tiny.model
    assert list_runs() == []
