"""Data sets: files -> uint8 tensor (N, C, H, W), labels and classes; training and test split.

    image_set    images with their labels and classes, in memory or on disk
    cache        the data folder and its cache of decoded images
    folder       the user's own images; decode reads the files
    torchvision  CIFAR-10, CIFAR-100, Fashion-MNIST and SVHN
    shapes       synthetic shapes; shapes_drawing draws them
    load         any data set by its name: its reader; the split
    batches      size and channels, patches, statistics; batches of images on the training device
    augment      random changes to a batch: flip, crop, RandAugment, Mixup, CutMix

The order of `classes` gives the labels; the images are in data-set order, whichever classes are selected.
"""

from minivit.data.augment import augment, mix_pairs
from minivit.data.batches import BatchSource, channel_stats, copy_to, patches
from minivit.data.cache import default_data_dir
from minivit.data.image_set import Images, ImageSet, Progress, evenly_spaced
from minivit.data.load import (
    DOWNLOADS,
    MAX_INSPECTED_BYTES,
    article_split,
    check,
    data_warnings,
    download,
    is_present,
    list_classes,
    load_images,
    load_split,
    select_classes,
)
