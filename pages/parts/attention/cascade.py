"""Do maps change when the model loses what it learned? The cascade of re-initialized layers."""

import streamlit as st

from minivit.attention import METHODS, Head
from minivit.attention.cascade import (
    CONTROLS,
    METHODS_AND_CONTROLS,
    SEED,
    Cascade,
    affordable_methods,
    cascade,
    num_multiplications,
    summary,
)
from minivit.attention.methods import available_methods
from minivit.figures import cascade_curves
from minivit.machine import threads_for
from minivit.runs import Run
from pages.parts.shell import cache
from pages.parts.shell.memoize import memoize
from pages.parts.shell.progress import estimate, progress

NUM_IMAGES = 32


def cascade_section(run: Run, epoch: int, name: str, layer: int, head: Head) -> None:
    """The section; nothing is computed until the user turns it on."""
    st.subheader("Do the maps change when layers are re-initialized?", anchor=False)
    st.caption(
        "Layers get new random weights one after the other, the head first and the embedding last. A map of what the "
        "model learned changes; a map that stays the same shows the image or the architecture instead."
    )
    num_images = len(cache.some_images(run, NUM_IMAGES))
    names = affordable_methods(run.config.model, num_images)
    if not st.toggle("Re-initialize the layers", key="cascade", bind="query-params"):
        st.caption(estimate(num_multiplications(run.config.model, names, num_images)))
        return
    result = _cascade(run, epoch, layer, head)
    st.markdown(f"**{summary(result)}**")
    curves = {METHODS_AND_CONTROLS[method].title: result.at_steps(method) for method in result.correlations}
    st.plotly_chart(cascade_curves(result.steps, curves, METHODS[name].title), key="trust_cascade")
    slow_methods = [method.title for key, method in available_methods(run.config.model).items() if key not in names]
    st.caption(
        f"{num_images} test images, the class that the intact model predicts, mean with 95% intervals, one draw of new "
        "weights. The map of a layer cannot change before that layer or one below it is re-initialized. Adebayo et "
        "al., arXiv 1810.03292."
        + (f" Left out, as they take too long for this model: {', '.join(slow_methods)}." if slow_methods else "")
    )


@memoize()
def _cascade(run: Run, epoch: int, layer: int, head: Head) -> Cascade:
    indices = cache.some_images(run, NUM_IMAGES)
    classes = cache.predicted_classes(run, epoch, indices)
    methods = {name: METHODS[name] for name in affordable_methods(run.config.model, len(indices))} | CONTROLS
    with threads_for(run.config), progress("Re-initializing layers", cancel="cascade") as report:
        return cascade(
            cache.model_of(run, epoch),
            cache.test_set(run).images[list(indices)],
            classes,
            methods,
            layer=layer,
            head=head,
            seed=SEED + run.config.seed,
            report=report,
        )
