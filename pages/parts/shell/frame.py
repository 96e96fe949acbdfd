"""What every page starts with: title, links, run and epoch pickers, and errors told as sentences.

Links are complete: run, epoch, image, layer, head and token stand in the URL. A page reads them with `param` and
writes them with `set_params`; the pickers here do both.
"""

import re
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from minivit.attention import Head, write_head
from minivit.errors import MiniViTError
from minivit.runs import Run, find_run, group_by_sweep, list_runs

T = TypeVar("T")

WHOLE_LAYER: tuple[Head, ...] = ("mean", "max")
EACH_HEAD = "each"  # in links, where a page can show all heads of a layer

PARTS = Path(__file__).parent
SIDEBAR_PX = 200
PAGES = {
    "dashboard.py": "Home",
    "pages/data.py": "Data",
    "pages/train.py": "Train",
    "pages/sweeps.py": "Sweeps",
    "pages/predictions.py": "Predictions",
    "pages/attention.py": "Attention",
    "pages/compare.py": "Compare",
    "pages/anatomy.py": "Anatomy",
    "pages/runs.py": "Runs",
}


@contextmanager
def frame(title: str, lead: str) -> Iterator[None]:
    """Title, one sentence on what is to be seen and done here, and links; errors inside become sentences."""
    st.set_page_config(
        page_title=title if title == "MiniViT" else f"{title} · MiniViT",
        page_icon=str(PARTS / "favicon.png"),
        layout="wide",
        initial_sidebar_state=SIDEBAR_PX,
    )
    st.html(PARTS / "frame.css")
    st.logo(str(PARTS / "logo.svg"), size="large")
    st.session_state["frame_page"] = title
    shown = param("run")
    for path, name in PAGES.items():
        st.sidebar.page_link(path, label=name, icon="", query_params={"run": shown} if shown else None)
    st.sidebar.html(f"<script>{(PARTS / 'scroll.js').read_text()}</script>", unsafe_allow_javascript=True)
    st.title(title, anchor=False)
    st.markdown(lead)
    with show_errors():
        yield


def side_by_side(*, pictures: float) -> Sequence[DeltaGenerator]:
    """Two columns: controls left, and `pictures` times as wide what they show; on a phone the pictures come first."""
    return st.container(key="pictures_first").columns([1, pictures], gap="large")


def controls_above() -> tuple[DeltaGenerator, DeltaGenerator]:
    """Two places: controls, and below them what they show; on a phone the pictures come first."""
    both = st.container(key="pictures_above")
    return both.container(), both.container()


class NextStep(Exception):
    """This part of the page goes on only once a person has done what the message says."""


@contextmanager
def show_errors(place: DeltaGenerator | None = None) -> Iterator[None]:
    """Shows what a person caused inside as a sentence, at `place`; anything else stays our own mistake."""
    try:
        yield
    except NextStep as step:
        if str(step):
            (place or st).info(escape_markdown(str(step)))
    except MiniViTError as error:
        (place or st).error(escape_markdown(str(error)), icon=":material/error:")


def fragment(show: Callable[[], None], *, every: float | None = None) -> None:
    """Runs `show` as a part that refreshes by itself, every so many seconds."""

    def shown() -> None:
        with show_errors():
            show()

    st.fragment(shown, run_every=every)()


def param(name: str, default: str = "") -> str:
    """The value of a name in the URL."""
    return st.query_params.get(name, default)


def int_param(name: str, options: range | list[int], default: int) -> int:
    """A whole number from the URL if it is one of `options`, else `default`."""
    found = param(name)
    return int(found) if len(found) < 10 and found.isdecimal() and int(found) in options else default


def head_param(num_heads: int) -> Head:
    """The head of the URL if the model has it, else the mean."""
    heads: list[Head] = ["mean", "max", *range(num_heads)]
    return {write_head(head): head for head in heads}.get(param("head"), "mean")


def token_param(num_tokens: int) -> int:
    """The token of the URL, such as 'p30', as its place: 0 is CLS, 1 is p0. CLS where the URL names none."""
    return {f"p{place - 1}": place for place in range(1, num_tokens)}.get(param("token"), 0)


def token_name(place: int) -> str:
    """The reverse of `token_param`."""
    return f"p{place - 1}" if place else "cls"


def off_param(num_tokens: int) -> list[int]:
    """The tokens of the URL that are switched off, such as 'p3,p4', as their places: 1 is p0. CLS is always on."""
    places = {f"p{place - 1}": place for place in range(1, num_tokens)}
    return sorted({places[name] for name in param("off").split(",") if name in places})


def set_params(**values: Any) -> None:
    """Puts values into the URL, all in one step for the browser's Back button; None removes one."""
    for name in [name for name, value in values.items() if value is None]:
        st.query_params.pop(name, None)
    texts = {name: str(value) for name, value in values.items() if value is not None}
    changed = {name: text for name, text in texts.items() if st.query_params.get(name) != text}
    if changed:
        st.query_params.update(changed)


def bind_to_url(name: str, found: T, widget: Callable[..., T], write: Callable[[T], Any] = str, **besides: Any) -> T:
    """The value of a widget that stands in the URL as `name`, where `found` was read.

    The widget writes there when a person changes it, and what goes with it `besides`; it follows where the URL was
    changed otherwise, as by the browser's Back button.
    """
    key = f"{st.session_state['frame_page']}_{name}"  # each page has its own
    if st.session_state.get(key) != found:
        st.session_state[key] = found
    return widget(key=key, on_change=lambda: set_params(**{name: write(st.session_state[key])}, **besides))


