"""The training loop: a config and a run folder in, metrics and checkpoints out.

`train` is a plain loop that a test, a notebook, the command line and the worker call alike. Everything random is a
function of (seed, epoch, step), so a run that was paused, stopped or killed goes on exactly where it was.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.config import TrainConfig
from minivit.data import ImageSet, Progress, augment, channel_stats, load_split
from minivit.errors import MiniViTError, RunError, TrainingError
from minivit.machine import choose_threads, environment, pick_device, turn_on
from minivit.model import MiniViT, num_parameters
from minivit.predict import as_float, logits
from minivit.runs import Phase, Run, Wish

Say = Callable[[str], None]

GUESS_ABOVE = 10**9  # multiplications an image; a larger model is not tried out to say how long it will take
GLANCE_SECONDS = 0.3  # how often the loop looks for wishes and tells its progress


def train(config: TrainConfig, run: Run, progress: Progress = lambda *_: None, say: Say = print) -> None:
    """Trains `config` in the folder of `run`, from its beginning or from where it was left.

    Epoch 0, the untrained model, is evaluated and kept first. `progress` hears of data, queue and steps, `say` of
    decisions and of each epoch. A wish to pause or stop ends the function with that phase. Raises a MiniViTError for
    what a person can mend; the run's phase is then failed and its message says the same.
    """
    with run.hold(), _ending(run, say), _enough_memory(config):
        device = pick_device(config.device)
        glance = Glance(run, progress)
        with turn_on(device, lambda: glance("queued", f"Waiting for another training on the {device.type}.", 0, 1)):
            torch.set_num_threads(choose_threads(config))
            glance("loading", "Loading the images", 0, 1)
            data = load_split(config, lambda what, done, total: glance("loading", what, done, total))
            training = Training(config, run, device, *data)
            run.set_environment(environment(device) | training.facts())
            say(training.describe())
            if not run.metrics():
                say(describe(training.untrained()))
            while training.epoch < config.epochs:
                say(describe(training.next_epoch(glance)))
        run.set_state("done", config.epochs, "Finished.")


class Training:
    """One training under way: images, model and optimiser on the device, and how far it is."""

    def __init__(
        self, config: TrainConfig, run: Run, device: torch.device, train_set: ImageSet, test_set: ImageSet
    ) -> None:
        self.config, self.run, self.device = config, run, device
        self.train_set, self.test_set = train_set, test_set
        self.images, self.labels = train_set.images.to(device), train_set.labels.to(device)
        self.test_images, self.test_labels = test_set.images.to(device), test_set.labels.to(device)
        self.num_steps = math.ceil(len(self.labels) / config.batch_size)  # an epoch
        torch.manual_seed(config.seed)
        self.model = MiniViT(config.model)
        if config.normalize:
            mean, std = channel_stats(train_set.images)
            self.model.mean.copy_(mean.view(-1, 1, 1))
            self.model.std.copy_(std.clamp(min=1 / 255).view(-1, 1, 1))  # a channel may be the same everywhere
        self.model.to(device)
        self.optimizer = make_optimizer(config, self.model)
        self.epoch = 0  # finished ones
        self.step = 0  # done in the epoch under way
        self.sums = torch.zeros(2, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        self.seconds = 0.0
        self._restore()

    def untrained(self) -> dict[str, Any]:
        """Evaluates and keeps the model as it is before the first step; returns its metrics row."""
        return self._finish(
            0, {"train_loss": None, "train_acc": None, "train_seconds": None, "images_per_second": None}
        )

    def next_epoch(self, glance: "Glance") -> dict[str, Any]:
        """Trains one epoch, evaluates, keeps it and returns its metrics row.

        Raises Interrupted where somebody wished so, with the steps done so far kept; TrainingError where the loss is
        no longer a number.
        """
        epoch, num_images, begun = self.epoch + 1, len(self.labels), time.perf_counter()
        order = torch.randperm(num_images, generator=torch.Generator().manual_seed(mix(self.config.seed, epoch)))
        order = order.to(self.device)
        self.model.train()
        while self.step < self.num_steps:
            if glance.due():
                try:
                    glance("training", f"epoch {epoch}", self.step, self.num_steps, self.epoch)
                except Interrupted:
                    self.seconds += time.perf_counter() - begun
                    self._keep()
                    raise
            start = self.step * self.config.batch_size
            self._learn(epoch, order[start : start + self.config.batch_size])
            self.step += 1
        loss_sum, num_right = self.sums.tolist()  # the only wait for the device in an epoch
        seconds = self.seconds + time.perf_counter() - begun
        return self._finish(
            epoch,
            {
                "train_loss": loss_sum / num_images,
                "train_acc": num_right / num_images,
                "train_seconds": seconds,
                "images_per_second": num_images / seconds,
            },
        )

    def facts(self) -> dict[str, Any]:
        """What `environment.json` says of the data."""
        return {
            "num_train": len(self.train_set),
            "num_test": len(self.test_set),
            "skipped_files": list(self.train_set.skipped),
            "data_fingerprint": f"{self.train_set.fingerprint()} {self.test_set.fingerprint()}",
        }

    def describe(self) -> str:
        """Size of the work, in a line."""
        num_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"{len(self.labels):,} training and {len(self.test_labels):,} held-out images, "
            f"{num_parameters:,} parameters, {self.num_steps:,} steps an epoch, "
            f"on {self.device} with {torch.get_num_threads()} CPU thread(s)"
        )

    def _learn(self, epoch: int, chosen: Tensor) -> None:
        """One step on the chosen images."""
        config = self.config
        seed = mix(config.seed, epoch, self.step)
        torch.manual_seed(seed)  # dropout
        batch, target = self.images[chosen], self.labels[chosen]
        if config.augment != "none":
            batch = augment(batch, config.augment, torch.Generator(self.device).manual_seed(seed))
        lr = learning_rate(config, (epoch - 1) * self.num_steps + self.step, self.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        scores = self.model(as_float(batch))
        loss = F.cross_entropy(scores, target, label_smoothing=config.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        if config.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)
        self.optimizer.step()
        self.sums[0] += loss.detach() * len(target)
        self.sums[1] += (scores.detach().argmax(1) == target).sum()

    def _finish(self, epoch: int, trained: dict[str, float | None]) -> dict[str, Any]:
        """Evaluates, keeps weights, row and what to resume from, in an order that a crash cannot spoil."""
        begun = time.perf_counter()
        scores = logits(self.model, self.test_images)
        row = {
            "epoch": epoch,
            **trained,
            "test_loss": F.cross_entropy(scores, self.test_labels).item(),
            "test_acc": (scores.argmax(1) == self.test_labels).double().mean().item(),
            "lr": self.optimizer.param_groups[0]["lr"],
            "eval_seconds": time.perf_counter() - begun,
        }
        if not math.isfinite(row["test_loss"] + (row["train_loss"] or 0)):
            raise TrainingError(
                f"The loss is no longer a number in epoch {epoch}. Lower the learning rate (now {self.config.lr:g}) "
                f"or clip the gradients (now {self.config.grad_clip:g}; 1 is a usual value)."
            )
        self.epoch, self.step, self.seconds = epoch, 0, 0.0
        self.sums.zero_()
        self.run.save_checkpoint(self.model, epoch)
        self.run.append_metrics(row)
        self._keep()
        self.run.set_state("training", epoch)
        return row

    def _keep(self) -> None:
        """Writes what `_restore` reads: weights, optimiser state and position."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if torch.is_tensor(value)}
        position = {"epoch": str(self.epoch), "step": str(self.step), "seconds": str(self.seconds)}
        self.run.save_resume(tensors | {"sums": self.sums}, position)

    def _restore(self) -> None:
        """Goes where `_keep` was; stays at the beginning where nothing was kept."""
        kept = self.run.load_resume()
        if kept is None:
            return
        tensors, position = kept
        state: dict[int, dict[str, Tensor]] = {}
        try:
            self.model.load_state_dict(
                {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
            )
            for name, value in tensors.items():
                if name.startswith("optimizer."):
                    _, index, slot = name.split(".")
                    state.setdefault(int(index), {})[slot] = value
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
            self.sums.copy_(tensors["sums"])
            self.epoch, self.step = int(position["epoch"]), int(position["step"])
            self.seconds = float(position["seconds"])
        except (KeyError, RuntimeError, ValueError):
            raise RunError(f"What {self.run.id} would go on from does not fit its settings. Start a new run.") from None


def make_optimizer(config: TrainConfig, model: MiniViT) -> torch.optim.Optimizer:
    """The optimiser of the settings; AdamW does not decay LayerNorms, biases, CLS and positions."""
    if config.optimizer == "sgd":
        decay = config.weight_decay
        return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9, nesterov=True, weight_decay=decay)
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[parameter.ndim >= 2 and name not in ("cls_token", "pos_embed")].append(parameter)
    decayed = [{"params": groups[decays], "weight_decay": config.weight_decay * decays} for decays in (True, False)]
    return torch.optim.AdamW(decayed, lr=config.lr, fused=True)


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over the whole run.

    One-cycle is Smith's (1708.07120) as in torch's OneCycleLR: cosine from lr / 25 up over 30 %, down to lr / 250,000.
    Warm-up rises in a straight line; cosine then falls to 0 at the last step.
    """
    last = config.epochs * steps_per_epoch - 1
    if config.schedule == "one-cycle":
        low, peak = config.lr / 25, 0.3 * (last + 1) - 1
        if step <= peak:
            return _half_cosine(low, config.lr, step / peak)
        return _half_cosine(config.lr, low / 1e4, (step - peak) / (last - peak))
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "cosine":
        return _half_cosine(config.lr, 0.0, (step - warmup) / max(1, last - warmup))
    return config.lr


def estimate_seconds(config: TrainConfig, num_train: int, num_test: int) -> float:
    """How long the whole training will take here, from timing a few steps of the real model on random images."""
    device = pick_device(config.device)
    model = MiniViT(config.model).to(device)
    num_weights = num_parameters(config.model) * (config.model.num_patches + 1)
    attended = config.model.depth * config.model.num_heads * (config.model.num_patches + 1) ** 2
    if num_weights + 20 * attended > GUESS_ABOVE:  # too large to try out; a core does some 10⁹ such steps a second
        return 6e-9 * (num_weights + 20 * attended) * config.epochs * (num_train + num_test / 3)
    optimizer = make_optimizer(config, model)
    shape = (config.model.in_chans, config.model.img_size, config.model.img_size)

    def seconds_per_image(num_images: int) -> float:
        images = torch.rand(num_images, *shape, device=device)
        begun = time.perf_counter()
        loss = model(images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        return (time.perf_counter() - begun) / num_images

    before = torch.get_num_threads()
    torch.set_num_threads(choose_threads(config))
    try:
        with _enough_memory(config):
            seconds_per_image(2)  # pays for warming up
            fastest = seconds_per_image(2)  # a large model is judged by this alone
            batch = min(config.batch_size, 64)
            if fastest * batch < 2:
                fastest = min(seconds_per_image(batch) for _ in range(10))
    finally:
        torch.set_num_threads(before)
    return config.epochs * fastest * (num_train + num_test / 3)  # evaluating has no backward pass


def describe(row: dict[str, Any]) -> str:
    """A metrics row as one line of text."""
    held_out = f"held-out loss {row['test_loss']:.4f}, accuracy {row['test_acc']:.4f}"
    if row["train_loss"] is None:
        return f"epoch {row['epoch']} (untrained): {held_out}"
    trained = f"train loss {row['train_loss']:.4f}, accuracy {row['train_acc']:.4f}"
    return f"epoch {row['epoch']}: {trained}; {held_out}; {row['images_per_second']:,.0f} images/s"


class Interrupted(Exception):
    """Somebody asked the loop to pause or to stop."""

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish)
        self.wish = wish


class Glance:
    """Now and then tells how far the work is, and ends it with `Interrupted` where somebody wished so."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self.run, self.progress, self.last = run, progress, 0.0

    def due(self) -> bool:
        """Whether the last glance is long enough ago."""
        return time.monotonic() - self.last > GLANCE_SECONDS

    def __call__(self, phase: Phase, what: str, done: int, total: int, epoch: int | None = None) -> None:
        self.progress(what, done, total)
        if not self.due():
            return
        self.last = time.monotonic()
        self.run.set_state(phase, self.run.state.epoch if epoch is None else epoch, what, done / max(total, 1))
        wish = self.run.asked()
        if wish in ("pause", "stop"):
            raise Interrupted(wish)


