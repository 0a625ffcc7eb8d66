"""File formats beside the SavedModel: one file for each, and their table."""

from keras_moe.export.formats.table import FORMATS

__all__ = ["FORMATS"]
