"""The settings as widgets: data set and classes, preset, and every setting grouped and explained."""

from typing import Any

import streamlit as st

from minivit import data
from minivit.config import DATASETS, PRESETS, Dataset, Setting, TrainConfig, preset, settings
from pages.parts.shell import cache
from pages.parts.shell.frame import NextStep

GROUPS = {"model": "Model", "training": "Training", "machine": "Machine"}
CHOSEN_BEFOREHAND = 4  # as many classes as the article has; a person's own folder is taken whole if it can be
MANY_CLASSES = 10


def choose_data(base: TrainConfig) -> TrainConfig:
    """Widgets for data set, folder and classes; `base` with what was chosen there.

    Offers the download of a set that is not here. Raises NextStep where something is still to be chosen, and a
    MiniViTError for a choice that cannot be.
    """
    titles: dict[Dataset, str] = {name: info.title for name, info in DATASETS.items()}
    dataset = st.selectbox(
        "Data set",
        list(titles),
        format_func=titles.__getitem__,
        key="choose_dataset",
        persist_state="session",
        index=list(titles).index(_first_dataset()),
    )
    data_dir = ""
    if dataset == "folder":
        data_dir = st.text_input(
            "Folder", key="choose_data_dir", persist_state="session", placeholder="/path/to/images",
            help="A folder of PNG, JPEG or WebP files per class: <folder>/<class>/… or <folder>/train/<class>/….",
        ).strip(" \"'")  # fmt: skip
        if not data_dir:
            raise NextStep("Type the path of a folder that holds a folder of images per class.")
    elif not data.is_present(dataset):
        offer_download(dataset)
        raise NextStep
    config = base.changed(dataset=dataset, data_dir=data_dir)
    known = data.list_classes(dataset, data_dir)
    fitting = data.select_classes(config).classes
    beforehand = MANY_CLASSES if dataset == "folder" else max(CHOSEN_BEFOREHAND, len(base.classes))
    classes = st.multiselect(
        "Classes", known, default=fitting[:beforehand], key=f"choose_classes_{dataset}_{data_dir}",
        persist_state="session", help="At least two. Their order gives the labels 0, 1 and so on.", wrap=True,
    )  # fmt: skip
    return config.changed(classes=tuple(classes))


def offer_download(dataset: Dataset) -> None:
    """Says that a set is not here and downloads it when asked to, with a bar; the page goes on without it."""
    title, megabytes = DATASETS[dataset].title, DATASETS[dataset].download_bytes / 1e6
    st.info(f"{title} is not on this machine yet. Download it, or choose the drawn shapes or a folder of images.")
    if st.button(
        f"Download {title} ({megabytes:.0f} MB)", key=f"choose_download_{dataset}", icon=":material/download:"
    ):
        bar = st.progress(0.0, f"Downloading {title}")
        try:
            data.download(dataset, progress=lambda *news: cache.show_progress(bar, *news))
        finally:
            bar.empty()
        st.rerun()


def choose_preset() -> TrainConfig:
    """A widget for the preset; its settings."""
    name = st.selectbox("Preset", PRESETS, key="choose_preset", persist_state="session")
    st.caption(PRESETS[name])
    return preset(name)


def choose_settings(base: TrainConfig) -> TrainConfig:
    """A widget for every setting but the data set and classes, in groups; `base` with what was chosen there."""
    chosen: dict[str, Any] = {}
    shown = [one for one in settings("data") if one.name not in ("dataset", "data_dir", "classes")]
    for title, group in {"Data": shown, **{title: list(settings(key)) for key, title in GROUPS.items()}}.items():
        with st.expander(title):
            start = f"{st.session_state.get('choose_preset')}_{base.dataset}"
            chosen |= {one.name: setting_widget(one, one.value(base), start) for one in group}
    return base.changed(**chosen)


def setting_widget(one: Setting, value: Any, start: str) -> Any:
    """The widget that suits one setting; its state belongs to what it started from."""
    label = f"{one.title} ({one.unit})" if one.unit and one.unit not in one.title.lower() else one.title
    common: dict[str, Any] = {"key": f"choose_{one.name}_{start}", "help": one.help, "persist_state": "session"}
    if one.kind is bool:
        return st.toggle(label, value, **common)
    if one.choices:
        return st.selectbox(label, one.choices, index=one.choices.index(value), **common)
    if one.kind is int:
        return st.number_input(label, int(one.minimum or 0), int(one.maximum or 0), value, **common)
    lowest = one.minimum if one.minimum is not None else 1e-6
    step = 1e-4 if one.name == "lr" else 0.05
    return st.number_input(label, float(lowest), float(one.maximum or 0), float(value), step, "%g", **common)


def _first_dataset() -> Dataset:
    return "cifar10" if data.is_present("cifar10") else "shapes"