@contextmanager
def _ending(run: Run, say: Say) -> Iterator[None]:
    """Leaves the run in the phase that fits how the work inside ended."""
    if run.state.phase != "queued":
        run.ask("resume")  # what was wished of an earlier worker is settled
    try:
        yield
    except Interrupted as interrupted:
        phase: Phase = "paused" if interrupted.wish == "pause" else "stopped"
        run.set_state(phase, run.state.epoch, "As you asked. Resume goes on from here.")
        say(f"{phase} after epoch {run.state.epoch}")
    except KeyboardInterrupt:
        run.set_state("stopped", run.state.epoch, "Stopped at the keyboard. Resume goes on from here.")
        raise
    except MiniViTError as error:
        run.set_state("failed", run.state.epoch, str(error))
        raise
    except Exception as error:
        run.set_state("failed", run.state.epoch, f"{type(error).__name__}: {error}. The log has the details.")
        raise


@contextmanager
def _enough_memory(config: TrainConfig) -> Iterator[None]:
    """Says in a sentence that the memory is too small; torch says so by RuntimeErrors of several kinds."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise TrainingError(
            f"This machine has too little memory for {config.model.num_patches:,} patches an image and a batch of "
            f"{config.batch_size:,}. Choose larger patches, smaller images, a smaller batch or a smaller model."
        ) from None


def mix(*numbers: int) -> int:
    """One 63-bit seed for a tuple of whole numbers."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "big") >> 1


def _half_cosine(start: float, end: float, share: float) -> float:
    """From `start` to `end` while `share` goes from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
