"""A widget for every setting, from its description in `minivit.config`."""

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from minivit.config import PRESETS, Setting, TrainConfig, preset, settings
from minivit.runs import Run, run_title
from pages.parts.settings.dataset import choose_data
from pages.parts.shell.wording import escape_markdown

GROUPS = {"data": "Data", "model": "Model", "training": "Training", "machine": "Machine"}
PICKED_WITH_DATA = ("dataset", "data_dir", "classes")
BASICS = ("epochs", "lr", "depth", "num_heads")  # always visible, two in a row
PRESET, START_RUNS = "settings_preset", "settings_start_runs"  # in the session


def pick_preset() -> TrainConfig:
    """The settings of a preset, or those of the run that `start_from` chose."""
    runs: dict[str, Run] = st.session_state.get(START_RUNS, {})
    titles = {name: name for name in PRESETS} | {run_id: run_title(run) for run_id, run in runs.items()}
    help = "\n\n".join(f"**{name}**: {text}" for name, text in PRESETS.items())
    name = st.selectbox(
        "Preset", titles, format_func=titles.__getitem__, key=PRESET, persist_state="session", help=help
    )
    if name in runs:
        st.caption(f"The settings of this run. Folder: {escape_markdown(name)}")
        return runs[name].config
    return preset(name)


def start_from(run: Run) -> None:
    """Sets the form to the settings, data set and classes of a run. For callbacks: before the form is drawn."""
    config, state = run.config, st.session_state
    state[START_RUNS] = {run.id: run}
    state[PRESET] = run.id
    choose_data(config)
    _reset(f"{run.id}_{config.dataset}")  # changes since an earlier call


def pick_settings(base: TrainConfig, basics: DeltaGenerator | None = None) -> TrainConfig:
    """`base` with the values of the widgets, one for each setting except data set, folder and classes.

    The few that matter most are drawn in `basics`, the others below. Raises ConfigError for an invalid combination.
    """
    known = {setting.name: setting for setting in settings() if setting.name not in PICKED_WITH_DATA}
    values: dict[str, Any] = {}
    key = f"{st.session_state.get(PRESET)}_{base.dataset}"  # another preset resets all widgets
    with basics or st.container(), st.container(key="two_a_row"):
        for name, column in zip(BASICS, (*st.columns(2), *st.columns(2)), strict=True):
            with column:
                values[name] = field(known[name], known[name].value(base), key)
    changes = st.container(horizontal=True, vertical_alignment="center")
    with st.expander("More settings", key="settings_more"):
        for group, title in GROUPS.items():
            st.markdown(f"**{title}**")
            for setting in settings(group):
                if setting.name in known and setting.name not in BASICS:
                    values[setting.name] = field(setting, setting.value(base), key)
    changed = [setting.title for name, setting in known.items() if values[name] != setting.value(base)]
    if changed:
        with changes:
            st.caption(f"{len(changed)} changed: {', '.join(changed)}.", width="content")
            st.button("Reset", key="settings_reset", on_click=_reset, args=(key,), type="tertiary")
    return base.changed(**values)


def _reset(key: str) -> None:
    """Sets the widgets with this key back to their defaults."""
    for name in [name for name in st.session_state if str(name).endswith(f"_{key}")]:
        del st.session_state[name]


def field(setting: Setting, value: Any, key: str) -> Any:
    """The value of the widget that suits a setting; it starts at `value` for each `key`."""
    label = setting.title
    if setting.unit and setting.unit not in label.lower():
        label = f"{label} ({setting.unit})"
    common: dict[str, Any] = {"key": f"settings_{setting.name}_{key}", "help": setting.help, "persist_state": "session"}
    if setting.kind is bool:
        return st.toggle(label, value, **common)
    if setting.choices:
        return st.selectbox(label, setting.choices, index=setting.choices.index(value), **common)
    if setting.kind is int:
        return st.number_input(label, int(setting.minimum or 0), int(setting.maximum or 0), value, **common)
    minimum = setting.minimum if setting.minimum is not None else 1e-6
    step = 1e-4 if setting.name == "lr" else 0.05
    return st.number_input(label, float(minimum), float(setting.maximum or 0), float(value), step, "%g", **common)
