"""One thread that runs the model, on the rows of as many requests as fit."""

import concurrent.futures
import logging
import threading
import time
from collections import deque
from typing import NamedTuple

import tensorflow as tf

from keras_moe.serving.errors import ServingError
from keras_moe.serving.padding import Request
from keras_moe.serving.padding import merge
from keras_moe.serving.padding import split

logger = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    model: object
    request: Request
    future: concurrent.futures.Future
    since: float


class Batcher:
    """Queue of requests, grouped by what can run together.

    The group whose first request has waited longest goes first, as soon as
    its batch is full or that request has waited `limits.batch_timeout`.

    Args:
        limits: `Limits`.
        metrics: `Metrics`.
    """

    def __init__(self, limits, metrics):
        self._limits = limits
        self._metrics = metrics
        self._groups = {}
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(
            target=self._work, name="keras_moe-model", daemon=True
        )
        self._thread.start()
        metrics.queue.set_function(lambda: self._count)

    def submit(self, model, request):
        """Put a request into the queue.

        Args:
            model: `LoadedModel`.
            request: `Request`.

        Returns:
            `concurrent.futures.Future` of a dict from output name to array.
            Until it runs, it can be cancelled.

        Raises:
            ServingError: If the queue is full or the server stops.
        """
        future: concurrent.futures.Future = concurrent.futures.Future()
        waiting = _Waiting(model, request, future, time.monotonic())
        with self._changed:
            if self._closed:
                raise ServingError("UNAVAILABLE", "The server is stopping.")
            if self._count >= self._limits.max_queue:
                raise ServingError(
                    "RESOURCE_EXHAUSTED",
                    f"{self._count} requests are waiting already. Try again "
                    "later.",
                )
            key = (id(model), *request.group)
            self._groups.setdefault(key, deque()).append(waiting)
            self._count += 1
            self._changed.notify()
        return future

    def close(self):
        """Answer what is waiting, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self):
        while batch := self._next_batch():
            running = [
                each
                for each in batch
                if each.future.set_running_or_notify_cancel()
            ]
            if running:
                self._run(running)
            # Nothing of a batch may stay until the next one comes.
            del batch, running

    def _next_batch(self):
        """Wait for a batch; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                oldest, wait = None, None
                for key, group in self._groups.items():
                    since = group[0].since
                    left = since + self._limits.batch_timeout - now
                    if left <= 0 or self._closed or self._is_full(group):
                        if oldest is None or since < oldest[0]:
                            oldest = (since, key)
                    elif wait is None or left < wait:
                        wait = left
                if oldest is not None:
                    return self._take(oldest[1])
                if self._closed:
                    return None
                self._changed.wait(wait)

    def _is_full(self, group):
        return len(self._fitting(group)) < len(group) or (
            sum(each.request.rows for each in group)
            >= self._limits.max_batch_size
        )

    def _fitting(self, group):
        """List the first requests that fit into one batch, at least one."""
        fitting: list[_Waiting] = []
        rows = length = 0
        for each in group:
            rows += each.request.rows
            length = max(length, each.request.length)
            if fitting and (
                rows > self._limits.max_batch_size
                or rows * length > self._limits.max_batch_tokens
            ):
                break
            fitting.append(each)
        return fitting

    def _take(self, key):
        group = self._groups[key]
        batch = self._fitting(group)
        for _ in batch:
            group.popleft()
        if not group:
            del self._groups[key]
        self._count -= len(batch)
        return batch

    def _run(self, batch):
        """Run a batch; if that fails, each request alone."""
        requests = [each.request for each in batch]
        try:
            merged = merge(requests)
            outputs = batch[0].model.run(requests[0].signature, merged)
            parts = split(requests, merged, outputs)
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(_explain(error))
                return
            for each in batch:
                self._run([each])
            return
        self._metrics.batch_rows.observe(sum(x.rows for x in requests))
        for each, part in zip(batch, parts, strict=True):
            each.future.set_result(part)


def _explain(error):
    """Make an error of TensorFlow one of ours."""
    if isinstance(error, tf.errors.InvalidArgumentError):
        return ServingError("INVALID_ARGUMENT", error.message[:1000])
    logger.error("The model failed on a request", exc_info=error)
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return ServingError("RESOURCE_EXHAUSTED", "Too little memory for it.")
    return ServingError("INTERNAL", "The model failed on this request.")
