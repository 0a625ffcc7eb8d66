"""One request through rules and queue to its answer, for every protocol."""

import asyncio
import time

from keras_moe.serving.errors import ServingError
from keras_moe.serving.language_rules import GENERATING
from keras_moe.serving.language_rules import check_language
from keras_moe.serving.padding import Request
from keras_moe.serving.request_rules import complete_inputs


class Deadline:
    """The time by which a request must be answered.

    Args:
        seconds: float, from now.
    """

    def __init__(self, seconds):
        self._end = time.monotonic() + seconds

    async def wait_for(self, awaitable):
        """Wait for an answer.

        Raises:
            ServingError: If the time is over.
        """
        try:
            async with asyncio.timeout(self._end - time.monotonic()):
                return await awaitable
        except TimeoutError as error:
            raise ServingError(
                "DEADLINE_EXCEEDED",
                "The request took too long. Ask for fewer tokens, or try "
                "again later.",
            ) from error


class Predictor:
    """Answers requests with a model.

    Args:
        batcher: `Batcher`.
        limits: `Limits`.
        metrics: `Metrics`.
    """

    def __init__(self, batcher, limits, metrics):
        self.limits = limits
        self._batcher = batcher
        self._metrics = metrics

    def check(self, model, signature, arrays):
        """Check a request.

        Args:
            model: `LoadedModel`, held by a lease.
            signature: `Signature` of this model.
            arrays: dict from input name to array, as a client sent them.

        Returns:
            A `Request`.

        Raises:
            ServingError: If the request is refused.
        """
        complete = complete_inputs(signature, arrays)
        length = check_language(
            signature, complete, model.description, self.limits
        )
        rows = len(next(iter(complete.values()), ()))
        return Request(signature, complete, rows, length)

    async def predict(self, model, signature, arrays, deadline):
        """Answer a request.

        Args:
            model: `LoadedModel`, held by a lease.
            signature: `Signature` of this model.
            arrays: dict from input name to array, as a client sent them.
            deadline: `Deadline`.

        Returns:
            dict from output name to array.

        Raises:
            ServingError: If the request is refused, late, or fails.
        """
        request = self.check(model, signature, arrays)
        future = asyncio.wrap_future(self._batcher.submit(model, request))
        outputs = await deadline.wait_for(future)
        if signature.name in GENERATING and "lengths" in outputs:
            new = outputs["lengths"].sum() - _prompt_tokens(request.arrays)
            self._metrics.tokens.inc(max(int(new), 0))
        return outputs


def _prompt_tokens(arrays):
    """Count the tokens in front of what was generated."""
    for name in ("decoder_padding_mask", "padding_mask"):
        if name in arrays:
            return int(arrays[name].sum())
    return sum(map(len, arrays["prompt"].flat)) if "prompt" in arrays else 0