def go(page: str, **params: Any) -> NoReturn:
    """Leaves for another page with these values in the URL; None stays away."""
    st.switch_page(
        f"pages/{page}.py", query_params={name: str(value) for name, value in params.items() if value is not None}
    )


def escape_markdown(text: str) -> str:
    """Text that came from outside, so that Markdown shows it as it is."""
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", text)


def run_title(run: Run) -> str:
    """A run as people name it: the name they gave it, else its classes, and when it was started."""
    names = run.name or " · ".join(run.config.classes[:4]) + (" …" if len(run.config.classes) > 4 else "")
    return f"{names}, {_when(run.id)}"


def sweep_title(sweep: str) -> str:
    """A sweep as people name it: the name they gave it, else what varies, and when it was started."""
    when = _when(sweep)
    return f"sweep {sweep}" if when == sweep else f"sweep of {sweep[16:].replace('-', ', ')}, {when}"


def _when(name: str) -> str:
    """When the folder of that name was made; its name where somebody chose it."""
    try:
        return f"{datetime.strptime(name[:15], '%Y%m%d-%H%M%S'):%d %b %H:%M:%S}"
    except ValueError:
        return name


def run_options(runs: Sequence[Run], *opened: str) -> dict[str, str]:
    """What a picker of runs offers, titles by run id: a sweep is one line, which opens at its newest run.

    Runs of the `opened` sweeps stand one by one.
    """
    titles = {}
    for first, *others in group_by_sweep(runs):
        if first.sweep and first.sweep not in opened:
            titles[first.id] = f"{sweep_title(first.sweep)} · {len(others) + 1} runs"
        else:
            titles |= {run.id: run_title(run) for run in (first, *others)}
    return titles


def pick_run(label: str = "Run", name: str = "run") -> Run:
    """The run of the URL, or the newest; offers the others. Ends the page, with the next step, where there is none."""
    runs = list_runs()
    if not runs:
        st.info("There is no run yet. Train a model first; the article's takes a few minutes.")
        st.page_link("pages/train.py", label="Train a model", icon=":material/arrow_forward:")
        st.stop()
    wanted = param(name)
    here = {run.id: run for run in runs}
    found = (wanted if wanted in here else None) if wanted else runs[0].id
    titles = run_options(runs, here[found].sweep if found else "")

    def picker(**how: Any) -> str | None:
        index = 0 if found else None  # None would let a person clear it
        return st.selectbox(
            label, list(titles), index, lambda run_id: titles.get(run_id, run_id), placeholder="Choose a run", **how
        )

    chosen = bind_to_url(name, found, picker, epoch=None, checkpoint=None)  # the newest of the other run
    if chosen is None:
        find_run(wanted)
        st.stop()
    if not wanted:
        set_params(**{name: chosen})
        st.rerun()  # so that the links to other pages lead to it
    return find_run(chosen)


def pick_epoch(run: Run, label: str = "Epoch", name: str = "epoch", *, first: bool = False) -> int:
    """One of the run's saved epochs: that of the URL, else the newest (or the first)."""
    epochs = run.epochs()
    if not epochs:
        run.load_model()  # says why there is nothing to see
    epoch = int_param(name, epochs, epochs[0] if first else epochs[-1])
    if len(epochs) > 1:
        said = "Saved epochs; 0 is the untrained model."
        epoch = bind_to_url(name, epoch, lambda **how: st.select_slider(label, epochs, help=said, **how))
    set_params(**{name: epoch})
    return epoch


def pick_layer(depth: int, label: str = "Layer", name: str = "layer") -> int:
    """A layer, from 1: that of the URL, else the last; no widget where there is only one."""
    layers = range(1, depth + 1)
    layer = int_param(name, layers, depth)
    if depth > 1:
        layer = bind_to_url(name, layer, lambda **how: st.selectbox(label, layers, **how))
    set_params(**{name: layer})
    return layer


def pick_heads(num_heads: int, *, each: bool) -> list[Head]:
    """One head, the mean or the maximum, as the URL says; with `each` perhaps the mean and then every head."""
    heads = {write_head(head): [head] for head in (*WHOLE_LAYER, *range(num_heads))}
    if each and num_heads > 1:
        heads[EACH_HEAD] = ["mean", *range(num_heads)]
    name = param("head") if param("head") in heads else "mean"
    if num_heads > 1:
        said = {EACH_HEAD: "each, side by side"}
        name = bind_to_url(
            "head", name, lambda **how: st.selectbox("Head", heads, format_func=lambda one: said.get(one, one), **how)
        )
    set_params(head=name)
    return heads[name]


def pick_image(num_images: int) -> int:
    """The number of one test image: that of the URL, else the first; with buttons for its neighbours."""
    image = int_param("image", range(num_images), 0)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xxsmall"):
        for way, sign, beside in (("Previous", "left", image - 1), ("Next", "right", image + 1)):
            st.button(
                "", key=f"frame_{way}", icon=f":material/chevron_{sign}:", help=f"{way} image",
                disabled=beside not in range(num_images), on_click=set_params, kwargs={"image": beside},
            )  # fmt: skip
        image = bind_to_url("image", image, lambda **how: st.number_input("Test image", 0, num_images - 1, **how))
    set_params(image=image)
    return image
