"""What the dashboard costs: pages in a real browser, 50 viewers of one live run, and a training with a viewer.

The real server is started in folders of its own; nothing of a person's runs is read or written.
"""

import io
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from minivit.bench import Measurement
from minivit.config import TrainConfig, preset
from minivit.data import default_data_dir
from minivit.errors import ConfigError
from minivit.model import MiniViT
from minivit.runs import Run
from minivit.worker import start_worker
from tests.browser.browsing import launched
from tests.browser.server import ROOT, Server, until

VIEW = {"width": 1280, "height": 900}
SECONDS = 120  # for anything that is waited for
NUM_EPOCHS = 10_000  # of the live run
NUM_ROWS = 9_900  # that it has when watching begins
NUM_VIEWERS = 50
VIEW_SECONDS = 40

PROBES = Path(__file__).with_name("probes.js")
DRAWN = "() => bench.drawn()"


def measure(log: Callable[[str], None] = print) -> list[Measurement]:
    """All measurements of the dashboard, one after another on a machine that should do nothing else meanwhile."""
    if not Path("/proc/self/stat").exists():
        raise ConfigError("What a server uses of the machine is read from /proc, which only Linux has.")
    measurements: list[Measurement] = []
    with TemporaryDirectory(prefix="minivit-bench-") as folder, launched() as browser:
        os.environ.update(MINIVIT_RUNS=f"{folder}/runs", MINIVIT_LOCKS=folder)
        os.environ.setdefault("MINIVIT_DATA", str(default_data_dir()))
        log("Pages in a browser")
        run = finished_run()
        with serving(folder) as server:
            measurements += [*measure_pages(server, browser, run)]
        log(f"{NUM_VIEWERS} viewers of a live run with {NUM_EPOCHS:,} epochs")
        with serving(folder) as server:
            measurements += measure_viewers(server)
        log("Training with and without a viewer")
        with serving(folder) as server:
            measurements.append(measure_viewed_run(server, browser))
    return measurements


def measure_pages(server: Server, browser: Any, run: Run) -> Iterator[Measurement]:
    """Milliseconds until pages of `run` are there, from a browser that knows nothing, and the inspector's answers."""
    first, later = open_page(browser, server.address), [open_page(browser, server.address) for _ in range(3)]
    yield Measurement(
        "first page of a fresh server", 1000 * first, "ms", note="browser without a cache; torch is imported"
    )
    yield Measurement("first page, server warm", 1000 * statistics.median(later), "ms", note="browser without a cache")
    predictions = f"{server.address}/predictions?run={run.id}"
    open_page(browser, predictions, "() => bench.gallery(96)")  # predicts
    galleries = [open_page(browser, predictions, "() => bench.gallery(96)", warm=True) for _ in range(3)]
    yield Measurement("gallery of 96, page load to last image", 1000 * statistics.median(galleries), "ms", "≤ 1500")
    for name, shown in ((f"{run.config.model.depth} layer", run), ("6 layers of 8 heads", large_run())):
        page = open_inspector(server, browser, shown)
        hovers = hover_times(browser, page)
        p90 = statistics.quantiles(hovers, n=10)[-1]
        note = f"{name}; event to frame on the screen, its wait for it included; p90 {p90:.0f}"
        yield Measurement("patch hover → painted", statistics.median(hovers), "ms", "≤ 20", note)
        if shown is run:
            clicks = [page.evaluate("patch => bench.click(patch)", patch) for patch in (9, 18, 27, 36, 45, 54, 12, 21)]
            yield Measurement("patch click → page updated", statistics.median(clicks), "ms", "≤ 150")
            pictures = 1000 * statistics.median(own_picture_times(page))
            yield Measurement("own picture → probabilities and map", pictures, "ms", "≤ 1000", "640 × 480 px, chosen")
        page.close()


def open_inspector(server: Server, browser: Any, run: Run) -> Any:
    """The Attention page of a run."""
    page = browser.new_page(viewport=VIEW)
    page.add_init_script(path=PROBES)
    page.goto(f"{server.address}/attention?run={run.id}")
    page.wait_for_function("() => bench.drawn() && bench.picture()", timeout=1000 * SECONDS)
    return page


