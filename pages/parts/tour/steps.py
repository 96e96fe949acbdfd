"""The tour: what each step says, and the page and view that it explains."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial

from minivit.runs import EXAMPLE
from minivit.tour import read_highlights
from pages.parts.components.softmax import Stage

Params = Mapping[str, str | int]  # names and values in the URL


@dataclass(frozen=True)
class Step:
    """One step; `params` are what the URL holds. `target` is the key of the element that the view moves to.

    It is outlined, or `outlined` is, where that is another one.
    """

    title: str
    text: str  # Markdown
    page: str
    target: str
    params: Params
    stage: Stage | None = None  # of the section "How is one attention weight computed?"
    outlined: str = ""
    action: tuple[str, Mapping[str, str]] | None = None  # a link to the same view with other params
    after: str = ""  # Markdown, instead of the text once the action was taken
    for_viewers: str = ""  # Markdown, instead of the text on a read-only server


@cache
def steps() -> tuple[Step, ...]:
    """All steps in order, with the images and figures of the example run."""
    highlights = read_highlights()
    one_image: Params = {"image": highlights.image, "layer": 2, "head": highlights.head + 1, "token": "cls"}
    numbers: Params = {**one_image, "weight": "true", "patch": f"p{highlights.patch}"}
    weight = partial(Step, page="attention", target="attention_weight_section", params=numbers)
    misleading = f"p{highlights.misleading_patch}"
    name = highlights.misleading_class
    other_image: Params = {"image": highlights.misleading_image, "layer": 2, "head": "mean", "token": "cls"}
    return (
        weight(
            "An image becomes numbers",
            "A Vision Transformer cuts the image into patches. Here 32 × 32 pixels make 64 patches of 4 × 4 pixels. "
            "Each pixel is three numbers, for red, green and blue, so **a patch is 48 numbers**. Hover over another "
            "patch.",
            stage="patch",
        ),
        weight(
            "Patches become tokens, and CLS joins them",
            "A matrix, learned in training, turns the 48 numbers of a patch into 32, to which 32 numbers for its "
            "position are added, one to one: the patch is now a **token**. No patch stands for the whole image, so "
            "one more token comes first: **CLS**. Attention carries information from the patches to it, and the "
            "prediction is computed from it alone.",
            stage="token",
        ),
        weight(
            "Query, key and value",
            "Three more matrices make from each token a **query** (what it looks for), a **key** (what it is found "
            "by) and a **value** (what it passes on). The query of CLS times the key of a token, number by number, "
            "added up and divided by √8, is that token's score. **Softmax** turns the scores into weights that sum to "
            "1; CLS receives the sum of the values, each times its weight. Hover to compare.",
            stage="softmax",
        ),
        Step(
            "Heads and layers",
            "The model does this in 4 **heads** at once, each with its own queries, keys and values, for every token, "
            "not only CLS. Heads, and a matrix that joins their results into new tokens, make a **layer**. A second "
            "layer does the same with those, and the prediction is computed from its CLS. Click some maps under "
            "*Layer × head*: each shows what CLS attends to there.",
            "attention",
            "attention_inspector",
            {**one_image, "head": "mean"},
        ),
        Step(
            "Watch a model learn",
            "A model starts with random matrices. Training changes them a little after every few images, so that the "
            "true class becomes more probable; nobody says where to look. Press **Start training** to train another "
            "small model on four shapes, in seconds; until then the curves are the example's. Its loss, how wrong it "
            "is, falls, its accuracy rises, and the maps below the curves leave their even start.",
            "train",
            "pictures_first",
            {},
            outlined="settings_start",
            for_viewers="A model starts with random matrices. Training changes them a little after every few images, "
            "so that the true class becomes more probable; nobody says where to look. This server only shows runs; "
            "here is how the example learned. Its loss, how wrong it is, fell, its accuracy rose, and the maps below "
            "the curves left their even start.",
        ),
        Step(
            "Before and after",
            "Eight test images of the example at every saved checkpoint, all on one scale. Press **Play** or move "
            "the slider. Untrained, small random matrices make all scores almost 0 and the weights of the 65 tokens "
            "almost equal, 1/65: **uniform**, dark but not zero, and one guess in four is right, as there are four "
            "classes. Trained, each image has its own map.",
            "compare",
            "compare_scrub",
            {},
        ),
        Step(
            "Attention is not explanation",
            f"The model predicts {name} ({highlights.probability:.1%}), and it is right. CLS attends most to "
            f"**{misleading}**, {highlights.ratio:.0f} × uniform. Is this patch the reason? Mask it and see.",
            "attention",
            "attention_inspector",
            other_image,
            action=(f"Mask {misleading}", {"off": misleading}),
            after=f"Without {misleading}, the most attended patch, {name} **rises from {highlights.probability:.1%} "
            f"to {highlights.probability_masked:.1%}**: here it counted against the class. Attention says where the "
            "model reads, not what it does with what it reads. With the whole image again, *What if a patch were "
            "missing?* below names the patch that matters most.",
        ),
        Step(
            "Your turn",
            "This is the end of the tour. Choose a data set here or upload your own photos, train on them under "
            "**Train**, and look at what your model attends to. Or stay with the example on the other pages.",
            "data",
            "data_uploads",
            {},
            for_viewers="This is the end of the tour. Choose a data set here to see what a model is trained on, or "
            "stay with the example: every page shows it. On your own computer, MiniViT trains on your own photos too.",
        ),
    )


def step_params(number: int) -> dict[str, str]:
    """The URL's names and values of a step, from 1."""
    params = {"run": EXAMPLE.name, "tour": number, **steps()[number - 1].params}
    return {name: str(value) for name, value in params.items()}
