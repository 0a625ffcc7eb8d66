"""What keras-hub compares when it looks for the class of a preset."""


class AnyBackbone:
    """Equals every backbone that is a subclass of another.

    `keras_hub.models.Tokenizer.from_preset` and its like take the registered
    class whose `backbone_cls` equals that of the preset. Our tokenizers and
    preprocessors fit many backbones.

    Args:
        base: class of backbones.

    Example:

    >>> AnyBackbone(Exception) == ValueError, AnyBackbone(Exception) == int
    (True, False)
    """

    def __init__(self, base):
        self.base = base

    def __eq__(self, other):
        return isinstance(other, type) and issubclass(other, self.base)

    def __hash__(self):
        return hash(self.base)