def hover_times(browser: Any, page: Any, count: int = 60) -> list[float]:
    """Milliseconds from the pointer's move to another patch, as the browser got it, to the frame that shows it.

    By the browser's own trace: when the frame was on the screen, not when the script was done.
    """
    box = page.evaluate("() => bench.picture().getBoundingClientRect().toJSON()")
    time.sleep(1)  # until the page rests
    browser.start_tracing(page=page, categories=["blink.user_timing", "devtools.timeline"])
    for hover in range(count):
        row, column = divmod(37 * hover % 64, 8)
        page.mouse.move(box["x"] + (column + 0.5) * box["width"] / 8, box["y"] + (row + 0.5) * box["height"] / 8)
        time.sleep(0.06 + 0.001 * (hover % 17))  # at any time within a frame
    events = json.loads(browser.stop_tracing())["traceEvents"]
    moves, frames = (
        sorted(event["ts"] for event in events if event["name"] == name)
        for name in ("minivit-hover", "AnimationFrame::Presentation")
    )
    return [(min(frame for frame in frames if frame > move) - move) / 1000 for move in moves]


def own_picture_times(page: Any, count: int = 5) -> Iterator[float]:
    """Seconds from the choice of a file until its map is there, which follows its probabilities."""
    page.get_by_text("Try your own image").click()
    for number in range(count):
        content = io.BytesIO()
        Image.effect_noise((640, 480), 10 + number).save(content, "PNG")
        file = {"name": f"{number}.png", "mimeType": "image/png", "buffer": content.getvalue()}
        begun = time.perf_counter()
        page.locator("input[type=file]").first.set_input_files(file)
        page.locator(".picture-name", has_text=file["name"]).first.wait_for()
        yield time.perf_counter() - begun


