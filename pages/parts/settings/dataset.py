"""Widgets for the data set, its folder and its classes, and the download of a data set."""

from contextlib import suppress
from pathlib import Path
from typing import cast

import streamlit as st

from minivit import data
from minivit.config import DATASETS, Dataset, TrainConfig
from minivit.data import folder
from minivit.data.uploads import list_uploads
from minivit.errors import MiniViTError
from minivit.runs import iterate_runs
from pages.parts.settings.browse import browse_folders
from pages.parts.shell import cache
from pages.parts.shell.access import allowed_path, may_change, require_change
from pages.parts.shell.frame import NextStep
from pages.parts.shell.memoize import memoize

NUM_DEFAULT_CLASSES = 4  # as many as in the article
NUM_DEFAULT_CLASSES_FOLDER = 10  # all classes of the user's own folder, if there are no more

KEY = "settings_dataset"  # of the widget
RECALLED = "settings_recalled"  # in the session
UPLOADED = "uploads/"  # before the names of uploaded sets


def choose_dataset(name: str | None) -> None:
    """Selects a data set or an uploaded set, before its widget is drawn; None selects the default."""
    st.session_state[KEY] = name


def choose_data(config: TrainConfig) -> None:
    """Selects the data set, the folder and the classes of `config` in the next run of the page."""
    uploads = {str(path): UPLOADED + name for name, path in list_uploads().items()}
    choose_dataset(uploads.get(config.data_dir, config.dataset))
    st.session_state["settings_data_dir"] = config.data_dir
    st.session_state.pop(f"settings_classes_{config.dataset}_{config.data_dir}", None)  # back to the default


def pick_data(base: TrainConfig) -> TrainConfig:
    """`base` with the data set, folder and classes of the widgets; raises like `pick_images`."""
    return pick_images(pick_dataset(base))


def pick_dataset(base: TrainConfig) -> TrainConfig:
    """`base` with the data set of the widget, or the folder of an uploaded one; at first those of the newest run."""
    _recall_data()
    titles = {name: info.title for name, info in DATASETS.items()}
    uploads = {UPLOADED + name: path for name, path in list_uploads().items()}
    options = [*titles, *uploads]
    if st.session_state.get(KEY, options[0]) not in options:  # an uploaded set that was deleted
        del st.session_state[KEY]
    default = "cifar10" if data.is_present("cifar10") else "shapes"
    selected = st.selectbox(
        "Data set",
        options,
        format_func=lambda name: titles.get(name, f"{name.removeprefix(UPLOADED)} (uploaded)"),
        key=KEY,
        persist_state="session",
        index=0 if KEY in st.session_state else options.index(default),  # Streamlit warns of two defaults
    )
    dataset = "folder" if selected in uploads else cast(Dataset, selected)
    return base.changed(dataset=dataset, data_dir=str(uploads[selected]) if selected in uploads else "")


def _recall_data() -> None:
    """Selects data set and folder of the newest run, once in a session, if nothing is selected yet and they exist."""
    state = st.session_state
    if state.setdefault(RECALLED, False):
        return
    state[RECALLED] = True
    run = next((run for run in iterate_runs() if not run.config.imported), None)
    if run is None or not may_change() or KEY in state:
        return
    config = run.config
    with suppress(MiniViTError):
        is_folder = config.dataset == "folder"
        if Path(allowed_path(config.data_dir)).is_dir() if is_folder else data.is_present(config.dataset):
            choose_data(config)


def pick_images(config: TrainConfig) -> TrainConfig:
    """`config` with the folder, unless it has one, and the classes of the widgets.

    Offers the download of a data set that is missing. Raises NextStep if an input is missing, a MiniViTError for an
    invalid one.
    """
    dataset, data_dir = config.dataset, config.data_dir
    if dataset == "folder" and not data_dir:
        data_dir = _pick_folder()
    if dataset != "folder" and not data.is_present(dataset):
        offer_download(dataset)
        raise NextStep
    config = config.changed(data_dir=data_dir)
    if dataset == "shapes" and config.drawing == 1:
        st.caption("Drawn as in earlier versions: shapes are brighter than the background and often centered.")
    num_default = max(NUM_DEFAULT_CLASSES_FOLDER if dataset == "folder" else NUM_DEFAULT_CLASSES, len(config.classes))
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


def offer_download(dataset: Dataset, *, aside: bool = False) -> None:
    """A message that the data set is missing, and a button that downloads it; in few words where it stands `aside`."""
    require_change()
    title = DATASETS[dataset].title
    megabytes = DATASETS[dataset].download_bytes / 1e6
    if aside:
        st.caption(f"Or on photos: {title} is not on this machine yet.")
    else:
        st.info(f"{title} is not on this machine yet. Download it, or choose synthetic shapes or your own images.")
    if st.button(
        f"Download {title} ({megabytes:.0f} MB)", key=f"settings_download_{dataset}", icon=":material/download:"
    ):
        with cache.progress_bar(f"Downloading {title}") as report:
            data.download(dataset, progress=report)
        st.rerun()


def _pick_folder() -> str:
    require_change()
    browser = st.container()
    folder = st.text_input(
        "Folder",
        key="settings_data_dir",
        persist_state="session",
        placeholder="/path/to/images",
        help="A folder of image files per class: <folder>/<class>/… or <folder>/train/<class>/….",
    ).strip(" \"'")
    with browser:
        browse_folders("settings_data_dir")
    if not folder:
        raise NextStep("Enter the path of a folder that contains one folder of images per class.")
    return allowed_path(folder)


@memoize(key=lambda config: (config.dataset, config.data_dir, config.classes))
def original_size_column(config: TrainConfig) -> dict[str, list[str]]:
    """A column with the median size of each class's files; none for data sets with a fixed image size."""
    if config.dataset != "folder":
        return {}
    sizes = folder.original_sizes(config.data_dir, config.classes)
    return {"original size (px)": [f"{sizes[name][0]} × {sizes[name][1]}" for name in config.classes]}
