"""What trainings in these tests have in common."""

import pytest

from minivit.engine import control


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop looks up at every step."""
    monkeypatch.setattr(control, "GLANCE_SECONDS", -1.0)
