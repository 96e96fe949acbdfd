"""One training under way, step by step and epoch by epoch."""

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.config import TrainConfig
from minivit.data import BatchSource, ImageSet, augment, channel_stats, mix_pairs, patches
from minivit.engine.control import Glance, Say
from minivit.engine.distributed import ALONE, Group, Interrupted
from minivit.engine.optim import learning_rate
from minivit.engine.step import Step
from minivit.engine.whitening import plain_weights, whiten
from minivit.errors import RunError, TrainingError
from minivit.fused import has_fused_path
from minivit.inference import as_float, logits
from minivit.machine import choose_threads
from minivit.model import MiniViT
from minivit.runs import Run


class Training:
    """One training under way: images, model and optimiser on the device, and how far it is."""

    def __init__(
        self,
        config: TrainConfig,
        run: Run,
        device: torch.device,
        train_set: ImageSet,
        test_set: ImageSet,
        group: Group = ALONE,
    ) -> None:
        self.config, self.run, self.device, self.group = config, run, device, group
        self.train_set, self.test_set = train_set, test_set
        torch.manual_seed(config.seed)
        self.model = MiniViT(config.model)
        if config.normalize:
            mean, std = channel_stats(train_set.images)
            self.model.mean.copy_(mean.view(-1, 1, 1))
            self.model.std.copy_(std.clamp(min=1 / 255).view(-1, 1, 1))  # a channel may be the same everywhere
        if config.whiten:
            whiten(self.model, train_set.images)
        self.model.to(device)
        changes_images = config.augment != "none" or config.mixup or config.cutmix
        self.in_patches = has_fused_path(config.model) and not changes_images and isinstance(train_set.images, Tensor)
        many_small = choose_threads(config.changed(threads=0)) == 1
        self.learn = Step(config, self.model, group, many_small, self.in_patches)
        self.source = BatchSource(self._cut(train_set), device)
        mine = test_set if group.size == 1 else test_set.select(group.share(torch.arange(len(test_set))))
        self.test_source = BatchSource(self._cut(mine), device)
        self.num_steps = math.ceil(len(self.source) / config.batch_size)  # an epoch
        self.epoch = 0  # finished ones
        self.step = 0  # done in the epoch under way
        self.seconds = 0.0
        self.seconds_left: float | None = None  # of training; known after an epoch
        self._restore()

    def untrained(self) -> dict[str, Any]:
        """Evaluates and keeps the model as it is before the first step; returns its metrics row."""
        return self._finish(
            0, {"train_loss": None, "train_acc": None, "train_seconds": None, "images_per_second": None}
        )

    def _cut(self, image_set: ImageSet) -> ImageSet:
        """The images, and where the model reads patches and no image changes them cut into those once and for all."""
        if not self.in_patches or not isinstance(image_set.images, Tensor):
            return image_set
        return replace(image_set, images=patches(image_set.images, self.config.model.patch_size).flatten(2))

    def next_epoch(self, glance: Glance, say: Say) -> dict[str, Any]:
        """Trains one epoch, evaluates, keeps it and returns its metrics row.

        Raises Interrupted where somebody wished so, with the steps done so far kept; TrainingError where the loss is
        no longer a number.
        """
        epoch, num_images, begun = self.epoch + 1, len(self.source), time.perf_counter()
        order = torch.randperm(
            num_images, generator=torch.Generator().manual_seed(derive_seed(self.config.seed, epoch))
        )
        batches = order.to(self.source.home).split(self.config.batch_size)
        factors = self._factors(epoch, [len(batch) for batch in batches])
        self.model.train()
        self.learn.decide(self.seconds_left, say)
        while self.step < self.num_steps:
            if glance.due():
                try:
                    glance("training", f"epoch {epoch}", self.step, self.num_steps, self.epoch)
                except Interrupted:
                    self.seconds += time.perf_counter() - begun
                    self.group.add_up(self.learn.sums)
                    self._keep()
                    raise
            batch, target = self._batch(
                derive_seed(self.config.seed, epoch, self.step), *batches[self.step : self.step + 2]
            )
            self.learn(batch, target, factors[self.step])
            self.step += 1
            if epoch == 1 and self.step & (self.step - 1) == 0 and self.step < self.num_steps:  # 1, 2, 4, 8, …
                with self._averaged():
                    self.run.save_early(plain_weights(self.model), self.step)
        self.group.add_up(self.learn.sums)
        loss_sum, num_right = self.learn.sums.tolist()  # the only wait for the device in an epoch
        seconds = self.seconds + time.perf_counter() - begun
        self.seconds_left = seconds * (self.config.epochs - epoch)
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
            "images": self.source.place,
            "skipped_files": list(self.train_set.skipped),
            "data_fingerprint": f"{self.train_set.fingerprint()} {self.test_set.fingerprint()}",
        }

    def describe(self) -> str:
        """Size of the work, in a line."""
        num_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"{len(self.source):,} training and {len(self.test_set):,} test images {self.source.place}; "
            f"{num_parameters:,} parameters, {self.num_steps:,} steps an epoch, "
            f"on {self.device} with {torch.get_num_threads()} CPU thread(s)"
            + (f", in each of {self.group.size} processes" if self.group.size > 1 else "")
        )

    def _factors(self, epoch: int, num_images: list[int]) -> Tensor:
        """What the steps of an epoch multiply by, one row a step; `num_images` are those of each."""
        first = (epoch - 1) * self.num_steps
        rows = [
            self.learn.factors(learning_rate(self.config, first + step, self.num_steps), first + step, num)
            for step, num in enumerate(num_images)
        ]
        return torch.tensor(rows).to(self.device)  # at once, so that no step waits for the device

    def _batch(self, seed: int, chosen: Tensor, upcoming: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """This process's share of the chosen images, changed as the settings ask for, and their labels or targets.

        `upcoming` are the images of the next step.
        """
        config = self.config
        if config.model.drop_rate:
            torch.manual_seed(seed + self.group.rank)
        batch, target = self.source.take(chosen, upcoming), self.source.labels[chosen.to(self.device)]
        if config.augment != "none" or config.mixup or config.cutmix:
            generator = torch.Generator(self.device).manual_seed(seed)
            batch = augment(batch, config.augment, generator)
            if config.mixup or config.cutmix:
                batch, target = mix_pairs(
                    as_float(batch), target, config.model.num_classes, mixup=config.mixup, cutmix=config.cutmix,
                    generator=generator,
                )  # fmt: skip
        return self.group.share(batch), self.group.share(target)

    def _finish(self, epoch: int, trained: dict[str, float | None]) -> dict[str, Any]:
        """Evaluates, keeps weights, row and what to resume from, in an order that a crash cannot spoil."""
        begun = time.perf_counter()
        test_loss, test_acc = self._evaluate()
        row: dict[str, Any] = {
            "epoch": epoch,
            **trained,
            "test_loss": test_loss,
            "test_acc": test_acc,
            "lr": learning_rate(self.config, max(0, epoch * self.num_steps - 1), self.num_steps),
            "eval_seconds": time.perf_counter() - begun,
        }
        if not math.isfinite(row["test_loss"] + (row["train_loss"] or 0)):
            raise TrainingError(
                f"The loss is no longer a number in epoch {epoch}. Lower the learning rate (now {self.config.lr:g}) "
                f"or clip the gradients (now {self.config.grad_clip:g}; 1 is a usual value)."
            )
        self.epoch, self.step, self.seconds = epoch, 0, 0.0
        self.learn.sums.zero_()
        with self._averaged():
            self.run.save_checkpoint(plain_weights(self.model), epoch)
        self.run.append_metrics(row)
        self._keep()
        self.run.set_state("training", epoch)
        return row

    def _evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy on the test images."""
        labels = self.test_source.labels
        with self._averaged():
            scores = logits(self.model, self.test_source.images, self.in_patches)
        losses = F.cross_entropy(scores, labels, reduction="none")
        sums = torch.stack([losses.to(self.learn.sums.dtype).sum(), (scores.argmax(1) == labels).sum()])
        self.group.add_up(sums)
        loss_sum, num_right = (sums / len(self.test_set)).tolist()
        return loss_sum, num_right

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model has its average weights inside, where the settings ask for such."""
        values, average = self.learn.flat.values, self.learn.average
        if average is None:
            yield
            return
        own = values.clone()
        values.copy_(average)
        try:
            yield
        finally:
            values.copy_(own)

    def _keep(self) -> None:
        """Writes what `_restore` reads: weights, what the step remembers and position."""
        position = {"epoch": str(self.epoch), "step": str(self.step), "seconds": str(self.seconds)}
        self.run.save_resume(self._remembered(), position)

    def _restore(self) -> None:
        """Goes where `_keep` was; stays at the beginning where nothing was kept."""
        kept = self.run.load_resume()
        if kept is None:
            return
        tensors, position = kept
        try:
            for name, tensor in self._remembered().items():
                tensor.copy_(tensors[name])
            self.learn.sums.mul_(self.group.is_main)  # they are already those of all processes
            self.epoch, self.step = int(position["epoch"]), int(position["step"])
            self.seconds = float(position["seconds"])
        except (KeyError, RuntimeError, ValueError):
            raise RunError(f"What {self.run.id} would go on from does not fit its settings. Start a new run.") from None

    def _remembered(self) -> dict[str, Tensor]:
        """All tensors that a step changes or that the model cannot do without, by the names they are kept under."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": slot for name, slot in self.learn.optimizer.slots.items()}
        if self.learn.average is not None:
            tensors["average"] = self.learn.average
        return tensors | {"sums": self.learn.sums}


def derive_seed(*numbers: int) -> int:
    """One 63-bit seed for a tuple of whole numbers."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "big") >> 1
