"""The form of Train and Sweeps: preset, data, settings, estimated time and start button; a widget for every setting."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import streamlit as st
from cachetools import LRUCache, cached
from streamlit.delta_generator import DeltaGenerator

from minivit.config import PRESETS, Setting, TrainConfig, preset, settings
from minivit.config.train import FIELDS
from minivit.engine import estimate_seconds, seconds_until_done, speed_settings
from minivit.errors import RunError
from minivit.runs import Run, find_run, keeps_head, run_title
from pages.parts.settings.dataset import choose_data, pick_dataset, pick_images
from pages.parts.shell import cache
from pages.parts.shell.access import may_change
from pages.parts.shell.frame import fragment, show_errors
from pages.parts.shell.wording import duration, escape_markdown

GROUPS = {"data": "Data", "model": "Model", "training": "Training", "machine": "Machine"}
WITHOUT_FIELD = ("dataset", "data_dir", "classes", "init_from")  # which have widgets of their own
BASICS = ("epochs", "lr", "depth", "num_heads")  # always visible, two in a row
PRESET, START_RUNS = "settings_preset", "settings_start_runs"  # in the session
WAIT_SECONDS = 0.3  # enough for small models
_executor = ThreadPoolExecutor(1, thread_name_prefix="estimate")
_estimates: LRUCache[tuple[TrainConfig, int, int], Future[float]] = LRUCache(64)
_lock = threading.Lock()


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


def start_from(run: Run, *, has_weights: bool = False) -> None:
    """Sets the form to the settings, data set and classes of a run, and with `has_weights` to its newest weights.

    For callbacks: before the form is drawn.
    """
    config = run.config
    state = st.session_state
    if has_weights:
        config = config.changed(init_from=f"{run.id}:{run.epochs()[-1]}")
    state[START_RUNS] = {run.id: Run(run.path, config)}
    state[PRESET] = run.id
    choose_data(config)
    _reset(f"{run.id}_{config.dataset}")  # changes since an earlier call


def pick_settings(base: TrainConfig, basics: DeltaGenerator | None = None) -> TrainConfig:
    """`base` with the values of the widgets, one for each setting except data set, folder and classes.

    The few that matter most are drawn in `basics`, the others below. Raises ConfigError for an invalid combination.
    """
    known = {setting.name: setting for setting in settings() if setting.name not in WITHOUT_FIELD}
    values: dict[str, Any] = {}
    key = f"{st.session_state.get(PRESET)}_{base.dataset}"  # another preset resets all widgets
    basics = basics or st.container()
    if base.init_from:
        with basics:
            values["init_from"] = _pick_initial_weights(base, key)
    with basics, st.container(key="two_a_row"):
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
    config = base.changed(**values)
    if config.init_from and not keeps_head(config):  # raises if the models differ
        st.caption("The classification head starts from random weights, as the classes differ.")
    return config


def _pick_initial_weights(base: TrainConfig, key: str) -> str:
    """The weights of a saved epoch of the run that `base` starts from, or random ones."""
    run_id = base.init_from.rpartition(":")[0]
    options = {"": "random", base.init_from: base.init_from}
    with suppress(RunError):  # reported with the other invalid settings
        run = find_run(run_id)
        options |= {f"{run_id}:{epoch}": f"epoch {epoch} of {run_title(run)}" for epoch in run.epochs()}
    help = FIELDS["init_from"].description
    index = list(options).index(base.init_from)
    how: dict[str, Any] = {"index": index, "key": f"settings_init_from_{key}", "persist_state": "session"}
    init_from = st.selectbox("Initial weights", options, format_func=options.__getitem__, help=help, **how)
    return init_from


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


@dataclass(frozen=True)
class Plan:
    """What the start button does."""

    configs: Sequence[TrainConfig]  # of the run, or a sample if there are several
    size: str  # Markdown
    start: Callable[[], None]
    num_runs: int = 1
    num_parallel: int = 1


def start_form(
    button: str,
    pick_plan: Callable[[TrainConfig, DeltaGenerator], Plan],
    adjust: Callable[[TrainConfig], TrainConfig] = lambda config: config,
) -> None:
    """The form; `pick_plan` draws its own widgets below the button, or above in the container that it is given.

    `adjust` changes the settings of a preset. Without valid images or settings the button is disabled and says why.
    """
    if not may_change():
        st.info("This server is read-only. Train on your own computer.")
        return
    with show_errors():
        base = pick_dataset(adjust(pick_preset()))
        has_images = False
        with show_errors():
            base = pick_images(base)
            has_images = True
        basics, summary, start = st.container(), st.container(), st.container(key="settings_start")
        plan = None
        reason = "The settings are invalid; the message above says which."
        with show_errors(summary):
            plan_of_form = pick_plan(base, basics)
            if has_images:
                train_set, test_set = cache.split(plan_of_form.configs[0])
                with summary:
                    _size_and_time(plan_of_form, len(train_set), len(test_set))
                plan = plan_of_form
            else:
                reason = "There are no images to train on yet; the message below the data set says what to do."
        how: dict[str, Any] = {"type": "primary", "icon": ":material/play_arrow:", "width": "stretch"}
        if start.button(button, disabled=not plan, help=None if plan else reason, **how) and plan:
            with show_errors(summary):
                plan.start()


def _size_and_time(plan: Plan, num_train: int, num_test: int) -> None:
    """Draws what is trained, and how long it takes once that is known.

    Raises a MiniViTError for settings that this machine cannot train.
    """
    size = f"{plan.size} · **{num_train:,}** training images"
    keys = [(speed_settings(config), num_train, num_test) for config in plan.configs]
    estimates = [_estimate(*key) for key in keys]
    if wait(estimates, WAIT_SECONDS).not_done:
        fragment(lambda: _wait_for(size, estimates), every=1)
        return
    for key, estimate in zip(keys, estimates, strict=True):
        if estimate.exception():
            with _lock:
                _estimates.pop(key, None)  # memory may be free the next time
    seconds = seconds_until_done([estimate.result() for estimate in estimates], plan.num_runs, plan.num_parallel)
    st.markdown(f"{size} · ≈ **{duration(seconds)}** on this machine")


@cached(_estimates, key=lambda *key: key, lock=_lock)
def _estimate(config: TrainConfig, num_train: int, num_test: int) -> Future[float]:
    return _executor.submit(estimate_seconds, config, num_train, num_test)


def _wait_for(size: str, estimates: Sequence[Future[float]]) -> None:
    if all(estimate.done() for estimate in estimates):
        st.rerun()
    st.markdown(f"{size} · timing a few steps …")
