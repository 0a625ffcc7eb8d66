"""The ids that keras-hub's preprocessor wants of a tokenizer."""


class SpecialTokenIds:
    """Gives a tokenizer its special tokens by id.

    Stands before a keras-hub tokenizer, whose own special tokens are fixed
    by the class.

    Args:
        end_token_id: optional int, ends a text.
        pad_token_id: optional int, fills it up.
        start_token_id: optional int, or list of ints, before every text;
            `None` for models without.
        end_token2_id: optional int, ends a generated text too.
        stop_token_ids: optional list of ints, all that end a generated text;
            `None` means the two end tokens.
        **kwargs: of the tokenizer.
    """

    def __init__(
        self,
        end_token_id=None,
        pad_token_id=None,
        start_token_id=None,
        end_token2_id=None,
        stop_token_ids=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.set_special_token_ids(
            end_token_id,
            pad_token_id,
            start_token_id,
            end_token2_id,
            stop_token_ids,
        )

    def set_special_token_ids(
        self,
        end_token_id,
        pad_token_id,
        start_token_id=None,
        end_token2_id=None,
        stop_token_ids=None,
    ):
        """Set what the constructor's arguments of the same names set."""
        self.end_token_id = end_token_id
        self.pad_token_id = pad_token_id
        self.start_token_id = start_token_id
        # `generate` looks whether there is one.
        if end_token2_id is not None:
            self.end_token2_id = end_token2_id
        ends = (end_token_id, end_token2_id, *(stop_token_ids or ()))
        self.stop_token_ids = sorted({*ends} - {None})

    @property
    def special_token_ids(self):
        """list of int: token ids stripped from generated text.

        Padding is stripped by its mask. Its id counts here only if the
        tokenizer has it for a special token, and not for a word; the same
        for further stop tokens.
        """
        start = self.start_token_id
        starts = [start] if isinstance(start, int) else list(start or ())
        others = {self.pad_token_id, *self.stop_token_ids} - {None}
        special = filter(self.is_special, others)
        return sorted({*starts, self.end_token_id, *special} - {None})

    def is_special(self, token_id):
        """Tell whether a token is none of a text's own.

        Args:
            token_id: int.

        Returns:
            bool.
        """
        return True

    def get_config(self):
        start = self.start_token_id
        return {
            **super().get_config(),
            "end_token_id": self.end_token_id,
            "pad_token_id": self.pad_token_id,
            "start_token_id": (
                start if start is None or isinstance(start, int) else [*start]
            ),
            "end_token2_id": getattr(self, "end_token2_id", None),
            "stop_token_ids": [*self.stop_token_ids],
        }
