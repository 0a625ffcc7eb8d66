"""What an exported model of ours answers besides `serving_default`."""

from keras_moe.export.signatures.signature import Signature
from keras_moe.export.signatures.signatures_of import signatures_of

__all__ = ["Signature", "signatures_of"]
