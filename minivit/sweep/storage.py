"""Where a study is stored: Optuna's journal in a file that several machines may share, or a database."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from minivit.errors import SweepError

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal://"  # before the path of a file


def open_storage(url: str) -> "optuna.storages.BaseStorage":
    """The storage at `journal:///path/of/a/file` or at a database's URL, created if it is new.

    Several processes can share a journal on a network disk: Optuna only appends to it. Raises SweepError if the storage
    cannot be opened.
    """
    import optuna  # takes a second, so only when it is needed
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with storage_errors(url):
        if url.startswith(JOURNAL):
            path = Path(url.removeprefix(JOURNAL))
            if not path.is_absolute() or not path.parent.is_dir():
                raise SweepError(f"{url} is not a file in an existing folder. Write {JOURNAL}/FOLDER/FILE.")
            return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
        return optuna.storages.RDBStorage(url, engine_kwargs=options)


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Raises SweepError if the storage at `url` cannot be read or written inside."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (ImportError, OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(getattr(error, "orig", None) or error.__cause__ or error).splitlines()[0]
        raise SweepError(f"The study at {without_password(url)} cannot be reached: {reason}. Check its URL.") from None
    except ValueError as error:
        if "log format" not in str(error) and "JSON" not in type(error).__name__:
            raise
        raise SweepError(f"The journal {url} is damaged. Restore a backup of it, or start a new sweep.") from None


def without_password(url: str) -> str:
    """A URL to display."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:…@", url)
