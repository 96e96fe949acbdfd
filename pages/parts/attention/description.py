"""What the user should know about a map: notes below it, and the formula, source and limitations of its method."""

import streamlit as st

from minivit.attention.methods import Method, query_note, stem_note
from minivit.config import ViTConfig
from minivit.imports import assumptions
from minivit.runs import Run
from pages.parts.attention.maps import shows_before
from pages.parts.components.inspector import View
from pages.parts.shell.wording import escape_markdown


def map_notes(run: Run, method: Method, view: View) -> None:
    """What the user should know about the maps: what limits them, what is missing, and what was assumed of a model."""
    sentences = [query_note(method, view.layer, view.token), *assumptions(run), run.config.start_note]
    if view.masked:
        sentences.append(stem_note(run.config.model))
    if 0 not in run.epochs():
        sentences.append("This run has no checkpoint of epoch 0 to compare with.")
    elif not shows_before(run):
        sentences.append("The untrained map is left out for this large model; Compare shows it.")
    if text := " ".join(filter(None, sentences)):
        st.caption(escape_markdown(text))


def about_method(method: Method, view: View, config: ViTConfig) -> None:
    """Formula, source and limitations of the method, and notes on how to read its map; closed by default."""
    description = ". ".join(map(escape_markdown, (method.formula, method.source, method.limitations)))
    notes = [f"{method.title}: {description}"]
    if method.needs_layer and config.pool == "cls":
        notes.append(
            "The logits are computed from CLS alone. In the last layer only what CLS attends to affects them; the "
            "attention of patches there is computed but not used."
        )
    elif method.needs_layer:
        reads = "reads CLS and the average of the patches" if config.pool == "cls and mean" else "does not read CLS"
        notes.append(f"The classifier head of this model averages the patches' tokens: it {reads}.")
    if config.num_registers and method.is_attention:
        notes.append(
            f"The {config.num_registers} register tokens have no position in the image and are not drawn; the "
            "attention to them is missing from each row."
        )
    if view.masked and not method.is_attention:
        notes.append("This map is computed from the complete image, the probabilities without the masked patches.")
    with st.expander("About this method", key="attention_about"):
        for note in notes:
            st.caption(note)
