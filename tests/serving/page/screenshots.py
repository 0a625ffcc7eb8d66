"""Take the pictures of docs/images/, of a server with the demo's model.

python -m tests.serving.page.screenshots http://127.0.0.1:8501/
"""

import json
import sys
from pathlib import Path

from tests.serving.page.chromium import Chromium
from tests.serving.page.chromium import find_chromium

IMAGES = Path(__file__).parents[3] / "docs" / "images"
PICTURES = {
    "page_light.png": {"width": 1200, "height": 900},
    "page_dark.png": {"width": 1200, "height": 900, "scheme": "dark"},
    "page_phone.png": {"width": 360, "height": 780},
}
INPUTS = {"prompt": '    """Return the ', "max_new_tokens": 160, "seed": 1}


def take(browser, url, path, settings):
    page = browser.open(url, **settings)
    page.until("!document.querySelector('#form').hidden")
    for name, value in INPUTS.items():
        field = f"document.querySelector('#{name}')"
        page.evaluate(f"{field}.value = {json.dumps(value)}")
    page.evaluate("document.querySelector('#start').click()")
    page.until("!document.querySelector('#load').hidden")
    page.until("document.querySelector('#stop').disabled", seconds=120)
    page.evaluate(
        "document.querySelectorAll('#text .item')[5].click();"
        "document.querySelectorAll('.bar')[2].click()"
    )
    page.screenshot(path)


def main():
    IMAGES.mkdir(exist_ok=True)
    with Chromium(find_chromium()) as browser:
        for name, settings in PICTURES.items():
            take(browser, sys.argv[1], IMAGES / name, settings)


if __name__ == "__main__":
    main()