def measure_viewers(server: Server) -> list[Measurement]:
    """What many viewers of one run that goes on cost the server, and how long it lets them wait."""
    with feeding(live_run()) as run:
        command = [sys.executable, "-m", "tests.bench.viewers", server.address, "train", f"run={run.id}"]
        subprocess.run([*command, "1", "1"], cwd=ROOT, check=True, capture_output=True)  # the first pays for imports
        viewers = subprocess.Popen(
            [*command, str(NUM_VIEWERS), str(VIEW_SECONDS + 15)], cwd=ROOT, stdout=subprocess.PIPE
        )
        time.sleep(15)  # until all have their page
        begun, used = time.monotonic(), cpu_seconds(server)
        time.sleep(VIEW_SECONDS - 5)
        share = (cpu_seconds(server) - used) / (time.monotonic() - begun)
        said, _ = viewers.communicate(timeout=SECONDS)
    refreshes = [seconds for session, _ in json.loads(said) for seconds in session[len(session) // 3 :]]
    p95 = statistics.quantiles(refreshes, n=20)[-1]
    note = f"{NUM_VIEWERS} sessions, {len(refreshes)} refreshes, {NUM_EPOCHS:,} epochs"
    return [
        Measurement("refresh with 50 viewers, server", 100 * share, "% of a core", "≤ 20", note),
        Measurement("refresh with 50 viewers, p95", 1000 * p95, "ms", "≤ 50", note),
    ]


def measure_viewed_run(server: Server, browser: Any, rounds: int = 3) -> Measurement:
    """The training time of one run with its live page open over that without, in turns."""
    config = preset("article").changed(dataset="shapes", classes=("circle", "star", "cross", "heart"), epochs=20)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for watched in [False, True] * rounds:
        run = Run.create(config)
        context = browser.new_context(viewport=VIEW)
        context.add_init_script(path=PROBES)
        if watched:
            page = context.new_page()
            page.goto(f"{server.address}/train?run={run.id}")
            page.wait_for_function(DRAWN, timeout=1000 * SECONDS)
        seconds[watched].append(train_seconds(run))
        context.close()
    ratios = [with_page / without for without, with_page in zip(seconds[False], seconds[True], strict=True)]
    said = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    return Measurement(
        "live page open ÷ headless", statistics.median(ratios), "×", "≤ 1.03", f"training time; rounds {said}"
    )


# What is measured on


def finished_run() -> Run:
    """A trained run of four classes whose weights are kept."""
    run = Run.create(small().changed(epochs=1))
    train_seconds(run)
    return run


def train_seconds(run: Run) -> float:
    """Trains a run in a process of its own, as a page does; the seconds of its epochs."""
    start_worker(run)
    until(lambda: not run.state.active, "the training ends")
    if run.state.phase != "done":
        raise ConfigError(f"The training that is measured ended as {run.state.phase}: {run.state.message}")
    return sum(row["train_seconds"] for row in run.metrics()[1:])


def large_run() -> Run:
    """A run with many heads whose model is untrained."""
    run = Run.create(small().changed(depth=6, num_heads=8))
    run.save_checkpoint(MiniViT(run.config.model), 0)
    run.set_state("done", 0)
    return run


def live_run() -> Run:
    """A run that has nearly come to its last epoch; its rows are made up, its weights those of an untrained model."""
    run = Run.create(small().changed(epochs=NUM_EPOCHS))
    write_rows(run, NUM_ROWS)
    run.save_checkpoint(MiniViT(run.config.model), 0)
    run.set_state("training", NUM_ROWS)
    return run


@contextmanager
def feeding(run: Run) -> Iterator[Run]:
    """Goes on with a run as a worker does: an epoch a second."""
    done, model = threading.Event(), MiniViT(run.config.model)

    def feed() -> None:
        with run.hold():
            for epoch in range(NUM_ROWS, NUM_EPOCHS):
                run.save_checkpoint(model, epoch)
                run.append_metrics(made_up(epoch))
                run.set_state("training", epoch)
                if done.wait(1):
                    return

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield run
    finally:
        done.set()
        feeder.join()


def write_rows(run: Run, num_rows: int) -> None:
    """Made-up metrics, from epoch 0."""
    lines = (json.dumps(made_up(epoch)) + "\n" for epoch in range(num_rows))
    (run.path / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")


def small() -> TrainConfig:
    """The baseline model on few synthetic shapes."""
    return preset("article").changed(
        dataset="shapes", classes=("circle", "star", "cross", "heart"), images_per_class=500
    )


def made_up(epoch: int) -> dict[str, float | int | None]:
    """A made-up metrics row."""
    loss = 1.4 / (1 + epoch / 50) + 0.01 * (epoch * 7919 % 13)
    return {
        "epoch": epoch,
        "train_loss": loss if epoch else None,
        "train_acc": 1 - loss / 2 if epoch else None,
        "train_seconds": 0.21 if epoch else None,
        "images_per_second": 70000.0 if epoch else None,
        "test_loss": loss + 0.1,
        "test_acc": 0.95 - loss / 2,
        "lr": 1e-3,
        "eval_seconds": 0.02,
    }


# Server and browser


@contextmanager
def serving(folder: str) -> Iterator[Server]:
    """The dashboard on a free port, with runs and locks in `folder`."""
    server = Server(Path(folder), default_data_dir(), Path(folder) / "runs")
    server.start()
    try:
        yield server
    finally:
        server.kill()


def cpu_seconds(server: Server) -> float:
    """What a server has used of all cores since it started."""
    assert server.process
    fields = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(server: Server, field: str = "VmRSS") -> int:
    """Bytes of memory that a server uses; with `VmHWM`, that it has used at most."""
    assert server.process
    text = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in text.splitlines() if line.startswith(field)).split()[1])


def open_page(browser: Any, address: str, there: str = DRAWN, *, warm: bool = False) -> float:
    """Seconds from the request of a page until `there` holds in it; `warm` if the browser has seen the server."""
    context = browser.new_context(viewport=VIEW)
    context.add_init_script(path=PROBES)
    page = context.new_page()
    if warm:
        page.goto(address)
        page.wait_for_function(DRAWN, timeout=1000 * SECONDS)
    begun = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_function(there, timeout=1000 * SECONDS, polling="raf")
    took = time.perf_counter() - begun
    context.close()
    return took
