"""Words of the pages."""

import pytest

from pages.parts.shell.wording import duration

# Words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "1 s"),
        (0.2, "1 s"),
        (40.4, "40 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3599, "59 min 59 s"),
        (3599.7, "1 h"),
        (3600, "1 h"),
        (4200, "1 h 10 min"),
        (7259, "2 h"),
        (360_000, "100 h"),
    ],
)
def test_durations_are_written_as_people_write_them(seconds, words):
    assert duration(seconds) == words
