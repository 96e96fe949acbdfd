"""The part of the form that only Train has, and what the form holds in the tour: a run that takes a few seconds."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from minivit.config import TrainConfig, preset
from minivit.inference import num_parameters
from pages.parts.runs.status import start_run
from pages.parts.settings.dataset import choose_data
from pages.parts.settings.form import PRESET, Plan, pick_settings
from pages.parts.tour.bar import tour_step
from pages.parts.tour.steps import steps

PRESET_NAME = "quick"
NUM_EPOCHS = 15
FILLED = "tour_filled"  # in the session: the form was filled in; what the user chooses afterwards stays


def pick_training_plan(base: TrainConfig, basics: DeltaGenerator) -> Plan:
    """A run with the settings of the widgets."""
    config = pick_settings(base, basics)
    return Plan([config], f"**{num_parameters(config.model):,}** parameters", start=lambda: start_run(config))


def fill_in_form() -> None:
    """Selects preset and data set, once, where the tour comes to Train; before the form is drawn."""
    if is_tour_training() and not st.session_state.get(FILLED):
        st.session_state[FILLED] = True
        st.session_state[PRESET] = PRESET_NAME
        choose_data(preset(PRESET_NAME).changed(dataset="shapes"))


def adjust_for_tour(config: TrainConfig) -> TrainConfig:
    """In the tour more epochs than the preset's, which on shapes are too few to see attention change."""
    is_preset = is_tour_training() and config == preset(PRESET_NAME)
    return config.changed(epochs=NUM_EPOCHS) if is_preset else config


def is_tour_training() -> bool:
    """Whether the tour is at its step on Train."""
    number = tour_step()
    return number > 0 and steps()[number - 1].page == "train"
