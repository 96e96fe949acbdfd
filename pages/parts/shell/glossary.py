"""The glossary: one explanation of each term, for tooltips and for the list that opens from the sidebar."""

from functools import cache

import streamlit as st

from minivit.attention.over_training import MAP_METRICS
from minivit.config import settings
from pages.parts.shell.url import param, param_button, set_params

# Settings are explained by their own help, as in the form
SETTINGS = (
    *("batch_size", "lr", "schedule", "optimizer", "weight_decay", "ema", "label_smoothing", "mixup", "cutmix"),
    *("seed", "patience", "target_acc", "warmup_epochs", "init_from"),
    *("stem", "whiten", "pos_embed", "num_registers", "norm", "mlp_ratio", "drop_rate", "embed_dim"),
)
IMAGE, ATTENTION, METHOD, OUTPUT, TRAINING = "Image and tokens", "Attention", "Maps", "Predictions", "Training"
TERMS = {  # by group
    IMAGE: {
        "Patch": "A square of the image, such as 4 × 4 pixels. p0 is at the top left; they are counted row by row.",
        "Token": "A vector that stands for one patch, or for the whole image (CLS). The layers update all tokens.",
        "CLS": "The class token: a learned vector before the patches. It collects information through attention, and "
        "in most models the prediction is computed from it alone.",
        "Residual connection": "A layer's output is added to its input, so each token keeps what it had.",
    },
    ATTENTION: {
        "Attention": "For each token, weights over all tokens that sum to 1: the shares in which their values are "
        "added up for it. They say where information comes from, not what it is or whether it matters.",
        "Query, key, value": "Three vectors computed from each token. The query of one token times the key of another "
        "gives a score; softmax turns the scores into weights; with these the values are added up.",
        "Softmax": "Turns scores into positive shares that sum to 1: exp of each score, divided by the sum of all.",
        "Head": "One of several attention computations side by side in a layer, each with queries, keys and values of "
        "its own. Mean and max are taken over the heads of the layer.",
        "Layer": "A transformer block: attention, which mixes tokens, then an MLP on each token. Layer 1 comes first.",
        "Uniform attention": "The same weight, 1/N, for each of N tokens. 3 × uniform is three times that much.",
        "Attention sink": "A token that receives much attention but has a small value, so it passes on little. A "
        "bright patch that is a sink says little about what is there.",
        "Mean attention distance": "How far from a patch the patches are to which it attends, in pixels: the mean, "
        "weighted by attention.",
        "Head ablation": "A head's output is set to 0. The drop in accuracy shows how much the model depends on it.",
        **{name.capitalize(): text for name, text in MAP_METRICS.items()},
    },
    METHOD: {
        "CLS map": "The attention weights from CLS to each patch in one layer, drawn at the patch's position.",
        "Attention rollout": "Attention from CLS through all layers: each layer's matrix, averaged over heads, with "
        "half the weight for the residual connection, is multiplied with the others.",
        "Class relevance": "Attention weighted by its gradient, how much a little more of it would raise the class's "
        "logit, and combined over all layers.",
        "Logit shares": "The class's logit divided among the patches, CLS and the biases.",
        "Direct contributions": "What the heads of all layers write from a patch into CLS, as part of the class's "
        "logit.",
        "Value-weighted attention": "Attention times the norm of the value that it brings: how much is really added.",
        "Occlusion (mean-filled)": "How much the logit drops if a patch is filled with the image's mean color.",
        "Leave-one-out (token dropped)": "How much the logit drops if the model does not get the patch's token.",
        "Logit lens": "What the classifier would predict from each token after each layer, instead of from "
        "CLS after the last.",
        "Deletion and insertion": "Patches are removed, or added, in the order of a map. If the map is faithful, the "
        "probability falls, or rises, faster than in random order.",
        "SaCo": "Salience-guided faithfulness coefficient: whether patches with higher values have larger effects on "
        "the class's probability, from −1 (the reverse) to 1 (always).",
        "Pointing game": "How often the highest patch of a map touches the object.",
    },
    OUTPUT: {
        "Logit": "The score of a class before softmax. Softmax over the logits gives the probabilities.",
        "Confidence": "The probability of the predicted class. It may be high although the prediction is incorrect.",
        "Confusion matrix": "How often images of each true class (row) got each prediction (column). Correct ones are "
        "on the diagonal.",
        "Test accuracy": "The share of correct predictions on images that were not used for training.",
        "Precision": "Of the images predicted as a class, the share that belongs to it.",
        "Recall": "Of the images of a class, the share that is predicted as it.",
        "Bootstrap": "An interval for a mean: the images are drawn again many times, with replacement, and 95% of the "
        "means lie in it.",
        "Chance": "The accuracy of guessing among equally frequent classes: 1 / number of classes.",
        "Wilson interval": "The accuracies that are compatible with the counted images at 95% confidence. "
        "It covers the choice of test images, not the seed of the training.",
        "McNemar's test": "Compares two models on the same images by those that only one of them gets right. A small "
        "p means that such a difference is rare if both are equally good.",
        "Calibration error": "The mean gap between confidence and accuracy: of predictions with 80% confidence, 80% "
        "should be correct.",
        "AUROC": "How well a score separates two groups: the probability that it is higher for a random image of the "
        "first than for one of the second. 0.5 is chance, 1 is perfect.",
    },
    TRAINING: {
        "Run": "One training with its settings, curves and saved weights.",
        "Epoch": "One pass over the training images. Epoch 0 is the model before training, with random weights or "
        "those of another run.",
        "Checkpoint": "The model's weights as saved after an epoch or a step.",
        "Loss": "Cross-entropy: minus the logarithm of the probability of the true class, mean over images. Training "
        "lowers it.",
        "Nats": "The unit of the loss with the natural logarithm; 1 nat is 1.44 bits. Guessing among 4 classes costs "
        "ln 4 = 1.39 nats.",
        "Trial": "One training of a sweep, with its own values of the settings that vary.",
        "Pruned": "A trial that was ended early, as it was below the median of earlier ones, or as its settings cannot "
        "be trained.",
        "TPE": "Tree-structured Parzen estimator: suggests values that are likelier among good trials than among the "
        "others.",
        "Cosine schedule": "The learning rate falls from its peak to 0 along half a cosine: slowly, fast, slowly.",
        "Muon": "An optimizer that replaces each weight matrix's momentum by the nearest orthogonal matrix, so that "
        "all directions are updated alike.",
    },
}


