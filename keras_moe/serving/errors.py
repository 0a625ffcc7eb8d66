"""Errors that a client sees, with their codes in both protocols."""

# Parts of what clients sent are in messages; a gRPC status has 8 KB of room.
LONGEST_MESSAGE = 1000
# TensorFlow Serving's table, but for an overload, which is 503 here: a client
# may try again.
HTTP_CODES = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "CANCELLED": 499,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "RESOURCE_EXHAUSTED": 503,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class ServingError(Exception):
    """Failure of one request.

    Args:
        code: string, the name of a gRPC status code, a key of `HTTP_CODES`.
        message: string for the client.
        http_code: optional int, the HTTP status in place of the table's.
    """

    def __init__(self, code, message, http_code=None):
        # A lone surrogate, which JSON may hold, cannot be sent as UTF-8.
        message = message[:LONGEST_MESSAGE].encode("utf-8", "backslashreplace")
        self.code = code
        self.message = message.decode()
        super().__init__(self.message)
        self.http_code = http_code or HTTP_CODES[code]


def invalid(message):
    """Make the error for a request that cannot be answered as it is."""
    return ServingError("INVALID_ARGUMENT", message)
