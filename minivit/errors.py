"""What a person can cause, as exceptions whose message is one sentence to show them.

    MiniViTError
    ├── ConfigError     a setting, or a pair of settings, that cannot be
    ├── DataError       images that are missing, unreadable or too few
    ├── RunError        a run folder that is gone, broken or in another phase than asked for
    ├── TrainingError   a training that cannot go on
    └── SweepError      a study that cannot be opened, shared or gone on with

A message says what, which value, and what to do next. Pages and the command line catch `MiniViTError`
and nothing wider; our own mistakes stay assertions and tracebacks.
"""


class MiniViTError(Exception):
    """Base of all errors that a person can cause and mend."""


class ConfigError(MiniViTError):
    """A setting, or a pair of settings, that cannot be."""


class DataError(MiniViTError):
    """Images that are missing, unreadable or too few."""


class RunError(MiniViTError):
    """A run folder that is gone, broken, or in another phase than asked for."""


class TrainingError(MiniViTError):
    """A training that cannot go on, such as a loss that is no longer a number."""


class SweepError(MiniViTError):
    """A study that cannot be opened, shared or gone on with."""
