"""The curves of a run as a table."""

import streamlit as st

from minivit.attention.over_training import MAP_METRICS
from pages.parts.components.scrub import RunMaps


def value_table(maps: RunMaps) -> None:
    """Test accuracy and the metrics of the first map, checkpoint by checkpoint."""
    over_training = maps.over_training
    accuracy = {row["epoch"]: row["test_acc"] for row in maps.run.metrics()}
    st.dataframe(
        {
            "checkpoint": [str(checkpoint) for checkpoint in over_training.checkpoints],
            "test accuracy": [
                None if checkpoint.step else accuracy.get(checkpoint.epoch) for checkpoint in over_training.checkpoints
            ],
            **{name: over_training.metrics[name][:, 0] for name in MAP_METRICS},
        },
        column_config={
            "checkpoint": st.column_config.TextColumn(
                help="The epoch; 0 is the untrained model, 0.4 is step 4 of the first epoch."
            ),
            "test accuracy": st.column_config.NumberColumn(format="percent"),
            **{name: st.column_config.NumberColumn(format="%.4f", help=text) for name, text in MAP_METRICS.items()},
        },
        hide_index=True,
    )
