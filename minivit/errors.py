"""The user's mistakes as exceptions, each with one sentence to show.

    MiniViTError
    ├── ConfigError     an invalid setting, or settings that do not go together
    ├── DataError       images that are missing, unreadable or too few
    ├── RunError        a run folder that is missing, damaged or in the wrong phase
    ├── TrainingError   a training run that cannot continue
    ├── SweepError      a study that cannot be opened, shared or continued
    └── AccessError     what a server does not allow its visitors

A message says what is wrong, the value, and what to do. Pages and the command line catch `MiniViTError` and nothing
wider; our own mistakes stay assertions and tracebacks.
"""


class MiniViTError(Exception):
    """Base of all errors that a user can cause and correct."""


class ConfigError(MiniViTError):
    """An invalid setting, or settings that do not go together."""


class DataError(MiniViTError):
    """Images that are missing, unreadable or too few."""


class RunError(MiniViTError):
    """A run folder that is missing, damaged or in the wrong phase."""


class TrainingError(MiniViTError):
    """A training run that cannot continue, such as one whose loss is not finite."""


class SweepError(MiniViTError):
    """A study that cannot be opened, shared or continued."""


class AccessError(MiniViTError):
    """What a server does not allow its visitors."""
