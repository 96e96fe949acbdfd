"""The progress bar of the command line."""

import io
import re
import sys

from minivit.cli.options import ProgressBar

# The progress bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_thing_has_one_bar_from_its_beginning_to_its_end(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    bar = ProgressBar()
    bar("Reading star", 0, 10)
    first = bar.bar
    bar("Reading star", 4, 10)
    bar("Reading star", 9, 12)
    assert bar.bar is first and (first.n, first.total) == (9, 12)
    bar("Reading circle", 1, 12)
    assert bar.bar is not first and bar.bar.n == 1
    bar.close()
    bar.close()
    assert bar.bar is None
    assert re.search("Reading star.*Reading circle", terminal.getvalue(), re.DOTALL)


def test_no_bar_is_drawn_into_a_pipe(capsys):
    bar = ProgressBar()
    for done in range(3):
        bar("Reading star", done, 3)
    bar.close()
    assert capsys.readouterr() == ("", "")
