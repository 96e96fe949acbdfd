"""Models from elsewhere -> run folder."""

from minivit.imports.architecture import GLOBAL_POOLS
from minivit.imports.importer import (
    NORMALIZATIONS,
    ImportOptions,
    assumptions,
    has_class_names,
    head_class_names,
    import_model,
    num_head_classes,
)
