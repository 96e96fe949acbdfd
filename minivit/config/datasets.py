"""Facts of the data sets that do not require reading them; `minivit.data.load` holds their readers."""

from dataclasses import dataclass
from typing import Literal

Dataset = Literal["cifar10", "cifar100", "fashion_mnist", "svhn", "folder", "shapes"]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)  # fmt: skip
FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SHAPES_CLASSES = (
    "circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent", "arrow", "hourglass",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Facts of one data set."""

    title: str
    classes: tuple[str, ...] = ()  # empty if they are the names of class folders
    img_size: int = 32  # px, before any resizing
    in_chans: int = 3
    download_bytes: int = 0  # 0: nothing to download
    files: tuple[str, ...] = ()  # what a download leaves in the data folder


DATASETS: dict[Dataset, DatasetInfo] = {
    "cifar10": DatasetInfo(
        title="CIFAR-10",
        classes=CIFAR10_CLASSES,
        download_bytes=170_498_071,
        files=tuple(
            f"cifar-10-batches-py/{name}"
            for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
        ),
    ),
    "cifar100": DatasetInfo(
        title="CIFAR-100",
        classes=CIFAR100_CLASSES,
        download_bytes=169_001_437,
        files=tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
    ),
    "fashion_mnist": DatasetInfo(
        title="Fashion-MNIST",
        classes=FASHION_MNIST_CLASSES,
        img_size=28,
        in_chans=1,
        download_bytes=30_878_645,
        files=tuple(
            f"FashionMNIST/raw/{split}-{content}-ubyte"
            for split in ("train", "t10k")
            for content in ("images-idx3", "labels-idx1")
        ),
    ),
    "svhn": DatasetInfo(
        title="SVHN",
        classes=tuple("0123456789"),
        download_bytes=246_316_178,
        files=("train_32x32.mat", "test_32x32.mat"),
    ),
    "folder": DatasetInfo(title="Your own images (folder)"),
    "shapes": DatasetInfo(title="Synthetic shapes", classes=SHAPES_CLASSES),
}
