"""Widgets for the data set, its folder and its classes, and the download of a data set."""

import streamlit as st

from minivit import data
from minivit.config import DATASETS, Dataset, TrainConfig
from pages.parts.shell import cache
from pages.parts.shell.frame import NextStep

NUM_DEFAULT_CLASSES = 4  # as many as in the article
NUM_DEFAULT_CLASSES_FOLDER = 10  # a folder of the user's own is taken completely if it has no more classes


def pick_data(base: TrainConfig) -> TrainConfig:
    """`base` with the data set, folder and classes of the widgets.

    Offers the download of a data set that is missing. Raises NextStep if an input is missing, a MiniViTError for an
    invalid one.
    """
    titles: dict[Dataset, str] = {name: info.title for name, info in DATASETS.items()}
    dataset = st.selectbox(
        "Data set",
        list(titles),
        format_func=titles.__getitem__,
        key="settings_dataset",
        persist_state="session",
        index=list(titles).index("cifar10" if data.is_present("cifar10") else "shapes"),
    )
    data_dir = _pick_folder() if dataset == "folder" else ""
    if dataset != "folder" and not data.is_present(dataset):
        offer_download(dataset)
        raise NextStep
    config = base.changed(dataset=dataset, data_dir=data_dir)
    num_default = NUM_DEFAULT_CLASSES_FOLDER if dataset == "folder" else max(NUM_DEFAULT_CLASSES, len(base.classes))
    classes = st.multiselect(
        "Classes",
        data.list_classes(dataset, data_dir),
        default=data.select_classes(config).classes[:num_default],
        key=f"settings_classes_{dataset}_{data_dir}",
        persist_state="session",
        help="At least two. Their order gives the labels 0, 1 and so on.",
        wrap=True,
    )
    return config.changed(classes=tuple(classes))


def offer_download(dataset: Dataset) -> None:
    """A message that the data set is missing, and a button that downloads it."""
    title, megabytes = DATASETS[dataset].title, DATASETS[dataset].download_bytes / 1e6
    st.info(f"{title} is not on this machine yet. Download it, or choose synthetic shapes or your own images.")
    if st.button(
        f"Download {title} ({megabytes:.0f} MB)", key=f"settings_download_{dataset}", icon=":material/download:"
    ):
        bar = st.progress(0.0, f"Downloading {title}")
        try:
            data.download(dataset, progress=lambda *step: cache.show_progress(bar, *step))
        finally:
            bar.empty()
        st.rerun()


def _pick_folder() -> str:
    folder = st.text_input(
        "Folder",
        key="settings_data_dir",
        persist_state="session",
        placeholder="/path/to/images",
        help="A folder of PNG, JPEG or WebP files per class: <folder>/<class>/… or <folder>/train/<class>/….",
    ).strip(" \"'")
    if not folder:
        raise NextStep("Enter the path of a folder that contains one folder of images per class.")
    return folder
