"""Take the pictures of docs/images/ of a page by `keras-moe analyze`.

python -m tests.analysis.screenshots runs/demo/analysis/index.html
"""

import sys
from pathlib import Path

from PIL import Image

from tests.serving.page.chromium import Chromium
from tests.serving.page.chromium import find_chromium

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PICTURES = {
    "analysis.png": {"width": 800, "height": 900},
    "analysis_phone.png": {"width": 360, "height": 780, "scheme": "dark"},
}


def main():
    url = Path(sys.argv[1]).resolve().as_uri()
    with Chromium(find_chromium()) as browser:
        for name, settings in PICTURES.items():
            page = browser.open(url, **settings)
            page.until("document.querySelector('main').ariaBusy === 'false'")
            page.evaluate("document.querySelectorAll('#map span')[8].click()")
            page.screenshot(IMAGES / name)
            # A third of the size, with the colours that there are.
            image = Image.open(IMAGES / name).quantize(128)
            image.save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
