"""A browser and a server for it."""

import pytest

from tests.serving.page.chromium import Chromium
from tests.serving.page.chromium import find_chromium
from tests.serving.page.stub_server import StubServer


@pytest.fixture(scope="module")
def browser():
    path = find_chromium()
    if not path:
        pytest.skip("no Chromium in PATH")
    with Chromium(path) as browser:
        yield browser


@pytest.fixture
def server():
    with StubServer() as server:
        yield server


@pytest.fixture
def visit(browser, server):
    """Return `open(**settings)` of the page, which must raise no error."""
    pages = []

    def open_page(**settings):
        page = browser.open(server.url, **settings)
        pages.append(page)
        page.until("document.querySelector('main').ariaBusy === 'false'")
        return page

    yield open_page
    for page in pages:
        others = [url for url in page.requests if server.url not in url]
        assert others == []
        assert page.problems == []
        page.close()
