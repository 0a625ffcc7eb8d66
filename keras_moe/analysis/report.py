"""An analysis as JSON and as one self-contained HTML page."""

import base64
import hashlib
import html
import json
from pathlib import Path

import numpy as np

from keras_moe.analysis.token_table import top_tokens

PAGE = Path(__file__).parent / "page"
MAP_TOKENS = 1000


def make_report(analysis, title="Model"):
    """Turn an analysis into what JSON can hold, without the long arrays.

    Args:
        analysis: `Analysis`.
        title: str, the model's name.

    Returns:
        dict: numbers by layer, the most typical tokens of each expert, and
        the first tokens of each text with their first choices.

    Example:

    >>> from keras_moe.analysis import analyze
    >>> from keras_moe.models import MixtralBackbone
    >>> backbone = MixtralBackbone(
    ...     vocabulary_size=20, num_layers=1, num_query_heads=2,
    ...     num_key_value_heads=1, hidden_dim=8, intermediate_dim=8,
    ...     num_experts=4,
    ... )
    >>> found = analyze(backbone, {"up": np.arange(20)}, window=10)
    >>> make_report(found)["tokens"]
    20
    """
    return _plain(
        {
            "title": title,
            "texts": analysis.texts,
            "layers": analysis.layer_names,
            "num_experts": analysis.num_experts,
            "top_k": analysis.routed_experts.shape[-1],
            "tokens": analysis.mask.sum(),
            "window": analysis.mask.shape[1],
            "information": analysis.information._asdict(),
            "load": analysis.load,
            "load_by_text": analysis.load_by_text,
            "effective_experts": analysis.effective_experts,
            "dead_experts": analysis.dead_experts,
            "dropped": analysis.dropped,
            "capacity_factor": analysis.capacity_factor,
            "agreement": analysis.agreement and analysis.agreement._asdict(),
            "labels": analysis.labels,
            # (layers, E) lists of [index of the label, count, lift].
            "top_tokens": {
                by: [top_tokens(each, by=by) for each in analysis.counts]
                for by in ("lift", "count")
            },
            "token_maps": [
                _token_map(analysis, index)
                for index in range(len(analysis.texts))
            ],
        }
    )


def render_page(report):
    """Write a report as an HTML page that needs nothing else.

    Args:
        report: dict from `make_report`.

    Returns:
        str: a page for any browser. It loads no other resource, and its
        content security policy allows none.

    Example:

    >>> page = render_page({"title": "a < b"})
    >>> "<title>a &lt; b</title>" in page
    True
    """
    style, script, page = (
        (PAGE / name).read_text(encoding="utf-8")
        for name in ("style.css", "page.js", "page.html")
    )
    # A text may hold "</script>".
    data = json.dumps(report, allow_nan=False).replace("<", "\\u003c")
    parts = {
        "title": html.escape(str(report["title"])),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        # Last: what it holds is not looked at again.
        "data": data,
    }
    for name, part in parts.items():
        page = page.replace(f"[[{name}]]", part)
    return page


def _token_map(analysis, index):
    """Return the first tokens of a text, by label, and their first choices."""
    rows = analysis.text_of_row == index
    mask = analysis.mask[rows]
    token_ids = analysis.token_ids[rows][mask][:MAP_TOKENS]
    first = analysis.routed_experts[rows][mask][:MAP_TOKENS, :, 0]
    return {
        "tokens": np.searchsorted(analysis.vocabulary, token_ids),
        "experts": first.T,
    }


def _plain(value):
    """Turn arrays into lists, with six digits."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray) or np.isscalar(value):
        array = np.asarray(value)
        return (array.round(6) if array.dtype.kind == "f" else array).tolist()
    return value


def _hash(text):
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
