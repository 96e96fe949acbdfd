"""What looking into a large ViT costs: the first attention picture of a fresh server, and the answers after it."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from minivit.bench import Measurement
from minivit.config import TrainConfig
from minivit.model import MiniViT
from minivit.runs import Run
from tests.bench.dashboard import PROBES, SECONDS, VIEW, hover_times, memory, serving, small
from tests.browser.browsing import launched
from tests.browser.server import Server

VIT = {"img_size": 224, "norm": "pre", "images_per_class": 60}  # 48 test images
MODELS: dict[str, TrainConfig] = {
    "ViT-B/16, 197 tokens": small().changed(**VIT, patch_size=16, embed_dim=768, depth=12, num_heads=12),
    "ViT-S/8, 785 tokens": small().changed(**VIT, patch_size=8, embed_dim=384, depth=12, num_heads=6),
}


def measure() -> Iterator[Measurement]:
    """Each model on a fresh server of its own, with images that it has not seen."""
    for name, config in MODELS.items():
        with TemporaryDirectory(prefix="minivit-bench-") as folder, launched() as browser:
            run = Run.create(config, Path(folder) / "runs")
            run.save_checkpoint(MiniViT(config.model), 0)
            run.set_state("done", 0)
            with serving(folder) as server:
                yield from measure_model(server, browser, run, name)


def measure_model(server: Server, browser: Any, run: Run, name: str) -> Iterator[Measurement]:
    """One model: time, bytes and memory until its first picture, then hovering and another head."""
    page = browser.new_page(viewport=VIEW)
    page.add_init_script(path=PROBES)
    received: list[int] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))
    begun = time.perf_counter()
    page.goto(f"{server.address}/attention?run={run.id}", wait_until="commit")
    page.wait_for_function("() => bench.picture()", timeout=1000 * SECONDS, polling="raf")
    yield Measurement("large model, link → first picture", time.perf_counter() - begun, "s", note=name)
    page.wait_for_function("() => bench.drawn()", timeout=1000 * SECONDS)
    yield Measurement("large model, page complete", time.perf_counter() - begun, "s", note=name)
    yield Measurement("large model, received by the browser", sum(received) / 2**20, "MiB", note=name)
    yield Measurement("large model, peak memory of the server", memory(server, "VmHWM") / 2**30, "GiB", "≤ 2", name)
    hovers = sorted(hover_times(browser, page))
    yield Measurement("large model, patch hover → painted", hovers[len(hovers) // 2], "ms", "≤ 20", name)
    for text, seconds in page.evaluate("name => bench.head(name)", f"layer {run.config.model.depth}, head 2").items():
        yield Measurement(f"large model, another head, {text}", seconds, "ms", "≤ 300", name)
    page.close()
