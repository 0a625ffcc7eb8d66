"""Memory stays what it was, however many requests come."""

import concurrent.futures
import os
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.exhaustive]

STATM = Path("/proc/self/statm")
PATH = "/v1/models/toy:predict"


def resident_mebibytes():
    pages = int(STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not STATM.exists(), reason="Linux tells the memory")
def test_ten_thousand_requests_leave_nothing_behind(client, texts):
    good = {"signature_name": "score", "inputs": texts([1, 2, 3], [4])}
    bad = {"signature_name": "score", "inputs": {"token_ids": [[1]]}}

    def ask(number):
        return client.request("POST", PATH, [good, good, bad][number % 3])[0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:

        def ask_many(count):
            statuses = [*pool.map(ask, range(count))]
            assert statuses.count(200) == 2 * count // 3

        # What is made once: buffers, caches, threads' heaps.
        ask_many(6000)
        before = resident_mebibytes()
        ask_many(9999)
    # Two kilobytes for each request would be 20 MiB.
    assert resident_mebibytes() - before < 20
