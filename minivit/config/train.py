"""The settings of a training run: `TrainConfig`, whose field `model` is the `ViTConfig`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, create_model, field_validator, model_validator

from minivit.config.datasets import DATASETS, Dataset
from minivit.config.fields import Setting, Settings, describe, setting
from minivit.config.vit import Preprocessing, ViTConfig
from minivit.errors import ConfigError
from minivit.files import is_text

SCHEMA_VERSION = 1
ARTICLE_CLASSES = ("cat", "airplane", "frog", "truck")
GROUPS = ("data", "model", "training", "machine")  # in the order of a form


class TrainConfig(Settings):
    """Everything that determines a training run; `config.json` contains nothing else."""

    dataset: Dataset = setting("cifar10", "Data set", "data")
    """The source of the images."""
    data_dir: str = setting("", "Data folder", "data")
    """Folder that contains the images; empty for MiniViT's own data folder."""
    classes: tuple[str, ...] = setting(ARTICLE_CLASSES, "Classes", "data", max_length=25_000)
    """At least two; their order gives the labels 0, 1 and so on."""
    images_per_class: int = setting(0, "Images per class", "data", unit="images", ge=0, le=1_000_000)
    """At most this many of each class, in data-set order; 0 for all."""
    split: Literal["article", "official"] = setting("article", "Test set", "data")
    """'article' holds out a fixed random 20% of the training split; 'official' uses the data set's own test split."""
    stratify: bool = setting(True, "Split by class", "data")
    """In a folder without a test split, hold out 20% of each class, at least one image. Other data sets are split as in
    the article."""
    drop_duplicates: bool = setting(False, "Drop duplicates", "data")
    """Leave out training images that are identical to a test image."""
    shuffle_labels: bool = setting(False, "Shuffle labels", "data")
    """Train on labels in random order: a control whose model cannot learn anything that holds for test images, so
    neither can its maps."""
    augment: Literal["none", "flip", "flip-crop", "rand"] = setting("none", "Augmentation", "data")
    """Random changes to each training image, new in every epoch: flip, flip and shift, or also RandAugment."""
    mixup: float = setting(0.0, "Mixup", "data", ge=0, le=10)
    """Averages pairs of training images with a weight from Beta(α, α); this is α, 0 for no Mixup."""
    cutmix: float = setting(0.0, "CutMix", "data", ge=0, le=10)
    """Pastes a rectangle of one training image into another, its area from Beta(α, α); this is α, 0 for no CutMix."""
    drawing: Literal[1, 2] = setting(2, "Shape generator", "derived")
    """2; runs of earlier versions have 1, whose shapes are brighter than the background and often centered."""
    normalize: bool = setting(False, "Normalize", "data")
    """Scale each channel to mean 0 and standard deviation 1 over the training images."""

    imported: bool = setting(False, "Imported", "derived")
    """A model trained elsewhere: its head determines the classes; all images of the folder are test images."""

    model: ViTConfig = Field(default_factory=ViTConfig)
    preprocessing: Preprocessing | None = None  # of an imported model

    epochs: int = setting(100, "Epochs", "training", unit="epochs", ge=1, le=10_000)
    """Passes over the training images."""
    minutes: float = setting(0.0, "Minutes", "training", unit="minutes", ge=0, le=100_000)
    """Training time instead of a number of epochs; the schedule then follows the clock and may end within an epoch. 0
    for no limit."""
    target_acc: float = setting(0.0, "Target accuracy", "training", ge=0, le=1)
    """Training ends after the first epoch with this test accuracy; 0 for no target."""
    patience: int = setting(0, "Patience", "training", unit="epochs", ge=0, le=10_000)
    """Training ends after this many epochs without a better test accuracy; 0 for all epochs. As the test images decide,
    the accuracy is slightly optimistic."""
    batch_size: int = setting(64, "Batch size", "training", unit="images", ge=1, le=16_384)
    """Images per step."""
    whiten: bool = setting(False, "Patch whitening", "training")
    """Trains the patch embedding on decorrelated pixels; folded into its weights after training."""
    optimizer: Literal["adam", "adamw", "sgd", "muon"] = setting("adam", "Optimizer", "training")
    """AdamW decouples weight decay from the gradient; SGD has momentum; Muon orthogonalizes the updates."""
    lr: float = setting(1e-3, "Learning rate", "training", gt=0, le=10)
    """The peak value if there is a schedule."""
    lr_changes: tuple[tuple[Annotated[int, Field(ge=0)], Annotated[float, Field(gt=0, le=10)]], ...] = setting(
        (), "Changes of the learning rate", "derived"
    )
    """Pairs of an epoch and the learning rate after it, as requested while the run was trained."""
    schedule: Literal["constant", "cosine", "one-cycle"] = setting("constant", "Schedule", "training")
    """How the learning rate changes from the first step to the last."""
    warmup_epochs: float = setting(0.0, "Warm-up", "training", unit="epochs", ge=0, le=1000)
    """The learning rate rises from 0 over this many epochs; one-cycle has its own warm-up."""
    weight_decay: float = setting(0.0, "Weight decay", "training", ge=0, le=1)
    """Strength of the decay of the weights towards 0."""
    label_smoothing: float = setting(0.0, "Label smoothing", "training", ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    class_balance: Literal["none", "weights", "sampling"] = setting("none", "Class balance", "training")
    """For classes of different sizes: 'weights' multiplies the loss of an image by the mean class size divided by the
    size of its class; 'sampling' draws equally many images of each class, with replacement."""
    grad_clip: float = setting(0.0, "Gradient clipping", "training", ge=0, le=1000)
    """Maximum norm of the gradient; 0 for no clipping."""
    init_from: str = setting("", "Initial weights", "training", max_length=300)
    """The folder of a run and one of its saved epochs, as in 20260102-101112-cat-dog:20, whose weights and
    normalization the model starts from; empty for random weights. Epoch 0 is then that model."""
    ema: float = setting(0.0, "EMA decay", "training", ge=0, lt=1)
    """Decay per step of the exponential moving average of the weights, which is evaluated and saved; 0 for no
    averaging."""
    seed: int = setting(0, "Seed", "training", ge=0, le=2**31 - 1)
    """On the same machine, the same seed gives the same run; up to rounding if the number of CPU threads adapts to
    other load."""
    device: Literal["auto", "cpu", "cuda", "mps"] = setting("auto", "Device", "machine")
    """'auto' uses a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = setting("auto", "Precision", "machine")
    """'auto' uses bf16 on GPUs with native support, fp32 elsewhere."""
    compile: Literal["auto", "on", "off"] = setting("auto", "torch.compile", "machine")
    """Compiles the step while training goes on, which then is faster; 'auto' compiles if that pays off over the run."""
    devices: int = setting(1, "Devices", "machine", ge=1, le=64)
    """Processes that train together, each on its own GPU or its share of the CPU cores."""
    threads: int = setting(0, "CPU threads", "machine", unit="threads", ge=0, le=256)
    """Threads per device; 0 chooses by the size of the model, as tiny models are fastest on one, and by the load of the
    machine."""

    @field_validator("data_dir")
    @classmethod
    def _make_absolute(cls, data_dir: str) -> str:
        """A run may be resumed from another working directory."""
        if "\0" in data_dir:
            raise ValueError("A path has no null characters.")
        return str(Path(os.path.expanduser(data_dir)).absolute()) if data_dir else ""  # noqa: PTH111, it never raises

    @model_validator(mode="before")
    @classmethod
    def _count_classes(cls, data: Any) -> Any:
        """Sets `model.num_classes` to the number of selected classes.

        An imported model keeps its own; classes beyond it are folders of images that its head does not know.
        """
        if not isinstance(data, Mapping) or data.get("imported"):
            return data
        classes = data.get("classes", ARTICLE_CLASSES)
        model = data.get("model", {})
        model = model.model_dump() if isinstance(model, ViTConfig) else model
        if isinstance(model, Mapping) and isinstance(classes, list | tuple) and len(classes) >= 2:
            data = {**data, "model": {**model, "num_classes": len(classes)}}
        return data

    @model_validator(mode="after")
    def _validate(self) -> Self:
        if len(self.classes) < 2 and not self.imported:
            selected = f"only {self.classes[0]!r} is selected" if self.classes else "none is selected"
            raise ConfigError(f"A classifier needs at least 2 classes, and {selected}. Select at least two classes.")
        if repeated := sorted({name for name in self.classes if self.classes.count(name) > 1}):
            raise ConfigError(f"The class {repeated[0]!r} is selected twice. Select each class once.")
        for text in (*self.classes, self.data_dir, self.init_from):
            if not is_text(text):
                raise ConfigError(f"The name {text!r} of a class, folder or run is not valid text. Rename it.")
        if self.whiten and self.model.stem != "patch":
            raise ConfigError(
                "Patch whitening needs the stem 'patch', and the stem is 'conv'. Choose the stem 'patch', or turn "
                "patch whitening off."
            )
        if self.warmup_epochs > self.epochs:
            raise ConfigError(
                f"A warm-up of {self.warmup_epochs:g} epochs is longer than the run of {self.epochs}. Shorten it."
            )
        return self

    @property
    def train_loss_note(self) -> str:
        """Why the train loss is not comparable with the test loss, in one or two sentences."""
        parts = {
            "label smoothing": self.label_smoothing > 0,
            "mixed images": self.mixup > 0 or self.cutmix > 0,
            "augmentation": self.augment != "none",
            "dropout": self.model.drop_rate > 0,
            "class weights": self.class_balance == "weights",
            "balanced sampling": self.class_balance == "sampling",
        }
        weights = "the moving average of the weights" if self.ema else "the weights"
        note = f"The train loss is a mean over the epoch, while the weights change; the test loss is that of {weights} "
        included = ", ".join(name for name, is_part in parts.items() if is_part)
        return f"{note}after it." + (f" Only the train loss includes {included}." if included else "")

    @property
    def start_title(self) -> str:
        """What epoch 0 is called: "untrained", or "initial weights" if they are those of another run."""
        return "initial weights" if self.init_from else "untrained"

    @property
    def start_note(self) -> str:
        """Which run the initial weights come from, as a sentence; empty if they are random."""
        run_id, _, epoch = self.init_from.rpartition(":")
        return f"The initial weights, at epoch 0, are those of {run_id} after epoch {epoch}." if run_id else ""

    def epoch_title(self, epoch: int) -> str:
        """'epoch 3 of 100', or 'epoch 3' if time limits the run."""
        return f"epoch {epoch}" if self.minutes else f"epoch {epoch} of {self.epochs}"

    def changed(self, **updates: Any) -> Self:
        """A copy with some settings replaced; those of `ViTConfig` are passed by name like the others.

        Another data set sets its own image size and channels, and the newest drawing, unless they are passed too.
        Raises ConfigError for an invalid result.
        """
        dataset = updates.get("dataset", self.dataset)
        if dataset != self.dataset and (info := DATASETS.get(dataset)):
            updates = {"img_size": info.img_size, "in_chans": info.in_chans, "drawing": 2, **updates}
        values = self.model_dump()
        for name, value in updates.items():
            (values["model"] if name in ViTConfig.model_fields else values)[name] = value
        return type(self).model_validate(values)


FIELDS = {
    name: field
    for name, field in {**TrainConfig.model_fields, **ViTConfig.model_fields}.items()
    if name not in ("model", "preprocessing")  # which are not settings of a form
}
DESCRIBED = [describe(name, field) for name, field in FIELDS.items()]


def settings(*groups: str) -> Iterator[Setting]:
    """The settings that a user chooses, group by group; only those in `groups` if any are passed."""
    for group in groups or GROUPS:
        yield from (setting for setting in DESCRIBED if setting.group == group)


def validate(name: str, value: Any) -> Any:
    """`value` converted to the type of the setting `name`; ConfigError if it is out of bounds."""
    field = FIELDS[name]
    model = create_model(name, __base__=Settings, **{name: (field.annotation, field)})  # type: ignore[call-overload]
    return getattr(model.model_validate({name: value}), name)
