"""The server: Streamlit's own, with MiniViT's styles in the HTML document, so that nothing moves while it loads.

`streamlit run` finds the `app` of dashboard.py. What Streamlit sends later, such as `st.html`, comes after the first
paint and would move what is there.
"""

import gc
import threading
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from streamlit.starlette import App

from minivit.processes import limit_spinning, standby
from pages.parts.shell.access import may_upload

# Prevents clickjacking: no page of another origin may embed this one in a frame. Streamlit has its document at any path
FRAME_HEADERS = {"Content-Security-Policy": "frame-ancestors 'self'", "X-Frame-Options": "SAMEORIGIN"}
SHELL = Path(__file__).parent
PAGES = Path(__file__).parents[2]
STATIC = SHELL.parents[2] / "static"  # for `live_curves`; a clone does not have it
INDEX = Path(st.__file__).parent / "static" / "index.html"

limit_spinning()  # the server's threads and those of the workers that it starts


def page_routes() -> list[Route]:
    """A route to the HTML document for each page; makes the folder of static files, for which Streamlit looks next."""
    with suppress(OSError):  # where it cannot be written, Streamlit warns that it is missing
        STATIC.mkdir(exist_ok=True)
    base = st.get_option("server.baseUrlPath").strip("/")
    names = ["", *(path.stem for path in PAGES.glob("*.py"))]
    return [Route(f"/{base}/{name}".replace("//", "/"), _document) for name in names]


class Guard:
    """Middleware that rejects what Streamlit would accept: uploads by those who may not, WebSockets without an Origin.

    Every browser sends an Origin, which Streamlit compares with the server's own address. All responses forbid frames.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(FRAME_HEADERS)
            await send(message)

        if scope["type"] == "websocket" and "origin" not in Headers(scope=scope):
            await WebSocketClose()(scope, receive, send)
        elif (
            scope["type"] == "http"
            and "/_stcore/upload_file" in scope["path"]
            and not may_upload(HTTPConnection(scope).cookies)
        ):
            await Response(status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send_unframed)


def _document(request: Request) -> HTMLResponse:
    return HTMLResponse(_html(), headers={"Cache-Control": "no-cache"})


@cache
def _html() -> str:
    style = (SHELL / "frame.css").read_text(encoding="utf-8")
    scripts = "".join(f"<script>{path.read_text(encoding='utf-8')}</script>" for path in sorted(SHELL.glob("*.js")))
    head = f"<style>{style}</style>{scripts}</head>"
    return INDEX.read_text(encoding="utf-8").replace("</head>", head)


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    """Imports torch while the first visitor's browser still loads its scripts, and opens the user's browser.

    Streamlit itself opens it only if the entry point is a script.
    """
    threading.Thread(target=_import_torch, daemon=True).start()
    if not st.get_option("server.headless"):
        webbrowser.open(f"http://localhost:{st.get_option('server.port')}/{st.get_option('server.baseUrlPath')}")
    with standby.enabled():
        yield


def _import_torch() -> None:
    gc.disable()  # as in minivit/__main__.py
    import_module("minivit.inference")
    gc.enable()
    gc.freeze()
