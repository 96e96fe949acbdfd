"""What visitors of this server may do: `MINIVIT_MODE`, `MINIVIT_ROOTS`, and the login in Streamlit's secrets.

| MINIVIT_MODE | visitors |
|---|---|
| not set | do everything, on every path that the server can read |
| share | do everything, on the folders of MINIVIT_ROOTS and on uploads alone |
| view | view runs; nothing can be started, stopped, uploaded, renamed or deleted |

`MINIVIT_ROOTS` are folders, separated as in PATH. If set, typed paths must be inside them in every mode. What a page
does not draw cannot be requested through Streamlit's protocol either: it ignores widgets that the script did not make.

With a section `[auth]` in the secrets, visitors see nothing before they have logged in with that OIDC provider.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

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


def requires_login() -> bool:
    """Whether visitors must log in: the secrets say so, or cannot be read, so that a typo opens nothing."""
    if st.secrets.load_if_toml_exists():
        return "auth" in st.secrets
    return any(Path(path).exists() for path in st.get_option("secrets.files"))


def ask_for_login() -> None:
    """Stops the page at a login button if visitors must log in and this one has not."""
    if requires_login() and not st.user.get("is_logged_in"):
        st.button("Log in", key="frame_login", type="primary", on_click=st.login)
        st.stop()


def may_upload(cookies: Mapping[str, str]) -> bool:
    """Whether the sender of a request with these cookies may upload files."""
    if not requires_login():
        return may_change()
    from streamlit.web.server.starlette import starlette_websocket  # reads the cookie of a login in the same way

    signed = starlette_websocket._get_signed_cookie_with_chunks(dict(cookies), starlette_websocket.USER_COOKIE_NAME)
    return may_change() and signed is not None


def allowed_path(path: str | Path) -> str:
    """A path that a visitor entered, or that a run's settings contain; AccessError outside of the allowed folders.

    Links are resolved. The message is the same whether the path exists or not.
    """
    roots = _roots()
    if roots is not None and str(path):
        try:
            real = Path(os.path.realpath(os.path.expanduser(path)))  # noqa: PTH111, it needs no home
        except ValueError:  # a null character
            real = Path()
        if not any(real.is_relative_to(root) for root in roots):
            raise AccessError(
                f"{path} is not in a folder that this server may read. Ask its administrator for the allowed folders."
            )
    return str(path)


def is_restricted() -> bool:
    """Whether visitors may only name paths in the allowed folders."""
    return _roots() is not None


def browsable_roots() -> list[Path]:
    """The folders that a visitor may browse: the allowed ones, else MiniViT's data folder and the home folder."""
    from minivit.data.cache import default_data_dir

    folders = _roots()
    if folders is None:
        folders = [default_data_dir().absolute(), Path.home()]
    return [folder for folder in folders if folder.is_dir()] or folders[:1]


def _roots() -> list[Path] | None:
    """The folders that may be read, resolved; None for all."""
    folders = [folder for folder in os.environ.get("MINIVIT_ROOTS", "").split(os.pathsep) if folder]
    if not folders and mode() != "share":
        return None
    from minivit.data.cache import default_data_dir  # imports torch, and the server must answer before

    return [Path(os.path.realpath(os.path.expanduser(str(folder)))) for folder in [*folders, default_data_dir()]]  # noqa: PTH111
