"""Models from elsewhere -> run folder."""

from minivit.imports.importer import NORMALIZATIONS, ImportOptions, import_model
