"""The body of an HTTP request, and the client that waits for an answer."""

import asyncio

from starlette.requests import ClientDisconnect

from keras_moe.serving.errors import ServingError


async def unless_disconnected(request, work):
    """Wait for an answer; give it up if the client goes away.

    Args:
        request: `starlette.requests.Request` whose body has been read.
        work: awaitable.

    Returns:
        What the awaitable gives.

    Raises:
        ServingError: If the client is gone.
    """
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise _disconnected()
        return await answer
    finally:
        for task in (answer, gone):
            task.cancel()


def _disconnected():
    # Nobody reads it, but the metrics count it.
    return ServingError("CANCELLED", "The client went away.")


async def _wait_for_disconnect(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_body(request, limit, seconds):
    """Read a body of limited size in limited time.

    Args:
        request: `starlette.requests.Request`.
        limit: int, bytes.
        seconds: float.

    Returns:
        bytes.

    Raises:
        ServingError: If it is too large or too slow, or the client is gone.
    """
    too_large = ServingError(
        "RESOURCE_EXHAUSTED",
        f"Expected a body of at most {limit} bytes. Send less at a time.",
        http_code=413,
    )
    length = request.headers.get("content-length", "0")
    if len(length) > 18 or length.isdecimal() and int(length) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError as error:
        raise ServingError(
            "DEADLINE_EXCEEDED",
            f"Expected the whole body within {seconds:g} seconds.",
            http_code=408,
        ) from error
    except ClientDisconnect as error:
        raise _disconnected() from error
    return bytes(body)
