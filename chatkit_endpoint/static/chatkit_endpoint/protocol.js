// The ChatKit server protocol: one endpoint, JSON in, JSON or server-sent events out.

/** What went wrong on the way: `status` is the HTTP status, 0 when the server was not reached. */
export class RequestError extends Error {
  /**
   * @param {number} status
   * @param {string} [message] the server's own words, already localised; may be empty
   * @param {string} [code]
   */
  constructor(status, message = '', code = 'http') {
    super(message);
    this.name = 'RequestError';
    this.status = status;
    this.code = code;
  }
}

/** Cuts a stream of text into the `data` of its server-sent events, wherever the chunks break. */
export class EventParser {
  #buffer = '';
  /** @type {string[]} */
  #data = [];

  /**
   * @param {string} text
   * @returns {string[]} the data of every event that `text` completed
   */
  push(text) {
    this.#buffer += text;
    const complete = [];
    for (let line = this.#takeLine(); line !== null; line = this.#takeLine()) {
      if (line === '') {
        if (this.#data.length) complete.push(this.#data.join('\n'));
        this.#data = [];
      } else if (line === 'data' || line.startsWith('data:')) {
        this.#data.push(line.slice(5).replace(/^ /, ''));
      }
    }
    return complete;
  }

  #takeLine() {
    const end = this.#buffer.search(/[\r\n]/);
    if (end < 0) return null;
    const returned = this.#buffer[end] === '\r';
    // A return at the very end may be the first half of \r\n: wait for what follows.
    if (returned && end + 1 === this.#buffer.length) return null;
    const line = this.#buffer.slice(0, end);
    this.#buffer = this.#buffer.slice(end + (returned && this.#buffer[end + 1] === '\n' ? 2 : 1));
    return line;
  }
}

/** Speaks the protocol to `options.api`. */
export class Protocol {
  /** @param {{url: string, fetch?: typeof fetch}} api */
  constructor(api) {
    this.url = api.url;
    this.fetch = api.fetch ?? ((input, init) => fetch(input, init));
  }

  /**
   * @param {string} type
   * @param {object} params
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   * @throws {RequestError}
   */
  async request(type, params, signal) {
    const response = await this.#post(type, params, 'application/json', signal);
    return await survive(() => response.json(), signal);
  }

  /**
   * @param {string} type
   * @param {object} params
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<any>} ThreadStreamEvents, each as soon as it is complete
   * @throws {RequestError}
   */
  async *stream(type, params, signal) {
    const response = await this.#post(type, params, 'text/event-stream', signal);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    const decoder = new TextDecoder();
    const parser = new EventParser();
    try {
      for (;;) {
        const { done, value } = await survive(() => reader.read(), signal);
        if (done) return;
        for (const data of parser.push(decoder.decode(value, { stream: true }))) {
          yield JSON.parse(data);
        }
      }
    } finally {
      // A reader that stops listening lets the server know. Already closed or broken is fine too.
      reader.cancel().catch(() => {});
    }
  }

  /**
   * @param {string} type
   * @param {object} params
   * @param {string} expected
   * @param {AbortSignal} [signal]
   */
  async #post(type, params, expected, signal) {
    const response = await survive(
      () =>
        this.fetch(this.url, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', Accept: expected },
          body: JSON.stringify({ type, params }),
          signal,
        }),
      signal,
    );
    if (response.ok) {
      if (response.headers.get('Content-Type')?.startsWith(expected)) return response;
      // A login wall that redirects answers a fetch with its page and status 200.
      throw new RequestError(response.redirected ? 401 : 502);
    }
    const body = await response.json().catch(() => null);
    throw new RequestError(response.status, body?.error?.message, body?.error?.code);
  }
}

/**
 * Do `step`, which may fail because the network did: that becomes a RequestError of status 0.
 *
 * @template T
 * @param {() => Promise<T>} step
 * @param {AbortSignal} [signal]
 */
async function survive(step, signal) {
  try {
    return await step();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestError(0, '', 'network');
  }
}
