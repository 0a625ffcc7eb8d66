/** The text of an answer, token by token. */

import { browse, make } from "./dom.js";
import { paint } from "./experts.js";

/**
 * Shows a prompt and its continuation, coloured by the experts of one layer.
 *
 * Args:
 *   container, details: elements for the text and for the chosen token.
 *   layers: array of {name, experts}, one for each sparse layer.
 */
export class TokenText {
  #container;
  #details;
  #hint;
  #layers;
  #layer = 0;
  #items = [];
  // Item -> the tokens of its text.
  #tokens = new Map();
  // Tokens that have not made a whole character yet.
  #pending = [];

  constructor(container, details, layers) {
    this.#container = container;
    this.#details = details;
    this.#hint = [...details.childNodes];
    this.#layers = layers;
    browse(container, () => [this.#items], (item) => this.#describe(item));
  }

  start(prompt) {
    this.#items = [];
    this.#tokens.clear();
    this.#pending = [];
    this.#container.replaceChildren(
      make("span", { className: "prompt" }, prompt),
    );
    this.#details.replaceChildren(...this.#hint);
  }

  /**
   * Appends what an event `token` brought.
   *
   * `texts` has the part of each token, empty where a character is not whole.
   * Without it, the tokens of the event share one part.
   */
  append({ token_ids: ids, text, texts, position, routed_experts: routed }) {
    const whole = [...ids.slice(1).map(() => ""), text];
    (texts?.length ? texts : whole).forEach((part, index) => {
      if (index < ids.length) {
        this.#pending.push({
          id: ids[index],
          position: position + index,
          experts: routed?.[index] ?? [],
        });
      }
      if (part) this.#add(part, this.#pending.splice(0));
    });
  }

  /** Colours the text by the experts of another layer. */
  showLayer(layer) {
    this.#layer = layer;
    this.#items.forEach((item) => this.#paint(item));
  }

  #add(text, tokens) {
    const box = this.#container;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
    const item = make("span", { className: "item" }, text);
    item.classList.toggle("newline", text === "\n");
    this.#items.push(item);
    this.#tokens.set(item, tokens);
    this.#paint(item);
    box.append(item);
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  #paint(item) {
    const [first] = this.#tokens.get(item)[0]?.experts[this.#layer] ?? [];
    paint(item, first, this.#layers[this.#layer]?.experts);
  }

  #describe(item) {
    const parts = this.#tokens.get(item).map((token) => [
      make(
        "p",
        {},
        make("b", {}, `Token ${token.position}`),
        `: ${JSON.stringify(item.textContent)}, id ${token.id}`,
      ),
      make(
        "ul",
        { className: "choices" },
        ...token.experts.map((chosen, layer) => this.#choices(chosen, layer)),
      ),
    ]);
    this.#details.replaceChildren(...parts.flat());
  }

  #choices(chosen, layer) {
    const { name, experts } = this.#layers[layer];
    const chips = chosen.map((expert) => {
      const label = expert < 0 ? "none" : `${expert}`;
      const chip = make("span", { className: "chip" }, label);
      paint(chip, expert, experts);
      return chip;
    });
    return make("li", {}, `${name}: `, ...chips.flatMap((chip) => [chip, " "]));
  }
}
