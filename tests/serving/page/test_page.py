"""The page in a browser, against a server of prepared answers."""

import re

import pytest

pytestmark = pytest.mark.once

SPANS = "[...document.querySelectorAll('#text .item')]"
ORANGE, BLUE, GREEN = (
    "rgb(230, 159, 0)",
    "rgb(86, 180, 233)",
    "rgb(0, 158, 115)",
)


def token(position, text, *experts):
    """Make the event of one token; `experts` are its choices per layer."""
    data = {"token_ids": [position + 97], "text": text, "position": position}
    if experts:
        data["routed_experts"] = [list(experts)]
    return "token", data


def several(position, text, **values):
    """Make the event of three tokens."""
    data = {"token_ids": [1, 2, 3], "text": text, "position": position}
    return "token", {**data, **values}


def done(expert_load=None, reason="length"):
    data = {"token_ids": [], "text": "", "lengths": 0, "finish_reason": reason}
    if expert_load:
        data["expert_load"] = expert_load
    return "done", data


LOAD = [[0.5, 0.25, 0.25, 0, 0, 0, 0, 0], [0, 0, 0.5, 0.5, 0, 0, 0, 0]]
ANSWER = [
    token(4, "x", [0, 1], [2, 3]),
    token(5, "<b>", [1, 0], [2, 3]),
    ("pause", None),
    token(6, "\n", [0, 2], [3, 2]),
    done(LOAD),
]


def start(page):
    page.evaluate("document.querySelector('#start').click()")


def ended(page):
    page.until("document.querySelector('#stop').disabled")


def colours(page):
    return page.evaluate(
        f"{SPANS}.map((e) => getComputedStyle(e).backgroundColor)"
    )


def bars(page):
    """Return the load of each bar, once a frame has drawn it."""
    page.evaluate("new Promise((then) => requestAnimationFrame(then))")
    return page.evaluate(
        "[...document.querySelectorAll('.bars')].map((bars) =>"
        " [...bars.children].map((bar) => Number(bar.dataset.load)))"
    )


def test_text_streams_in_with_the_colours_of_its_experts(server, visit):
    server.events = ANSWER
    page = visit()
    page.evaluate("document.querySelector('#prompt').focus()")
    page.write("def ")
    start(page)
    page.until(f"{SPANS}.length === 2")
    assert page.text("#text") == "def x<b>"
    assert colours(page) == [ORANGE, BLUE]
    # Two tokens chose experts 0 and 1 in the first layer, 2 and 3 in the other.
    assert bars(page) == [
        [0.5, 0.5, 0, 0, 0, 0, 0, 0],
        [0, 0, 0.5, 0.5, 0, 0, 0, 0],
    ]
    server.go.set()
    ended(page)
    assert page.text("#text") == "def x<b>\n"
    assert bars(page) == LOAD
    assert "3 tokens" in page.text("#status")
    page.evaluate(
        "const layer = document.querySelector('#layer');"
        "layer.value = 1; layer.dispatchEvent(new Event('change'))"
    )
    assert colours(page)[0] == colours(page)[1] == GREEN
    assert server.bodies == [
        {
            "prompt": "def ",
            "max_new_tokens": 64,
            "temperature": 0.7,
            "top_k": 0,
            "top_p": 0.9,
            "seed": 0,
            "routing": True,
        }
    ]


def test_the_page_tells_what_it_serves(visit):
    page = visit()
    assert page.text("h1") == "demo"
    assert page.text("#facts") == (
        "MixtralCausalLM · version 3 · 2 sparse layers of 8 experts · "
        "vocabulary of 256 · 1.5 MB · float32"
    )


def test_stop_ends_the_request_and_keeps_the_text(server, visit):
    server.events = ANSWER
    page = visit()
    start(page)
    page.until(f"{SPANS}.length === 2")
    page.evaluate("document.querySelector('#stop').click()")
    ended(page)
    assert server.disconnected.wait(10)
    assert page.text("#status") == "Stopped."
    assert page.text("#error") == ""
    assert page.text("#text") == "def x<b>"


