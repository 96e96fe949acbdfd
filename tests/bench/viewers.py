"""Many viewers of one page without as many browsers, for the bench.

`python -m tests.bench.viewers ADDRESS PAGE QUERY COUNT SECONDS`

Each speaks to the server as Streamlit's own script in a browser does: it opens the page, and then asks for every part
that refreshes by itself whenever that is due. Prints, as JSON, how many seconds each refresh took from the request to
the last message of the answer, and how many errors were shown meanwhile.
"""

import asyncio
import json
import random
import sys
import time

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol


class Viewer:
    """One session, and what its browser would know of it."""

    def __init__(self, socket: ClientConnection, page: str, query: str) -> None:
        self.socket = socket
        self.state = ClientState(page_name=page, query_string=query)
        self.intervals: dict[str, float] = {}  # by the fragment that is to be asked for
        self.num_errors = 0  # exceptions and error messages

    async def ask(self, fragment_id: str = "") -> float:
        """Asks for the page, or one part of it; the seconds until all of it has come."""
        self.state.fragment_id, self.state.is_auto_rerun = fragment_id, bool(fragment_id)
        begun = time.perf_counter()
        await self.socket.send(BackMsg(rerun_script=self.state).SerializeToString())
        while True:
            message = ForwardMsg.FromString(await self.socket.recv(decode=False))
            kind = message.WhichOneof("type")
            if message.metadata.cacheable and kind != "ref_hash":
                self.state.cached_message_hashes.append(message.hash)  # the server need not send it again
            if kind == "new_session":
                self.state.page_script_hash = message.new_session.page_script_hash
            elif kind == "delta":
                element = message.delta.new_element
                self.num_errors += element.HasField("exception") or element.alert.format == Alert.ERROR
            elif kind == "auto_rerun":
                self.intervals[message.auto_rerun.fragment_id] = message.auto_rerun.interval
            elif kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return time.perf_counter() - begun


async def view(address: str, page: str, query: str, until: float) -> tuple[list[float], int]:
    """What one viewer waited for each refresh until that time of the monotonic clock, and the errors it saw."""
    took: list[float] = []
    async with connect(
        address,
        subprotocols=[Subprotocol("streamlit")],
        origin=Origin(address.replace("ws", "http", 1).removesuffix("/_stcore/stream")),
        max_size=None,
    ) as socket:
        viewer = Viewer(socket, page, query)
        await viewer.ask()
        await asyncio.sleep(random.uniform(0, max(viewer.intervals.values(), default=0)))  # people come when they like
        while viewer.intervals and time.monotonic() < until:
            due = time.monotonic() + min(viewer.intervals.values())
            took += [await viewer.ask(fragment_id) for fragment_id in list(viewer.intervals)]
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    return took, viewer.num_errors


async def main(address: str, page: str, query: str, count: str, seconds: str) -> None:
    """All viewers at once; the seconds count from when the first of them is let in."""
    until = time.monotonic() + float(seconds)
    stream = address.replace("http", "ws", 1) + "/_stcore/stream"
    print(json.dumps(await asyncio.gather(*(view(stream, page, query, until) for _ in range(int(count))))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
