"""Write and check SavedModels and other files, from any Keras backend."""

from keras_moe.export.any_format import export_model
from keras_moe.export.saved_model import export_saved_model
from keras_moe.export.verification import VerificationResult
from keras_moe.export.verification import verify_saved_model

__all__ = [
    "VerificationResult",
    "export_model",
    "export_saved_model",
    "verify_saved_model",
]