def test_a_keyboard_is_enough(server, visit):
    server.events = ANSWER
    page = visit()
    order = []
    for _ in range(7):
        page.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    options = ["max_new_tokens", "temperature", "top_k", "top_p", "seed"]
    assert order == ["prompt", *options, "start"]
    page.press("Enter")
    page.until(f"{SPANS}.length === 2")
    # The button that was pressed is disabled now; the other has the focus.
    assert page.evaluate("document.activeElement.id") == "stop"
    page.press("Escape")
    ended(page)
    assert page.text("#status") == "Stopped."
    assert page.evaluate("document.activeElement.id") == "start"

    server.go.set()
    page.press("Enter", control=True)
    page.until(f"{SPANS}.length === 3")
    ended(page)
    order = []
    for _ in range(5):
        page.press("Tab")
        order.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.localName"
            )
        )
        if order[-1] == "text":
            page.press("ArrowRight")
            details = page.text("#token-details")
            assert "Token 5" in details and '"<b>", id 102' in details
            assert "Layer 0: 1 0" in details and "Layer 1: 2 3" in details
    assert order == ["layer", "numbers", "text", "summary", "chart"]
    page.press("ArrowRight")
    assert page.text("#load-details").strip() == (
        "Layer 0, expert 1: 25.0\N{NO-BREAK SPACE}% of the choices; "
        "balanced: 12.5\N{NO-BREAK SPACE}%"
    )
    page.press("ArrowDown")
    assert (
        page.text("#load-details")
        .strip()
        .startswith("Layer 1, expert 1: 0.0\N{NO-BREAK SPACE}%")
    )


def test_errors_of_the_server_are_shown_in_words(server, visit):
    page = visit()
    server.refusal = 400, "Expected at most 512 tokens. Received: 600."
    start(page)
    ended(page)
    assert page.text("#error") == server.refusal[1]
    # The browser itself reports the status of a request that failed.
    assert len(page.problems) == 1 and "400" in page.problems.pop()

    server.refusal = None
    server.events = [ANSWER[0], ("error", {"error": "The deadline passed."})]
    start(page)
    page.until("document.querySelector('#error').textContent")
    assert page.text("#error") == "The deadline passed."
    assert page.text("#text") == "def x"

    server.events = [ANSWER[0], ("cut", None)]
    start(page)
    ended(page)
    assert page.text("#error") == "The server ended the answer too early."

    # A success clears the error.
    server.events = [ANSWER[0], done(reason="stop")]
    start(page)
    ended(page)
    assert page.text("#error") == ""
    assert page.text("#status").startswith("The model ended its text: 1 tok")


def test_a_server_with_a_token_asks_for_it(server, visit):
    server.token = "open sesame"
    page = visit()
    assert page.text("#error") == "Expected a bearer token."
    page.problems.clear()
    page.evaluate("document.querySelector('#token').focus()")
    page.write("open sesame")
    page.press("Enter")
    page.until("!document.querySelector('#form').hidden")
    assert page.text("h1") == "demo"
    assert page.evaluate("document.querySelector('#access').hidden")


def test_a_model_without_routing_has_no_colours(server, visit):
    server.description["signatures"] = ["serving_default", "generate"]
    server.events = [token(4, "x"), done()]
    page = visit()
    start(page)
    page.until(f"{SPANS}.length === 1")
    ended(page)
    assert server.bodies[0]["routing"] is False
    assert colours(page) == ["rgba(0, 0, 0, 0)"]
    hidden = "['#colouring', '#legend', '#load']"
    assert page.evaluate(
        f"{hidden}.every((id) => document.querySelector(id).hidden)"
    )


def test_a_classifier_is_refused_kindly(server, visit):
    server.description["task"] = "classifier"
    server.description["signatures"] = ["serving_default"]
    page = visit()
    assert page.evaluate("document.querySelector('#form').hidden")
    assert page.text("#status") == (
        "This model sorts inputs into classes; it does not write text. "
        "Send requests to :predict instead."
    )


