"""The tour's bar above a page: what a step says, links to its neighbors, and scrolling to what it explains."""

from pathlib import Path

import streamlit as st

from minivit.runs import EXAMPLE
from pages.parts.components.softmax import Stage
from pages.parts.shell.access import may_change
from pages.parts.shell.url import int_param, is_presented, open_page, param
from pages.parts.tour.steps import Step, step_params, steps

LAST_STEP = "tour_last_step"  # in the session: where the tour was left
SCRIPT = (Path(__file__).parent / "bar.js").read_text(encoding="utf-8").strip()


def tour_step() -> int:
    """The step that the URL names, from 1; 0 outside of the tour."""
    return int_param("tour", range(1, len(steps()) + 1), 0)


def tour_stage() -> Stage | None:
    """The part of the section on one weight that the step explains."""
    number = tour_step()
    return steps()[number - 1].stage if number else None


def tour_bar(page: str) -> None:
    """The bar, where the URL names a step; a link of the step alone opens its view. `page` is the title of this one."""
    number = tour_step()
    if not number:
        return
    step = steps()[number - 1]
    is_here = page.lower() == step.page and (param("run") in ("", EXAMPLE.name) or step.page == "train")
    if not param("run") or (is_here and "image" in step.params and not param("image")):
        open_page(step.page, **step_params(number))
    st.session_state[LAST_STEP] = number
    with st.container(key="tour_bar", border=True):
        st.markdown(f"**{step.title}** · step {number} of {len(steps())}")
        st.markdown(_text(step))
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            _links(step, number, is_here)
        if is_here:
            outlined = step.outlined or step.target
            if not step.stage:  # which frames a part of the target itself
                style = "outline: 2px solid light-dark(#5546d6, #6d5def); outline-offset: 4px; border-radius: 2px"
                st.html(f"<style>.st-key-{outlined} {{ {style} }}</style>")
            # Steps may share a target: a script that is new in each step runs again, also after a click stopped it.
            script = f"{SCRIPT}('{step.target}', '{outlined}') // step {number}"
            st.html(f"<script>{script}</script>", unsafe_allow_javascript=True)


def resume_link() -> None:
    """A link back into the tour, where it was left before its end."""
    number = st.session_state.get(LAST_STEP, 0)
    if number and number < len(steps()) and not tour_step():
        _link(f"Resume the tour: step {number}", number, icon=":material/tour:")


def _text(step: Step) -> str:
    is_taken = step.action is not None and all(param(name) == value for name, value in step.action[1].items())
    if step.for_viewers and not may_change():
        return step.for_viewers
    return step.after if is_taken else step.text


def _links(step: Step, number: int, is_here: bool) -> None:
    if not is_here:
        _link("Show what this step explains", number, icon=":material/my_location:")
    elif step.action is not None:
        label, params = step.action
        is_taken = all(param(name) == value for name, value in params.items())
        if is_taken:
            _link("Show the whole image again", number, icon=":material/undo:")
        else:
            _link(label, number, icon=":material/touch_app:", **params)
    if number > 1:
        with st.container(key="tour_back", width="content"):
            _link("Back", number - 1, icon=":material/arrow_back:")
    if number < len(steps()):
        with st.container(key="tour_next", width="content"):
            _link("Next", number + 1, icon=":material/arrow_forward:")
    rest = {name: value for name, value in st.query_params.items() if name != "tour"}
    st.page_link(_page(step), label="Leave the tour" if number < len(steps()) else "End the tour", query_params=rest)


def _link(label: str, number: int, icon: str, **also: str) -> None:
    presented = {"present": "true"} if is_presented() else {}
    query = {**step_params(number), **presented, **also}
    st.page_link(_page(steps()[number - 1]), label=label, icon=icon, query_params=query)


def _page(step: Step) -> str:
    return f"pages/{step.page}.py"
