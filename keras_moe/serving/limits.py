"""What one client may ask of the server."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the server, checked when they are made.

    Args:
        max_batch_size: int, rows that run in one call of the model. A request
            with more rows runs alone; 1 switches batching off.
        batch_timeout: float, seconds that a request waits for others.
        max_batch_tokens: int, tokens of a batch, padding included.
        max_queue: int, requests that may wait.
        max_tokens: int, tokens of one request: rows times length, padding and
            new tokens included.
        max_new_tokens: int, new tokens of one row.
        max_body_bytes: int, bytes of one request, and of each of its tensors.
        max_connections: int, open HTTP connections, and gRPC calls.
        request_seconds: float, from the whole request to the whole answer.
        read_seconds: float, for a client to send a request, or to take a
            part of the answer.
        stream_chunk: int, new tokens per event of a stream.
        grace_seconds: float, for requests in progress at shutdown.

    Raises:
        ValueError: If one of them is not positive.

    Example:

    >>> Limits(max_new_tokens=32).max_new_tokens
    32
    """

    max_batch_size: int = 32
    batch_timeout: float = 0.002
    max_batch_tokens: int = 16384
    max_queue: int = 256
    max_tokens: int = 4096
    max_new_tokens: int = 1024
    max_body_bytes: int = 4 * 2**20
    max_connections: int = 256
    request_seconds: float = 60.0
    read_seconds: float = 10.0
    stream_chunk: int = 8
    grace_seconds: float = 10.0

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if not value > 0 and not (name == "batch_timeout" and value == 0):
                raise ValueError(
                    f"Expected {name} to be positive. Received: "
                    f"{name}={value}. Choose a larger number."
                )