def test_a_model_without_a_tokenizer_takes_token_ids(server, visit):
    server.description["tokenizer"] = None
    server.events = [done()]
    page = visit()
    page.evaluate("document.querySelector('#prompt').focus()")
    page.write("3, 1 4")
    start(page)
    ended(page)
    assert server.bodies[0]["token_ids"] == [3, 1, 4]


def test_a_character_of_several_tokens_stays_whole(server, visit):
    server.events = [
        token(4, "", [0, 1], [0, 1]),
        token(5, "é", [1, 2], [1, 2]),
        several(6, "aé", texts=["a", "", "é"]),
        # A server that tells no parts.
        several(9, "abc"),
        # A character that the end cuts: its mark comes without a token.
        token(12, "", [0, 1], [0, 1]),
        ("token", {"token_ids": [], "text": "?", "position": 13}),
        done(),
    ]
    page = visit()
    start(page)
    ended(page)
    assert page.text("#text") == "def éaéabc?"
    assert page.evaluate(f"{SPANS}.map((e) => e.textContent)") == [
        "é",
        "a",
        "é",
        "abc",
        "?",
    ]
    # The first choice of the first of its tokens.
    assert colours(page)[0] == ORANGE
    page.evaluate(f"{SPANS}[0].click()")
    details = page.text("#token-details")
    assert "Token 4" in details and "Token 5" in details


def test_more_than_eight_experts_show_their_numbers(server, visit):
    server.description["num_experts"] = [16, 16]
    server.events = [token(4, "x", [13, 1], [0, 1]), done()]
    page = visit()
    start(page)
    ended(page)
    content = f"getComputedStyle({SPANS}[0], '::after').content"
    assert page.evaluate(content) == '"13"'


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_of_experts_can_be_read(visit, scheme):
    page = visit(scheme=scheme)
    contrasts = page.evaluate(CONTRASTS)
    # WCAG 2.2, success criterion 1.4.3.
    assert len(contrasts) == 8 + 64 and min(contrasts) >= 4.5


# Ratio of relative luminances (WCAG 2.2) of text and background, for each of
# 8 and of 64 experts; a canvas turns any colour into sRGB.
CONTRASTS = """(async () => {
  const { paint } = await import("/experts.js");
  const canvas = new OffscreenCanvas(1, 1).getContext(
    "2d", { willReadFrequently: true },
  );
  const luminance = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => {
      v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const chip = document.createElement("span");
  chip.className = "chip";
  document.body.append(chip);
  return [8, 64].flatMap((count) => [...Array(count).keys()].map((expert) => {
    paint(chip, expert, count);
    const style = getComputedStyle(chip);
    const both = [style.color, style.backgroundColor].map(luminance);
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  }));
})()"""


def test_nothing_is_wider_than_a_phone(server, visit):
    server.description["num_experts"] = [64] * 12
    server.description["sparse_layers"] = list(range(12))
    experts = [[each, each + 1] for each in range(12)]
    long = "a_name_without_any_space_in_it" * 10
    server.events = [token(4, long, *experts), done()]
    page = visit(width=360, height=740)
    start(page)
    ended(page)
    assert (
        page.evaluate(
            "['html', '#text', '#chart'].filter((selector) => {"
            " const element = document.querySelector(selector);"
            " return element.scrollWidth > element.clientWidth; })"
        )
        == []
    )
    # WCAG 2.2, success criterion 2.5.8: at least 24 pixels for a finger.
    assert page.evaluate(
        "[...document.querySelectorAll('button, select, textarea')]"
        ".filter((e) => e.offsetParent).every((e) => e.offsetHeight >= 24)"
    )


def test_the_page_works_with_the_server_itself(browser, client):
    page = browser.open(client.server.address)
    page.until("!document.querySelector('#form').hidden")
    start(page)
    page.until("document.querySelector('#status').textContent.includes('64')")
    assert page.text("#error") == ""
    # The toy sends token t to experts t and t + 1 modulo 4.
    page.evaluate(f"{SPANS}[0].click()")
    details = page.text("#token-details")
    first = int(re.search(r"id (\d+)", details)[1])
    assert f"Layer 0: {first % 4} {(first + 1) % 4}" in details
    assert page.problems == []
    page.close()
