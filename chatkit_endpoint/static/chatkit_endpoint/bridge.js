// Reports what a visitor lives through: the element's events, and how long its answers take.
// Ids, names, codes and numbers only: never what anybody wrote.

const ID = /^[A-Za-z0-9_.:-]{1,128}$/;
const CODE = /^[A-Za-z0-9_.-]{1,64}$/;

/** Events that say no more than that they happened. */
const BARE = /** @type {const} */ ([
  'chatkit.ready',
  'chatkit.history.open',
  'chatkit.history.close',
]);

/**
 * @typedef {import('@openai/chatkit').OpenAIChatKit} OpenAIChatKit
 * @typedef {import('./reporter.js').Report} Report
 * @typedef {{start: number, requestId: string | null, response?: number, text?: number}} Clock
 *   moments by `performance.now()`
 */

export class Bridge {
  #add;
  /** Whether the element tells of an answer's first text; else its start has to stand for it. */
  tellsFirstText = false;
  /** @type {string | null} */
  #thread = null;
  /** @type {Clock | null} of the answer that the visitor waits for */
  #clock = null;

  /**
   * @param {OpenAIChatKit} element
   * @param {(report: Report) => void} add
   */
  constructor(element, add) {
    this.#add = add;
    for (const name of BARE) element.addEventListener(name, () => this.report(name));
    element.addEventListener('chatkit.log', ({ detail }) => this.#hear(detail));
    element.addEventListener('chatkit.error', ({ detail }) => this.#fail(detail?.error));
    element.addEventListener('chatkit.response.start', () => this.#startResponse());
    element.addEventListener('chatkit.response.end', () => this.#endResponse());
    element.addEventListener('chatkit.thread.change', ({ detail }) => {
      this.#thread = detail?.threadId ?? null;
      this.report('chatkit.thread.change');
    });
    for (const name of /** @type {const} */ (['chatkit.thread.load.start', 'chatkit.thread.load.end'])) {
      element.addEventListener(name, ({ detail }) => {
        this.#thread = detail?.threadId ?? this.#thread;
        this.report(name);
      });
    }
    element.addEventListener('chatkit.tool.change', ({ detail }) => {
      this.report('chatkit.tool.change', { tool_id: id(detail?.toolId) });
    });
    for (const name of /** @type {const} */ (['chatkit.effect', 'chatkit.deeplink'])) {
      element.addEventListener(name, ({ detail }) => this.report(name, { name: code(detail?.name) }));
    }
  }

  /**
   * @param {string} name
   * @param {Record<string, string | number | undefined>} [data] what is undefined is left out
   */
  report(name, data = {}) {
    const known = Object.entries(data).filter(([, value]) => value !== undefined);
    const thread = id(this.#thread);
    this.#add({
      name,
      ...(known.length && { data: /** @type {Record<string, string | number>} */ (Object.fromEntries(known)) }),
      ...(thread && { thread_id: thread }),
    });
  }

  /** An answer begins to stream. @param {string | null} requestId */
  noteStream(requestId) {
    if (!this.#clock) return;
    // The answer that the clock was started for never came: this one is another's.
    if (this.#clock.requestId !== null && this.#clock.response === undefined) this.#clock = null;
    else this.#clock.requestId ??= requestId;
  }

  /** @param {{name: string, data?: Record<string, unknown>}} log */
  #hear({ name, data = {} }) {
    const item_id = id(data.itemId ?? data.item_id);
    if (name === 'composer.submit') {
      this.#startClock();
      this.report(name);
    } else if (name === 'message.action') {
      if (data.action === 'retry') this.#startClock();
      this.report(name, { action: code(data.action), item_id });
    } else if (name === 'response.first_text') {
      if (this.#clock) this.#clock.text ??= performance.now();
      this.report(name, { item_id });
    } else {
      this.report('chatkit.log', { log: code(name) });
    }
  }

  #startClock() {
    this.#clock = { start: performance.now(), requestId: null };
  }

  #startResponse() {
    if (this.#clock) this.#clock.response ??= performance.now();
    this.report('chatkit.response.start');
  }

  #endResponse() {
    const end = performance.now();
    this.report('chatkit.response.end');
    if (!this.#clock) return;
    const { start, requestId, response, text } = this.#clock;
    this.#clock = null;
    const first = text ?? (this.tellsFirstText ? undefined : response);
    this.report('client.timing', {
      request_id: id(requestId),
      ttft_ms: first && ms(first - start),
      duration_ms: first && ms(end - first),
      total_ms: ms(end - start),
    });
  }

  /** @param {Error & {code?: unknown, status?: unknown} | undefined} error */
  #fail(error) {
    // No answer will end.
    if (this.#clock?.response === undefined) this.#clock = null;
    this.report('chatkit.error', {
      code: code(error?.code),
      name: code(error?.name),
      status: typeof error?.status === 'number' && error.status >= 0 ? error.status : undefined,
    });
  }
}

/** @param {unknown} value @returns {string | undefined} */
function id(value) {
  return typeof value === 'string' && ID.test(value) ? value : undefined;
}

/** @param {unknown} value @returns {string | undefined} */
function code(value) {
  return typeof value === 'string' && CODE.test(value) ? value : undefined;
}

/** To a tenth. @param {number} duration */
function ms(duration) {
  return Math.round(duration * 10) / 10;
}
