/** Bars of how often each expert was chosen, one small chart per layer. */

import { browse, make } from "./dom.js";
import { paint } from "./experts.js";

/**
 * Shows the load of the experts of each sparse layer.
 *
 * Args:
 *   container, details: elements for the bars and for the chosen bar.
 *   layers: array of {name, experts}, one for each sparse layer.
 */
export class LoadChart {
  #details;
  #hint;
  #layers;
  #bars;
  #chosen = null;
  // What the next frame shows.
  #load = null;
  // Choices of each expert by the tokens so far.
  #counts;

  constructor(container, details, layers) {
    this.#details = details;
    this.#hint = [...details.childNodes];
    this.#layers = layers;
    this.#bars = layers.map(({ experts }) =>
      Array.from({ length: experts }, (_, expert) => {
        const bar = make("span", { className: "item bar" }, make("span"));
        paint(bar, expert, experts);
        return bar;
      }),
    );
    container.replaceChildren(
      ...layers.map(({ name }, layer) =>
        make(
          "figure",
          {},
          make("figcaption", {}, name),
          make("div", { className: "bars" }, ...this.#bars[layer]),
        ),
      ),
    );
    browse(container, () => this.#bars, (bar) => {
      this.#chosen = bar;
      this.#describe();
    });
    this.start();
  }

  start() {
    this.#counts = this.#layers.map(({ experts }) => Array(experts).fill(0));
    this.#chosen = null;
    this.#details.replaceChildren(...this.#hint);
    this.show(this.#counts);
  }

  /** Counts the experts of more tokens: (tokens, layers, K), -1 for none. */
  count(routedExperts) {
    for (const token of routedExperts) {
      token.forEach((chosen, layer) => {
        for (const expert of chosen) {
          if (expert >= 0) this.#counts[layer][expert] += 1;
        }
      });
    }
    this.show(
      this.#counts.map((counts) => {
        const sum = counts.reduce((total, each) => total + each, 0);
        return counts.map((each) => (sum ? each / sum : 0));
      }),
    );
  }

  /** Shows shares: (layers, E), each layer's sum 1. */
  show(load) {
    // Once per frame: tokens may come faster.
    if (!this.#load) requestAnimationFrame(() => this.#draw());
    this.#load = load;
  }

  #draw() {
    const load = this.#load;
    this.#load = null;
    // One scale for all layers, so that their bars can be compared.
    const largest = Math.max(...load.flat(), 1e-9);
    this.#bars.forEach((bars, layer) => {
      const balanced = Math.min(1 / bars.length / largest, 1);
      bars[0].parentElement.style.setProperty("--balanced", balanced);
      bars.forEach((bar, expert) => {
        bar.dataset.load = load[layer][expert];
        bar.style.setProperty("--share", load[layer][expert] / largest);
      });
    });
    if (this.#chosen) this.#describe();
  }

  #describe() {
    const layer = this.#bars.findIndex((bars) => bars.includes(this.#chosen));
    const { name, experts } = this.#layers[layer];
    const expert = this.#bars[layer].indexOf(this.#chosen);
    const load = Number(this.#chosen.dataset.load);
    const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
    this.#details.replaceChildren(
      make(
        "p",
        {},
        make("b", {}, `${name}, expert ${expert}`),
        `: ${percent(load)} of the choices; balanced: ${percent(1 / experts)}`,
      ),
    );
  }
}
