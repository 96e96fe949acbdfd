"""Models from elsewhere -> run folder."""

from minivit.imports.importer import NORMALIZATIONS, import_model
