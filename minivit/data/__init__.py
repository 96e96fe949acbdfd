"""Data sets: file -> uint8 tensor (N, C, H, W), labels and classes; the split into train and test part.

    image_set    the form that all images take
    memmap       images that stay in their files, and when they do
    cache        MiniViT's own data folder
    folder       the user's own images
    torchvision  CIFAR-10, CIFAR-100, Fashion-MNIST and SVHN
    shapes       synthetic shapes; drawing makes them
    load         any of these by name; the split
    batches      size and channels, patches, statistics
    augment      random changes to a batch: flip, crop, RandAugment, Mixup, CutMix
    source       batches of images on the device that trains

The order of `classes` gives the labels; images come in the order of the data set, whatever was selected.
"""

from minivit.data.augment import augment, mix_pairs
from minivit.data.batches import channel_stats, patches
from minivit.data.cache import default_data_dir
from minivit.data.image_set import ImageSet, Progress, evenly_spaced
from minivit.data.load import (
    DOWNLOADABLE,
    article_split,
    check,
    download,
    download_bytes,
    fit_classes,
    is_present,
    list_classes,
    load_images,
    load_split,
    not_a_class,
    num_without_class,
)
from minivit.data.memmap import Images
from minivit.data.source import BatchSource
