"""Widgets for a sweep: what varies, what is fixed, how trials are chosen, and where the study is stored."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from minivit.config import Setting, TrainConfig
from minivit.errors import ConfigError
from minivit.machine import num_slots, pick_device, share_cores
from minivit.sweep import Sweep, SweepConfig, Vary, example_values, start_workers, sweep_settings, variable_settings
from pages.parts.settings.form import Plan, field, pick_settings
from pages.parts.shell.access import allowed_path, is_restricted, require_change
from pages.parts.shell.url import open_page

NUM_TIMED = 9  # trials whose time is estimated, as a sample of all
SEARCH = {"sampler": "grid"}  # defaults of the page that differ from the command line
VALUES_HELP = "Values separated by commas, or a range such as 1e-4..1e-2; append :log for a logarithmic scale."


def pick_sweep_plan(base: TrainConfig, _: DeltaGenerator) -> Plan:
    """The sweep that the widgets describe."""
    with st.expander("Fixed settings", key="sweeps_fixed"):
        base = pick_settings(base)
    config = pick_sweep_config(base)
    storage = ""
    if not is_restricted():  # a URL may name any file or host
        storage = st.text_input(
            "Optuna storage URL",
            key="sweeps_storage",
            placeholder="only on this machine",
            help="A URL that other machines can reach: journal:///FOLDER/FILE on a shared disk, or a database.",
        )
    length = f"{base.minutes:g} minutes" if base.minutes else f"{base.epochs:,} epochs"
    num_workers = config.workers or num_slots(pick_device(base.device))
    examples = config.sample_trials(NUM_TIMED)
    if not examples:
        raise ConfigError("None of these combinations can be trained. Change the values or the fixed settings.")
    return Plan(
        [share_cores(example, num_workers) for example in examples],
        f"**{config.num_trials:,}** models of {length}, **{num_workers}** in parallel",
        start=lambda: start_sweep(config, storage),
        num_runs=config.num_trials,
        num_parallel=num_workers,
    )


def pick_sweep_config(base: TrainConfig) -> SweepConfig:
    """The settings that vary with their values, and the settings of the search."""
    known = variable_settings()
    names = st.multiselect(
        "Vary",
        list(known),
        ["lr", "depth"],
        lambda name: known[name].title,
        key="sweeps_vary",
        persist_state="session",
        help="Settings that differ between the models; all others are fixed.",
        wrap=True,
    )
    texts = {name: _values_field(known[name], base) for name in names}
    search = {s.name: field(s, SEARCH.get(s.name, s.default), "sweep") for s in sweep_settings()}
    return SweepConfig(base=base, vary=tuple(Vary.parse(f"{name}={text}") for name, text in texts.items()), **search)


def start_sweep(config: SweepConfig, storage: str) -> None:
    """Creates the study, starts its workers and opens its live view."""
    require_change()
    allowed_path(config.base.data_dir)
    sweep = Sweep.create(config, storage=storage.strip())
    start_workers(sweep)
    open_page("sweeps", sweep=sweep.id)


def _values_field(setting: Setting, base: TrainConfig) -> str:
    return st.text_input(
        f"Values of {setting.title.lower()}",
        ",".join(map(str, example_values(setting, setting.value(base)))),
        key=f"sweeps_values_{setting.name}",
        persist_state="session",
        help=f"{setting.help} {VALUES_HELP}",
    )
