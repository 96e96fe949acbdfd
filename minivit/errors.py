"""User errors as exceptions, each with a message to show.

    MiniViTError
    ├── ConfigError     an invalid setting, or an invalid combination of settings
    ├── DataError       images that are missing, unreadable or too few
    ├── RunError        a run folder that is missing, damaged or in the wrong phase
    ├── TrainingError   a training run that cannot continue
    ├── SweepError      a study that cannot be opened, shared or continued
    └── AccessError     an action or a path that the server does not allow

A message states what is wrong, the value, and what to do. Pages and the command line catch `MiniViTError` and nothing
wider; bugs remain assertions and tracebacks.
"""


class MiniViTError(Exception):
    """Base class of errors that a user can cause and correct."""


class ConfigError(MiniViTError):
    """An invalid setting, or an invalid combination of settings."""


class DataError(MiniViTError):
    """Images that are missing, unreadable or too few."""


class RunError(MiniViTError):
    """A run folder that is missing, damaged or in the wrong phase."""


class TrainingError(MiniViTError):
    """A training run that cannot continue, such as one whose loss is not finite."""


class SweepError(MiniViTError):
    """A study that cannot be opened, shared or continued."""


class AccessError(MiniViTError):
    """An action or a path that the server does not allow."""
