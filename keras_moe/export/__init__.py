"""Write and verify SavedModels, from any Keras backend."""

from keras_moe.export.saved_model import export_saved_model
from keras_moe.export.verification import VerificationResult
from keras_moe.export.verification import verify_saved_model

__all__ = [
    "VerificationResult",
    "export_saved_model",
    "verify_saved_model",
]
