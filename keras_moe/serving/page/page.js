/** The page: what the visitor does, and what is shown for it. */

import { make } from "./dom.js";
import { fewExperts, paint } from "./experts.js";
import { LoadChart } from "./load.js";
import { Server, ServerError } from "./server.js";
import { TokenText } from "./text.js";

// The elements of the page by their ids.
const $ = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((each) => [each.id, each]),
);
const OPTIONS = ["max_new_tokens", "temperature", "top_k", "top_p", "seed"];
const ENDS = {
  stop: "The model ended its text",
  length: "The limit of new tokens is reached",
};
// What is said of a model that tells nothing about itself.
const UNKNOWN = { signatures: [], sparse_layers: [], num_experts: [] };
const server = new Server();

/** Returns the model of the address, `?model=NAME`, or the server's first. */
async function findModel() {
  const asked = new URLSearchParams(location.search).get("model");
  if (asked) return asked;
  const { models } = await server.json("v1/models");
  return models[0];
}

async function open() {
  $.main.ariaBusy = "true";
  try {
    const name = await findModel();
    const path = `v1/models/${encodeURIComponent(name)}`;
    const [description, status] = await Promise.all([
      server.json(`${path}:describe`),
      server.json(path),
    ]);
    const about = { ...UNKNOWN, ...description };
    introduce(name, about, status);
    const reason = whyNoText(about);
    $.form.hidden = Boolean(reason);
    if (reason) report(reason);
    else prepare(path, about);
  } catch (error) {
    fail(error);
  } finally {
    $.main.ariaBusy = "false";
  }
}

function introduce(name, about, { model_version_status: versions = [] }) {
  const serving = versions.find(({ state }) => state === "AVAILABLE");
  const experts = [...new Set(about.num_experts)].join(" or ");
  const layers = about.sparse_layers.length;
  const vocabulary = about.vocabulary_size;
  document.title = `${name} – keras_moe`;
  $.name.textContent = name;
  $.facts.textContent = [
    about.model,
    serving && `version ${serving.version}`,
    layers && `${layers} sparse layers of ${experts} experts`,
    vocabulary && `vocabulary of ${vocabulary.toLocaleString("en")}`,
    about.size_bytes && `${(about.size_bytes / 1e6).toFixed(1)} MB`,
    about.weights === "int8" ? "int8 weights" : about.dtype_policy,
  ]
    .filter(Boolean)
    .join(" · ");
}

function whyNoText({ task, signatures }) {
  if (task === "causal_lm" && signatures.includes("generate")) return "";
  const work = {
    classifier: "This model sorts inputs into classes; it does not write text.",
    seq2seq_lm: "This model turns one text into another; it continues none.",
  };
  const reason = work[task] ?? "This model does not write text.";
  return `${reason} Send requests to :predict instead.`;
}

/** Makes the form work for one model. */
function prepare(path, about) {
  const known = about.signatures.includes("router_stats");
  const sparse = known ? about.sparse_layers : [];
  const layers = sparse.map((block, index) => ({
    name: `Layer ${block}`,
    experts: about.num_experts[index],
  }));
  const routing = layers.length > 0;
  const text = new TokenText($.text, $["token-details"], layers);
  const load = new LoadChart($.chart, $["load-details"], layers);
  $.colouring.hidden = $.legend.hidden = !routing;
  $.layer.replaceChildren(
    ...layers.map(({ name }, index) => new Option(name.toLowerCase(), index)),
  );
  if (!about.tokenizer) {
    $["prompt-label"].textContent = "Prompt, as token ids";
    $.prompt.value = "1 2 3";
  }

  function showLayer() {
    const count = layers[$.layer.value].experts;
    text.showLayer(Number($.layer.value));
    $.experts.replaceChildren(
      ...Array.from({ length: count }, (_, expert) => {
        const chip = make("li", { className: "chip" }, `${expert}`);
        paint(chip, expert, count);
        return chip;
      }),
    );
  }
  $.numbers.onchange = () => {
    $.text.classList.toggle("numbered", $.numbers.checked);
  };
  $.layer.onchange = showLayer;
  if (routing) {
    const most = Math.max(...layers.map(({ experts }) => experts));
    $.legend.open = most <= 32;
    $.numbers.checked = !fewExperts(most);
    $.numbers.onchange();
    showLayer();
  }

  let running = null;

  $.form.onsubmit = async (event) => {
    event.preventDefault();
    if (running) return;
    const body = { ...promptOf(about), ...optionsOf(), routing };
    running = new AbortController();
    busy(true);
    text.start($.prompt.value);
    load.start();
    caption("Choices of the new tokens so far.");
    $.answer.hidden = false;
    $.load.hidden = !routing;
    const events = server.events(`${path}:stream`, body, running.signal);
    try {
      await follow(events, text, load);
    } catch (error) {
      if (error.name === "AbortError") report("Stopped.");
      else fail(error);
    } finally {
      running = null;
      busy(false);
    }
  };
  $.stop.onclick = () => running?.abort();
  document.onkeydown = (event) => {
    if (event.key === "Escape") running?.abort();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      // Or the same key would press the button that gets the focus now.
      event.preventDefault();
      $.form.requestSubmit();
    }
  };
}

function promptOf({ tokenizer }) {
  const prompt = $.prompt.value;
  if (tokenizer) return { prompt };
  return { token_ids: prompt.split(/[\s,]+/).filter(Boolean).map(Number) };
}

function optionsOf() {
  return Object.fromEntries(
    OPTIONS.map((name) => [name, $[name].valueAsNumber]),
  );
}

/** Shows the events of one answer as they come. */
async function follow(events, text, load) {
  const begin = performance.now();
  let count = 0;
  for await (const { name, data } of events) {
    if (name === "error") throw new ServerError(data.error);
    if (name === "token") {
      if (!count) report("The answer is coming.");
      count += data.token_ids.length;
      text.append(data);
      load.count(data.routed_experts ?? []);
    }
    if (name === "done") {
      const seconds = (performance.now() - begin) / 1000;
      if (data.expert_load) {
        load.show(data.expert_load);
        caption("Choices of prompt and continuation.");
      }
      report(
        `${ENDS[data.finish_reason] ?? "Done"}: ${count} tokens, ` +
          `${(count / seconds).toFixed(0)} per second.`,
      );
      return;
    }
  }
  throw new ServerError("The server ended the answer too early.");
}

function busy(is) {
  const { activeElement } = document;
  $.start.disabled = is;
  $.stop.disabled = !is;
  $.text.ariaBusy = $["load-details"].ariaBusy = `${is}`;
  // A disabled button would lose the focus.
  if (is && activeElement === $.start) $.stop.focus();
  if (!is && activeElement === $.stop) $.start.focus();
  if (is) report("Waiting for the first token.");
}

function report(message) {
  $.status.textContent = message;
  $.error.textContent = "";
}

function caption(text) {
  $["load-caption"].textContent = text;
}

function fail(error) {
  const expected = error instanceof ServerError;
  if (expected && error.status === 401) $.access.hidden = false;
  const message = expected ? error.message : `This page failed: ${error}`;
  report("");
  $.error.textContent = message;
  if (!expected) console.error(error);
}

$.access.onsubmit = (event) => {
  event.preventDefault();
  server.token = $.token.value;
  $.access.hidden = true;
  report("");
  open();
};

$.form.hidden = true;
open();