SEEING = {  # by page: what its main picture shows
    "Data": "The images that a model is trained on, and one of them cut into patches as the model gets it.",
    "Train": "Loss and accuracy after each epoch, on the training and on the test images. If only the training curve "
    "still improves, the model learns its images by heart.",
    "Predictions": "Test images with the class that the model predicts: ✓ if it is the true class, ✗ if not. The "
    "matrix counts them.",
    "Attention": "The image, and how much the selected token (at first CLS) attends to each patch: before and "
    "after training, on one scale. The brighter a patch, the more attention it gets.",
    "Compare": "The CLS maps of the same test images at several checkpoints, on one scale. Those of an "
    "untrained model are nearly uniform.",
    "Sweeps": "The accuracy of each trial by epoch, the best one bold. Below, each line is a trial: it crosses every "
    "axis at the trial's value of that setting and ends at its accuracy.",
    "Runs": "All runs with their newest accuracy and its curve. Select several to see their loss and accuracy in one "
    "chart, and the settings in which they differ.",
    "Anatomy": "What the model has learned for all images: its weights, and averages over many test images.",
}
GLOSSARY = "glossary"  # in the URL: "true", or the term to show


@cache
def terms() -> dict[str, dict[str, str]]:
    """The explanations by group and term."""
    of_settings = {setting.title: setting.help for setting in settings() if setting.name in SETTINGS}
    return {**TERMS, TRAINING: TERMS[TRAINING] | of_settings}


def explain(term: str, default: str | None = None) -> str:
    """The explanation of a term, for a tooltip; without a `default`, the glossary must have it."""
    text = next((group[term] for group in terms().values() if term in group), default)
    assert text is not None, term
    return text


def glossary_button() -> None:
    """Opens the glossary, and so does a link with `glossary=true`."""
    show = {GLOSSARY: "true"}
    param_button("Glossary", "frame_glossary", show, icon=":material/menu_book:", type="tertiary")
    if param(GLOSSARY):
        _dialog()


@st.dialog("Glossary", position="right", on_dismiss=lambda: set_params(**{GLOSSARY: None}))
def _dialog() -> None:
    words = st.text_input("Find a term", "" if param(GLOSSARY) == "true" else param(GLOSSARY)).casefold()
    matches = {
        name: {term: text for term, text in group.items() if words in f"{term} {text}".casefold()}
        for name, group in terms().items()
    }
    for name, group in matches.items():
        if group:
            st.header(name, anchor=False)
            st.markdown("\n\n".join(f"**{term}** · {text}" for term, text in group.items()))
    if not any(matches.values()):
        st.info("No term matches. Try a shorter word.")
