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
    misleading, name = f"p{highlights.misleading_patch}", highlights.misleading_class
    other_image: Params = {"image": highlights.misleading_image, "layer": 2, "head": "mean", "token": "cls"}
    return (
        weight(
            "An image becomes numbers",
            "A Vision Transformer cuts the image into patches. Here 32 × 32 pixels make 64 patches of 4 × 4 pixels. "
            "Each pixel has a red, a green and a blue value, so **a patch is 48 numbers**. Hover over another patch.",
            stage="patch",
        ),
        weight(
            "Patches become tokens, and CLS joins them",
            "A matrix turns the 48 numbers of each patch into 32, its **token**; 32 more that stand for its position "
            "are added. No patch stands for the whole image, so one more token comes first: **CLS**. Attention carries "
            "information from the patches to it, and the prediction is computed from it alone.",
            stage="token",
        ),
        weight(
            "Query, key, value: one row of softmax",
            "The **query** of CLS times the **key** of a patch, number by number, added up and divided by √8, is the "
            "patch's score. **Softmax** turns 65 scores into 65 weights that sum to 1. CLS receives the sum of "
            "all **values**, weighted by these shares. Hover over a bright patch, then over a dark one: compare the "
            "products.",
            stage="softmax",
        ),
        Step(
            "Heads and layers",
            "This model does that in 4 **heads** at once, each with its own queries and keys, and again in a second "
            "**layer** on the result of the first. Under *Layer × head*, click some maps: the heads attend to "
            "different patches. Only the last layer's CLS reaches the prediction.",
            "attention",
            "attention_inspector",
            {**one_image, "head": "mean"},
        ),
        Step(
            "Watch a model learn",
            "Nobody told the model where to look: it only saw images and their classes. Press **Start training**: "
            "the form holds a small model on four shapes that trains in a few seconds. Loss falls, accuracy rises, and "
            "the maps below the curves leave their uniform start.",
            "train",
            "pictures_first",
            {},
            outlined="settings_start",
            for_viewers="Nobody told the model where to look: it only saw images and their classes. This server only "
            "shows runs; here is how the example learned. Its loss fell, its accuracy rose, and the maps below the "
            "curves left their uniform start.",
        ),
        Step(
            "Before and after",
            "Eight test images of the example at every saved checkpoint, all on one scale. Press **Play** or move "
            "the slider. Untrained, every patch gets about 1/65 and the predictions are guesses; trained, each image "
            "has its own map.",
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
            after=f"Without {misleading}, the most attended patch, {name} **rises from {highlights.probability:.1%} to "
            f"{highlights.probability_masked:.1%}**: it spoke against the class. Attention says where the model "
            "reads, not what it does with what it reads. *Can this map be trusted?* below checks this for any map.",
        ),
        Step(
            "Your turn",
            "This is the end of the tour. Choose a data set here or upload your own photos, train on them under "
            "**Train**, and look at what your model attends to. Or stay with the example: every page shows it.",
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
