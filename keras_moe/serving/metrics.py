"""Numbers about the server, for Prometheus."""

import contextlib
import time

from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import Gauge
from prometheus_client import Histogram

from keras_moe.serving.errors import ServingError

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
# A client may send any name: only known ones become a label.
UNKNOWN = "unknown"


class Metrics:
    """Counters of one server, in a registry of its own.

    Attributes:
        registry: `prometheus_client.CollectorRegistry`.
        requests: Counter by protocol, signature and gRPC code.
        seconds: Histogram of latency by protocol and signature.
        batch_rows: Histogram of the rows in a call of the model.
        queue: Gauge, requests that wait.
        tokens: Counter of generated tokens.
        version: Gauge, the version that serves.
    """

    def __init__(self):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "keras_moe_requests",
            "Requests by protocol, signature and code.",
            ("protocol", "signature", "code"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "keras_moe_request_seconds",
            "Time from the whole request to the whole answer.",
            ("protocol", "signature"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch_rows = Histogram(
            "keras_moe_batch_rows",
            "Rows in one call of the model.",
            buckets=ROWS,
            registry=self.registry,
        )
        self.queue = Gauge(
            "keras_moe_queue_requests",
            "Requests that wait for the model.",
            registry=self.registry,
        )
        self.tokens = Counter(
            "keras_moe_generated_tokens",
            "Tokens that were generated.",
            registry=self.registry,
        )
        self.version = Gauge(
            "keras_moe_model_version",
            "Version of the model that serves.",
            registry=self.registry,
        )

    @contextlib.contextmanager
    def observe(self, protocol):
        """Count one request and its time.

        Args:
            protocol: string, `"rest"`, `"stream"` or `"grpc"`.

        Yields:
            An `Observation`, to be told the signature once it is known.
        """
        observation = Observation()
        start, code = time.monotonic(), "OK"
        try:
            yield observation
        except ServingError as error:
            code = error.code
            raise
        except Exception:
            code = "INTERNAL"
            raise
        except BaseException:
            # The client went away: asyncio cancels, a generator is closed.
            code = "CANCELLED"
            raise
        finally:
            signature = observation.signature
            self.requests.labels(protocol, signature, code).inc()
            self.seconds.labels(protocol, signature).observe(
                time.monotonic() - start
            )


class Observation:
    """What is known of a request while it is answered.

    Attributes:
        signature: string.
    """

    signature = UNKNOWN
