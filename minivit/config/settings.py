"""Every setting of a run: bounds, unit, title and help, once, for the form, the command line and `config.json`.

`TrainConfig` is the one model of the settings; its field `model` is the `ViTConfig`. `settings()` lists the
fields for whoever draws a form or a parser; `preset()` gives complete, measured starting points.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator, model_validator
from pydantic.fields import FieldInfo

from minivit.config.datasets import CIFAR10_CLASSES, DATASETS, Dataset
from minivit.errors import ConfigError

SCHEMA_VERSION = 1

ARTICLE_CLASSES = ("cat", "airplane", "frog", "truck")


def setting(default: Any, title: str, help: str, *, group: str, unit: str = "", **bounds: Any) -> Any:
    """A pydantic field that carries what a form and a parser need to show it."""
    return Field(default, title=title, description=help, json_schema_extra={"unit": unit, "group": group}, **bounds)


class Settings(BaseModel):
    """Base of the settings: frozen, no unknown names, and every refusal is a `ConfigError` sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_words(cls, data: Any, handler: Any) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            raise ConfigError(" ".join(_sentence(cls, problem) for problem in error.errors())) from None


class ViTConfig(Settings):
    """Shape of one Vision Transformer. Names are timm's."""

    img_size: int = setting(
        32, "Image size", "Images are resized to this many pixels a side.", group="data", unit="px", ge=8, le=512
    )
    in_chans: int = setting(
        3, "Channels", "3 for colour, 1 for grey; images are converted to it.", group="data", ge=1, le=16
    )
    num_classes: int = setting(
        4, "Number of classes", "Follows from the classes that you choose.", group="derived", ge=2, le=25_000
    )
    patch_size: int = setting(
        4, "Patch size", "Side of one square patch; it has to divide the image size.", group="model", unit="px",
        ge=1, le=128,
    )  # fmt: skip
    stem: Literal["patch", "conv"] = setting(
        "patch", "Stem",
        "How a patch becomes a token: by one linear map, or by small convolutions that also see a little around it.",
        group="model",
    )  # fmt: skip
    embed_dim: int = setting(
        64, "Embed dim", "Numbers that describe one patch inside the model.", group="model", ge=4, le=1024
    )
    depth: int = setting(
        1, "Depth", "Transformer blocks, one after another.", group="model", unit="blocks", ge=1, le=24
    )
    num_heads: int = setting(
        1, "Heads", "Attention heads a block; they have to divide the embed dim.", group="model", ge=1, le=32
    )
    mlp_ratio: float = setting(
        1.0, "MLP ratio", "Width of the feed-forward layer, as a multiple of the embed dim.", group="model",
        ge=0.25, le=8,
    )  # fmt: skip
    norm: Literal["post", "pre"] = setting(
        "post", "LayerNorm", "After each residual sum, as in the article, or before each sub-layer, as in ViT.",
        group="model",
    )  # fmt: skip
    pos_embed: Literal["sine", "learned"] = setting(
        "sine", "Positions", "A fixed sine and cosine table, or learned with the model.", group="model"
    )
    act: Literal["relu", "gelu"] = setting(
        "relu", "Activation", "Non-linearity inside the feed-forward layer.", group="model"
    )
    drop_rate: float = setting(
        0.0, "Dropout", "Share of activations set to 0 while training.", group="model", ge=0, le=0.9
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.img_size % self.patch_size:
            fitting = [p for p in range(2, self.img_size) if self.img_size % p == 0]
            raise ConfigError(
                f"A patch size of {self.patch_size} px does not divide the image size of {self.img_size} px. "
                f"Choose one of {', '.join(map(str, fitting)) or self.img_size}."
            )
        halvings = self.patch_size.bit_length() - 1
        if self.stem == "conv" and (self.patch_size != 2**halvings or not halvings):
            raise ConfigError(
                f"A convolutional stem halves the image, and a patch size of {self.patch_size} px is no power of 2. "
                "Choose 2, 4, 8 or 16 px, or the stem 'patch'."
            )
        if self.stem == "conv" and self.embed_dim % 2 ** (halvings - 1):
            raise ConfigError(
                f"A convolutional stem for patches of {self.patch_size} px doubles its width {halvings - 1} times up "
                f"to the embed dim, and {self.embed_dim} is no multiple of {2 ** (halvings - 1)}. Choose one that is."
            )
        if self.embed_dim % self.num_heads:
            fitting = [h for h in range(1, 33) if self.embed_dim % h == 0]
            raise ConfigError(
                f"{self.num_heads} heads do not divide an embed dim of {self.embed_dim}. "
                f"Choose one of {', '.join(map(str, fitting))} heads, or another embed dim."
            )
        if self.pos_embed == "sine" and self.embed_dim % 2:
            raise ConfigError(
                f"Sine positions need an even embed dim, and it is {self.embed_dim}. "
                f"Choose {self.embed_dim + 1}, or learned positions."
            )
        return self

    @property
    def grid(self) -> int:
        """Patches along one side of the image."""
        return self.img_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches of the whole image; tokens are one more, the CLS token."""
        return self.grid**2


class TrainConfig(Settings):
    """Everything that decides a training run; `config.json` holds nothing else."""

    dataset: Dataset = setting("cifar10", "Data set", "Where the images come from.", group="data")
    data_dir: str = setting(
        "", "Data folder", "Folder that holds the images; empty for MiniViT's own data folder.", group="data"
    )
    classes: tuple[str, ...] = setting(
        ARTICLE_CLASSES,
        "Classes",
        "At least two; their order gives the labels 0, 1 and so on.",
        group="data",
        max_length=25_000,
    )
    images_per_class: int = setting(
        0, "Images per class", "At most this many of each class, the first ones; 0 takes all.", group="data",
        unit="images", ge=0, le=1_000_000,
    )  # fmt: skip
    split: Literal["article", "official"] = setting(
        "article", "Test set",
        "'article' holds out a fixed random 20 % of the train part; 'official' takes the set's own test part.",
        group="data",
    )  # fmt: skip
    augment: Literal["none", "flip", "flip-crop", "rand"] = setting(
        "none", "Augmentation",
        "Random changes to each training image, anew every epoch: mirrored, also shifted, also RandAugment.",
        group="data",
    )  # fmt: skip
    mixup: float = setting(
        0.0, "Mixup", "Averages pairs of training images by a share drawn from Beta(α, α); this is α, 0 for never.",
        group="data", ge=0, le=10,
    )  # fmt: skip
    cutmix: float = setting(
        0.0, "CutMix", "Sets a rectangle of one training image into another; α of its area, 0 for never.",
        group="data", ge=0, le=10,
    )  # fmt: skip
    normalize: bool = setting(
        False, "Normalise", "Give each channel mean 0 and deviation 1 over the training images.", group="data"
    )

    imported: bool = setting(
        False, "Imported", "A model from elsewhere: its head names the classes; all images of the folder are shown.",
        group="derived",
    )  # fmt: skip

    model: ViTConfig = Field(default_factory=ViTConfig)

    epochs: int = setting(
        100, "Epochs", "Passes over the training images.", group="training", unit="epochs", ge=1, le=10_000
    )
    batch_size: int = setting(64, "Batch size", "Images a step.", group="training", unit="images", ge=1, le=16_384)
    whiten: bool = setting(
        False, "Whiten patches",
        "Let the patch embedding learn on patches whose pixels are decorrelated; folded into its weights afterwards.",
        group="training",
    )  # fmt: skip
    optimizer: Literal["adam", "adamw", "sgd", "muon"] = setting(
        "adam", "Optimiser", "AdamW decays weights apart from the gradient; SGD has momentum; Muon evens out steps.",
        group="training",
    )  # fmt: skip
    lr: float = setting(
        1e-3, "Learning rate", "Size of a step; the peak where a schedule changes it.", group="training",
        gt=0, le=10,
    )  # fmt: skip
    schedule: Literal["constant", "cosine", "one-cycle"] = setting(
        "constant", "Schedule", "How the learning rate moves from the first step to the last.", group="training"
    )
    warmup_epochs: float = setting(
        0.0, "Warm-up", "The learning rate rises from 0 over this long; one-cycle brings its own.", group="training",
        unit="epochs", ge=0, le=1000,
    )  # fmt: skip
    weight_decay: float = setting(0.0, "Weight decay", "Pull of the weights towards 0.", group="training", ge=0, le=1)
    label_smoothing: float = setting(
        0.0, "Label smoothing", "Share of the target spread over all classes.", group="training", ge=0, lt=1
    )
    grad_clip: float = setting(
        0.0, "Gradient clipping", "Largest norm of the gradient; 0 leaves it alone.", group="training", ge=0, le=1000
    )
    ema: float = setting(
        0.0, "Weight averaging",
        "Show and keep a running average of the weights that keeps this share of itself each step; 0 for the weights "
        "as they are.",
        group="training", ge=0, lt=1,
    )  # fmt: skip
    seed: int = setting(
        0, "Seed", "The same seed on the same machine gives the same run.", group="training", ge=0, le=2**31 - 1
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "Device", "'auto' takes a GPU where there is one.", group="machine"
    )
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "Precision", "'auto' computes in bf16 on a GPU that is made for it, and in fp32 elsewhere.",
        group="machine",
    )  # fmt: skip
    compile: Literal["auto", "on", "off"] = setting(
        "auto", "Compile the step",
        "Compiling takes a minute and makes each step faster; 'auto' does it where that pays over the whole run.",
        group="machine",
    )  # fmt: skip
    devices: int = setting(
        1, "Devices", "Processes that train together, each on a GPU of its own or on its share of the CPU cores.",
        group="machine", ge=1, le=64,
    )  # fmt: skip
    threads: int = setting(
        0, "CPU threads", "0 chooses by the size of the work; tiny models are fastest on one. Each device has as many.",
        group="machine", unit="threads", ge=0, le=256,
    )  # fmt: skip

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, data_dir: str) -> str:
        """A run may go on from another working folder."""
        return str(Path(os.path.expanduser(data_dir)).absolute()) if data_dir else ""  # noqa: PTH111, it never raises

    @model_validator(mode="before")
    @classmethod
    def _count_classes(cls, data: Any) -> Any:
        """`model.num_classes` is the number of chosen classes, whatever was written there."""
        if not isinstance(data, Mapping):
            return data
        classes = data.get("classes", ARTICLE_CLASSES)
        model = data.get("model", {})
        model = model.model_dump() if isinstance(model, ViTConfig) else model
        if isinstance(model, Mapping) and isinstance(classes, list | tuple) and len(classes) >= 2:
            data = {**data, "model": {**model, "num_classes": len(classes)}}
        return data

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.classes) < 2:
            chosen = f"only {self.classes[0]!r} is chosen" if self.classes else "none is chosen"
            raise ConfigError(f"A classifier needs at least 2 classes, and {chosen}. Choose another one too.")
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise ConfigError(f"The class {twice[0]!r} is chosen twice. Name each class once.")
        if self.whiten and self.model.stem != "patch":
            raise ConfigError(
                "Whitened patches need a model that reads patches, and its stem is 'conv'. Choose the stem 'patch', or "
                "no whitening."
            )
        if self.warmup_epochs > self.epochs:
            raise ConfigError(
                f"A warm-up of {self.warmup_epochs:g} epochs is longer than the run of {self.epochs}. Shorten it."
            )
        return self

    def changed(self, **updates: Any) -> Self:
        """These settings with some replaced; names of `ViTConfig` may stand beside the others.

        Another data set brings its own image size, channels and classes unless they are named too.
        Raises ConfigError where the result cannot be.
        """
        dataset = updates.get("dataset", self.dataset)
        if dataset != self.dataset and (info := DATASETS.get(dataset)):
            updates = {"img_size": info.img_size, "in_chans": info.in_chans, **updates}
        values = self.model_dump()
        for name, value in updates.items():
            (values["model"] if name in ViTConfig.model_fields else values)[name] = value
        return type(self).model_validate(values)


@dataclass(frozen=True)
class Setting:
    """One field of the settings, as a form or a parser needs it."""

    name: str
    title: str
    help: str
    unit: str
    group: str
    kind: Any  # bool, int, float, str or tuple (of class names)
    default: Any
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None  # exclusive bound

    def value(self, config: TrainConfig) -> Any:
        """This setting's value in `config`."""
        return getattr(config.model if self.name in ViTConfig.model_fields else config, self.name)


def settings(*groups: str) -> Iterator[Setting]:
    """The settings a person chooses, in the order of the data's way; only those of `groups` where given."""
    fields = {**TrainConfig.model_fields, **ViTConfig.model_fields}
    listed = [describe(name, field) for name, field in fields.items() if name != "model"]
    order = ("data", "model", "training", "machine")
    for group in groups or order:
        yield from (one for one in listed if one.group == group)


def fit_setting(name: str, value: Any) -> Any:
    """`value` as the setting `name` holds it, whatever the others are; ConfigError where it is out of bounds."""
    field = {**TrainConfig.model_fields, **ViTConfig.model_fields}[name]
    alone = create_model(name, __base__=Settings, **{name: (field.annotation, field)})  # type: ignore[call-overload]
    return getattr(alone.model_validate({name: value}), name)


PRESETS: dict[str, str] = {  # accuracies on cat, airplane, frog and truck, times on one or two cores, as in README
    "article": "The notebook's experiment, exactly: one layer, one head, 28,676 parameters; 0.69 in about 100 s.",
    "quick": "The same layer with eight heads, by a modern recipe in 6 epochs; 0.79 in about 7 s.",
    "strong": "Two layers behind a convolutional stem, augmentation, Muon; 0.895 in under 5 minutes.",
    "gpu": "Six layers for all ten classes of CIFAR-10 on a GPU: RandAugment, CutMix, averaged weights; not measured.",
}


def preset(name: str) -> TrainConfig:
    """Complete settings by the name of a preset; ConfigError for a name that is not in `PRESETS`."""
    article = TrainConfig()
    match name:
        case "article":
            return article
        case "quick":
            return article.changed(
                num_heads=8, mlp_ratio=4, pos_embed="learned", normalize=True, whiten=True, epochs=6, batch_size=256,
                optimizer="muon", lr=2e-2, schedule="one-cycle", weight_decay=0.5,
            )  # fmt: skip
        case "strong":
            return article.changed(
                stem="conv", embed_dim=96, depth=2, num_heads=4, mlp_ratio=2, norm="pre", pos_embed="learned",
                normalize=True, augment="flip-crop", epochs=11, batch_size=128, optimizer="muon", lr=3e-3,
                schedule="cosine", warmup_epochs=1, weight_decay=0.05, label_smoothing=0.1, grad_clip=1,
            )  # fmt: skip
        case "gpu":
            return article.changed(
                classes=CIFAR10_CLASSES, split="official", stem="conv", embed_dim=256, depth=6, num_heads=8,
                mlp_ratio=2, norm="pre", pos_embed="learned", act="gelu", normalize=True, augment="rand", mixup=0.2,
                cutmix=1, epochs=100, batch_size=512, optimizer="adamw", lr=1e-3, schedule="cosine", warmup_epochs=5,
                weight_decay=0.05, label_smoothing=0.1, grad_clip=1, ema=0.999,
            )  # fmt: skip
    raise ConfigError(f"There is no preset {name!r}. Choose one of {', '.join(PRESETS)}.")


def describe(name: str, field: FieldInfo) -> Setting:
    """A field of any `Settings` as a form or a parser needs it."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    bounds = {
        key: getattr(part, key) for part in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(part, key)
    }
    literal = get_origin(field.annotation) is Literal
    choices = get_args(field.annotation) if literal else ()
    kind = type(choices[0]) if literal else get_origin(field.annotation) or field.annotation
    return Setting(
        name=name, title=field.title or name, help=field.description or "", unit=str(extra["unit"]),
        group=str(extra["group"]), kind=kind, default=field.default, choices=choices, minimum=bounds.get("ge"),
        maximum=bounds.get("le", bounds.get("lt")), above=bounds.get("gt"),
    )  # fmt: skip


def _sentence(model: type[BaseModel], problem: Any) -> str:
    """One pydantic problem as a sentence: what, which value, what to do."""
    where = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int))
    name = where.rsplit(".", 1)[-1]
    field = model.model_fields.get(name)
    title = f"{field.title} ({name})" if field and field.title else where or "The settings"
    if problem["type"] == "extra_forbidden":
        return f"There is no setting {name!r}. Remove it or mend its name."
    said = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    unit = f" {field.json_schema_extra['unit']}" if field and isinstance(field.json_schema_extra, dict) else ""
    return f"{title} is {problem['input']!r}{unit.rstrip()}; it should be {said}."
