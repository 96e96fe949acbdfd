"""What visitors of this server may do: `MINIVIT_MODE` and `MINIVIT_ROOTS`.

| MINIVIT_MODE | visitors |
|---|---|
| not set | do everything, on every path that the server can read |
| share | do everything, on the folders of MINIVIT_ROOTS and on uploads alone |
| view | view runs; nothing can be started, stopped, uploaded, renamed or deleted |

`MINIVIT_ROOTS` are folders, separated as in PATH. If set, typed paths must be inside them in every mode. What a page
does not draw cannot be requested through Streamlit's protocol either: it ignores widgets that the script did not make.
"""

import os
from pathlib import Path

from minivit.errors import AccessError

MODES = ("", "share", "view")


def mode() -> str:
    """The mode; AccessError for an unknown one, so that a typo does not open the server."""
    value = os.environ.get("MINIVIT_MODE", "").strip().lower()
    if value not in MODES:
        raise AccessError(f"MINIVIT_MODE is {value!r}. Set it to 'view' or 'share', or unset it.")
    return value


def may_change() -> bool:
    """Whether visitors may start, stop, upload, rename and delete."""
    return mode() != "view"


def require_change() -> None:
    """AccessError if the server is read-only."""
    if not may_change():
        raise AccessError("This server is read-only. Train and edit runs on your own computer.")


def allowed_path(path: str | Path) -> str:
    """A path that a visitor entered, or that a run's settings contain; AccessError outside of the allowed folders.

    Links are resolved. The message is the same whether the path exists or not.
    """
    roots = _roots()
    if roots is not None and str(path):
        real = Path(os.path.realpath(os.path.expanduser(path)))  # noqa: PTH111, it never raises
        if not any(real.is_relative_to(root) for root in roots):
            raise AccessError(
                f"{path} is not in a folder that this server may read. Ask its administrator for the allowed folders."
            )
    return str(path)


def _roots() -> list[Path] | None:
    """The folders that may be read, resolved; None for all."""
    folders = [folder for folder in os.environ.get("MINIVIT_ROOTS", "").split(os.pathsep) if folder]
    if not folders and mode() != "share":
        return None
    from minivit.data.cache import default_data_dir  # imports torch, and the server must answer before

    return [Path(os.path.realpath(os.path.expanduser(str(folder)))) for folder in [*folders, default_data_dir()]]  # noqa: PTH111
