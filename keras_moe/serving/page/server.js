/** Requests to the server: JSON answers and streams of server-sent events. */

export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Talks to one server, with its bearer token if it asks for one. */
export class Server {
  token = "";

  async json(path) {
    const response = await this.#request(path, {});
    return this.#whole(() => response.json());
  }

  /** Yields {name, data} for each event of the answer to a POST. */
  async *events(path, body, signal) {
    const response = await this.#request(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    const reader = response.body
      .pipeThrough(new TextDecoderStream())
      .getReader();
    let rest = "";
    try {
      for (;;) {
        const { value, done } = await this.#whole(() => reader.read());
        if (done) return;
        const blocks = (rest + value).split(/\r?\n\r?\n/);
        rest = blocks.pop();
        yield* blocks.map(parseEvent).filter(({ data }) => data !== undefined);
      }
    } finally {
      // Tells the server, if the reader of the events has had enough.
      reader.cancel().catch(() => {});
    }
  }

  async #request(path, options) {
    const headers = { ...options.headers };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    const response = await this.#whole(
      () => fetch(path, { ...options, headers }),
      "The server does not answer. Is it running?",
    );
    if (response.ok) return response;
    throw new ServerError(await reasonOf(response), response.status);
  }

  async #whole(receive, message = "The connection to the server broke.") {
    try {
      return await receive();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(message);
    }
  }
}

async function reasonOf(response) {
  try {
    const { error } = await response.json();
    if (error) return String(error);
  } catch {
    // Something between the page and the server answered.
  }
  return `The server answered ${response.status} ${response.statusText}.`;
}

function parseEvent(block) {
  const event = { name: "message", data: undefined };
  const lines = [];
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") event.name = value;
    if (field === "data") lines.push(value);
  }
  if (lines.length) event.data = JSON.parse(lines.join("\n"));
  return event;
}
