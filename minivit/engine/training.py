"""The training state: model, optimizer and data on the device, and the position in the run."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minivit.config import TrainConfig
from minivit.data import BatchSource, ImageSet, augment, copy_to, mix_pairs
from minivit.engine.distributed import SINGLE_PROCESS, Group
from minivit.engine.initial import class_weights, initial_model
from minivit.engine.schedule import StepScalars, derive_seed, epoch_scalars, learning_rate
from minivit.engine.step import TrainStep
from minivit.engine.stopping import Clock, stop_reason
from minivit.engine.whitening import unwhitened_state_dict
from minivit.errors import RunError, TrainingError
from minivit.fused import has_fused_path, token_pixels
from minivit.inference import as_float, logits
from minivit.runs import Run, adopt_learning_rate
from minivit.runs.schema import parse_position

Batch = tuple[Tensor, Tensor, Tensor]  # images, labels or target shares, and scalars of a step


class Training:
    """Model, train step and images on the device, and the position in the run."""

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        train_set: ImageSet,
        test_set: ImageSet,
        group: Group = SINGLE_PROCESS,
        clock: Clock | None = None,
        initial: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`initial` are weights to start from; those that it lacks, and all without it, are random."""
        self.config = config
        self.device = device
        self.train_set = train_set
        self.test_set = test_set
        self.group = group
        self.clock = clock or Clock(config.minutes)
        self.model = initial_model(config, train_set, initial).to(device)
        self.changes_images = config.augment != "none" or config.mixup > 0 or config.cutmix > 0
        in_memory = all(isinstance(images, Tensor) for images in (train_set.images, test_set.images))
        self.in_patches = has_fused_path(config.model, training=True) and not self.changes_images and in_memory
        self.class_weights = class_weights(train_set.labels, config.model.num_classes)
        loss_weights = self.class_weights.to(device) if config.class_balance == "weights" else None
        self.train_step = TrainStep(config, self.model, group, self.in_patches, loss_weights)
        shard = test_set if group.world_size == 1 else test_set.select(group.shard(torch.arange(len(test_set))))
        self.train_source = BatchSource(self._cut_into_patches(train_set), device)
        self.test_source = BatchSource(self._cut_into_patches(shard), device)
        self.steps_per_epoch = math.ceil(len(self.train_source) / config.batch_size)
        self.recorded_epochs: set[int] = set()  # with rows of a worker that was killed before it saved its position
        self.epoch = 0  # finished epochs
        self.step = 0  # finished steps of the next epoch
        self.seconds = 0.0  # spent on these steps before the run was interrupted
        self.started = time.perf_counter()  # when the epoch began, less `seconds`
        self.seconds_left: float | None = None  # to the end of the run; known after an epoch
        self.lr = 0.0  # of the last step, if the schedule follows the clock
        self.test_accs: dict[int, float] = {}  # by finished epoch

    def epochs(self) -> Iterator[int]:
        """The remaining epochs, including epoch 0, until the last one or a reason to stop."""
        first = self.epoch + 1 if self.recorded_epochs or self.epoch or self.step else 0
        if self.config.minutes and first > 1 and not self.step:
            self.clock.read()  # a resumed run may have no time left
        for epoch in count(first) if self.config.minutes else range(first, self.config.epochs + 1):
            if self.clock.share == 1 or stop_reason(self.config, self.test_accs):
                return
            yield epoch

    def adopt_learning_rate(self, run: Run) -> None:
        """Adopts the learning rate that the user requested, if any, before the first step of an epoch."""
        if self.step:
            return
        has_new_lr = self.group.is_main and adopt_learning_rate(run, self.epoch)
        if any(self.group.broadcast(int(has_new_lr))):
            self.config = self.config.changed(lr_changes=Run.open(run.path).config.lr_changes)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The rest of an epoch from `step` on, or until the time is up; none for epoch 0.

        Order and augmentation are functions of (seed, epoch, step).
        """
        self.started = time.perf_counter() - self.seconds
        if epoch == 0:
            return
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, epoch))
        if self.config.class_balance == "sampling":
            weights = self.class_weights[self.train_set.labels]
            order = torch.multinomial(weights, len(weights), replacement=True, generator=generator)
        else:
            order = torch.randperm(len(self.train_source), generator=generator)
        batches = copy_to(order, self.train_source.storage_device).split(self.config.batch_size)
        scalars = epoch_scalars(self.config, epoch, [len(batch) for batch in batches])
        scalars = copy_to(scalars, self.device)  # in one copy, so that no step waits for the device
        for step in range(self.step, len(batches)):
            if self.config.minutes:  # an epoch that ends too late for another one is the last
                share = self.clock.read(num_epoch_ends=2 if step == len(batches) - 1 else 1)
                last_step = self.config.epochs * self.steps_per_epoch - 1  # of the schedule, by the clock
                self.lr = learning_rate(self.config, share * last_step, self.steps_per_epoch)
                scalars[step, StepScalars._fields.index("lr")] = self.lr
            seed = derive_seed(self.config.seed, epoch, step)
            yield *self._batch(seed, *batches[step : step + 2]), scalars[step]
            if self.clock.share == 1:
                return

    def _batch(self, seed: int, indices: Tensor, next_indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """This process's shard of the images at `indices`, augmented, and of their labels or target shares.

        `next_indices` are the images of the next step, which are loaded meanwhile.
        """
        config = self.config
        if config.model.drop_rate:
            torch.manual_seed(seed + self.group.rank)
        batch = self.train_source.get_batch(indices, next_indices)
        target = self.train_source.get_labels(indices)
        if self.changes_images:
            generator = torch.Generator().manual_seed(seed)
            batch = augment(batch, config.augment, generator)
            if config.mixup or config.cutmix:
                alphas = {"mixup": config.mixup, "cutmix": config.cutmix}
                batch, target = mix_pairs(
                    as_float(batch), target, config.model.num_classes, **alphas, generator=generator
                )
        return self.group.shard(batch), self.group.shard(target)

    def _cut_into_patches(self, image_set: ImageSet) -> ImageSet:
        """The images, cut into patches once for all epochs if the train step reads patches."""
        if not self.in_patches or not isinstance(image_set.images, Tensor):
            return image_set
        return replace(image_set, images=token_pixels(image_set.images, self.config.model.patch_size))

    # Metrics

    def metrics(self, epoch: int) -> dict[str, Any]:
        """Evaluates, and returns the metrics row; TrainingError if the loss is not finite."""
        train_metrics = self._train_metrics(epoch)
        start = time.perf_counter()
        test_loss, test_acc = self._evaluate()
        lr = self.lr  # of the epoch's last step; at epoch 0 that of the first step
        if not (self.config.minutes and epoch):
            lr = learning_rate(self.config, max(0, epoch * self.steps_per_epoch - 1), self.steps_per_epoch)
        if not math.isfinite(test_loss + (train_metrics["train_loss"] or 0)):
            requested = [self.config.lr, *(lr for _, lr in self.config.lr_changes)][-1]
            raise TrainingError(
                f"The loss became NaN or infinite in epoch {epoch}. Lower the learning rate (now {requested:g}) "
                f"or clip the gradients (now {self.config.grad_clip:g}; 1 is a usual value)."
            )
        return {
            "epoch": epoch,
            **train_metrics,
            "test_loss": test_loss,
            "test_acc": test_acc,
            "lr": lr,
            "eval_seconds": time.perf_counter() - start,
        }

    def _train_metrics(self, epoch: int) -> dict[str, float | None]:
        """Loss and accuracy on the training images during the epoch, and speed; all None at epoch 0."""
        if epoch == 0:
            return dict.fromkeys(("train_loss", "train_acc", "train_seconds", "images_per_second"))
        self.group.all_reduce(self.train_step.sums)
        loss_sum, num_correct = self.train_step.sums.tolist()  # the only synchronization with the device in an epoch
        seconds = time.perf_counter() - self.started
        num_images = len(self.train_source)
        self.seconds_left = seconds * (self.config.epochs - epoch)
        if self.config.minutes:
            self.seconds_left = self.clock.seconds - self.clock.spent()
            num_images = min(self.step * self.config.batch_size, num_images)  # the time may end within an epoch
        return {
            "train_loss": loss_sum / num_images,
            "train_acc": num_correct / num_images,
            "train_seconds": seconds,
            "images_per_second": num_images / seconds,
        }

    def _evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy on the test images."""
        labels = self.test_source.labels
        with self._ema_weights():
            outputs = logits(self.model, self.test_source.images, self.in_patches)
        losses = F.cross_entropy(outputs, labels, reduction="none")
        sums = torch.stack([losses.to(self.train_step.sums.dtype).sum(), (outputs.argmax(1) == labels).sum()])
        self.group.all_reduce(sums)
        test_loss, test_acc = (sums / len(self.test_set)).tolist()
        return test_loss, test_acc

    @contextmanager
    def _ema_weights(self) -> Iterator[None]:
        """Puts the moving average of the weights in their place for the block, if enabled in the settings."""
        ema = self.train_step.ema
        if ema is None:
            yield
            return
        values = self.train_step.flat.values
        current = values.clone()
        values.copy_(ema)
        try:
            yield
        finally:
            values.copy_(current)

    # Saving

    def save_epoch(self, run: Run, row: dict[str, Any]) -> None:
        """Saves weights, metrics row and position after an epoch, in an order that loses nothing in a crash."""
        start = time.perf_counter()
        self.epoch = row["epoch"]
        self.step = 0
        self.seconds = 0.0
        self.test_accs[self.epoch] = row["test_acc"]
        self.train_step.sums.zero_()
        if not self.group.is_main:
            return
        with self._ema_weights():
            run.save_checkpoint(unwhitened_state_dict(self.model), self.epoch)
        if self.epoch not in self.recorded_epochs:
            run.append_metrics(row)
        run.save_resume(self._resume_tensors(), self._position())
        run.set_state("training", self.epoch)
        self.clock.epoch_end_seconds = row["eval_seconds"] + time.perf_counter() - start

    def save_early(self, run: Run) -> None:
        """Saves the weights within the first epoch, after 1, 2, 4, 8, … steps."""
        power_of_two = self.step & (self.step - 1) == 0
        if self.group.is_main and power_of_two and self.step < self.steps_per_epoch:
            with self._ema_weights():
                run.save_early(unwhitened_state_dict(self.model), self.step)

    def save_position(self, run: Run) -> None:
        """Saves what is needed to continue within the epoch."""
        self.copy_position(run)()

    def copy_position(self, run: Run) -> Callable[[], None]:
        """A function that saves what is needed to continue from here, also while training goes on."""
        self.seconds = time.perf_counter() - self.started
        sums = self.train_step.sums.clone()
        self.group.all_reduce(sums)
        tensors = {name: tensor.to("cpu", copy=True) for name, tensor in self._resume_tensors().items()}
        position = self._position()
        return lambda: run.save_resume(tensors | {"sums": sums}, position) if self.group.is_main else None

    def _position(self) -> dict[str, str]:
        position = {"epoch": self.epoch, "step": self.step, "seconds": self.seconds, "clock": self.clock.spent()}
        return {name: str(value) for name, value in position.items()}

    def load_position(self, run: Run) -> None:
        """Restores the last saved position, if there is one."""
        saved = run.load_resume()
        rows = run.metrics()
        self.recorded_epochs = {row["epoch"] for row in rows}
        if saved is None:
            return
        tensors, metadata = saved
        targets = self._resume_tensors()
        try:
            position = parse_position(metadata)
            is_valid = position.step <= self.steps_per_epoch
            # The row of that epoch may be damaged
            is_valid &= position.epoch in self.recorded_epochs or position.epoch <= run.state.epoch
            is_valid &= self.config.minutes > 0 or position.epoch <= self.config.epochs
            for name, tensor in targets.items():
                is_valid &= tensors[name].shape == tensor.shape
                is_valid &= tensors[name].dtype == tensor.dtype or name == "sums"  # of float32 on MPS
        except (KeyError, ValueError):
            is_valid = False
        if not is_valid:
            raise RunError(f"The resume.safetensors of {run.id} does not match its settings. Start a new run.")
        for name, tensor in targets.items():
            if not tensors[name].isfinite().all():
                raise RunError(f"The resume.safetensors of {run.id} has NaN or infinite values. Start a new run.")
            tensor.copy_(tensors[name])
        self.train_step.sums.mul_(self.group.is_main)  # they are the sums of all processes
        self.epoch = position.epoch
        self.step = position.step
        self.seconds = position.seconds
        self.test_accs = {row["epoch"]: row["test_acc"] for row in rows if row["epoch"] <= self.epoch}
        self.clock.spent_before += position.clock

    def _resume_tensors(self) -> dict[str, Tensor]:
        """The tensors of model and training state, by their names in resume.safetensors."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self.train_step.optimizer.state.items()}
        if self.train_step.ema is not None:
            tensors["average"] = self.train_step.ema  # its name since the first version
        return tensors | {"sums": self.train_step.sums}
