"""The filter and the order of the test images on Predictions; both are kept in the URL."""

from collections.abc import Sequence
from typing import Any, get_args

from streamlit.delta_generator import DeltaGenerator

from minivit.inference import Order
from pages.parts.shell.url import bind_to_url, param

RESULTS = {"correct": True, "incorrect": False}
ORDERS: tuple[Order, ...] = get_args(Order)


def pick_filter(column: DeltaGenerator, label: str, name: str, options: Sequence[str], placeholder: str) -> str | None:
    """The selected option, or None for no filter. A change starts at the first page."""
    option = param(name) if param(name) in options else None

    def selectbox(**how: Any) -> str | None:
        return column.selectbox(label, options, index=None, placeholder=placeholder, **how)

    return bind_to_url(name, option, selectbox, write=lambda value: value, page=None)


def pick_order(column: DeltaGenerator) -> Order:
    """The selected order, by index by default. A change starts at the first page."""
    order = next((order for order in ORDERS if order == param("order")), ORDERS[0])
    return bind_to_url("order", order, lambda **how: column.selectbox("Sort by", ORDERS, **how), page=None)
