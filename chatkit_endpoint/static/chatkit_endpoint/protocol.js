// The ChatKit server protocol: one endpoint, JSON in, JSON or server-sent events out.

const JSON_TYPE = 'application/json';

/** What went wrong: `status` is HTTP's, 0 where the server was not reached; a message is localised. */
export class RequestError extends Error {
  name = 'RequestError';

  constructor(status, message = '', code = 'http') {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Speaks the protocol to `options.api`. Its methods throw RequestError. */
export class Protocol {
  #api;

  constructor(api) {
    this.#api = { fetch: (input, init) => fetch(input, init), ...api };
  }

  async request(type, params, signal) {
    return json(await this.#post(type, params, JSON_TYPE, signal), signal);
  }

  /** ThreadStreamEvents, each as soon as it is complete. */
  async *stream(type, params, signal) {
    const response = await this.#post(type, params, 'text/event-stream', signal);
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = '';
    let data = [];
    try {
      for (;;) {
        const { done, value } = await survive(() => reader.read(), signal);
        if (done) return;
        // A return at the very end may be the first half of \r\n: wait for what follows.
        const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
        rest = lines.pop() ?? '';
        for (const line of lines) {
          if (/^data(:|$)/.test(line)) data.push(line.slice(5).replace(/^ /, ''));
          if (line || !data.length) continue;
          yield JSON.parse(data.join('\n'));
          data = [];
        }
      }
    } finally {
      // A reader that stops listening lets the server know. Already closed or broken is fine too.
      reader.cancel().catch(() => {});
    }
  }

  /** Upload a file by `api.uploadStrategy`; returns its ChatKit attachment. */
  async upload(file, mime_type, signal) {
    const { uploadStrategy: strategy } = this.#api;
    const body = new FormData();
    body.append('file', file);
    if (strategy?.type === 'direct') return json(await this.#fetch(strategy.uploadUrl, { body, signal }), signal);
    const params = { name: file.name, size: file.size, mime_type };
    const attachment = await this.request('attachments.create', params, signal);
    const { url, ...init } = attachment.upload_descriptor;
    // What is put goes to a storage, which wants the bytes alone.
    await this.#fetch(url, { ...init, body: init.method === 'PUT' ? file : body, signal });
    return attachment;
  }

  #post(type, params, Accept, signal) {
    const headers = { 'Content-Type': JSON_TYPE, Accept };
    return this.#fetch(this.#api.url, { headers, body: JSON.stringify({ type, params }), signal }, Accept);
  }

  async #fetch(url, init, expected = '') {
    const response = await survive(() => this.#api.fetch(url, { method: 'POST', ...init }), init.signal);
    if (!response.ok) {
      const { error } = (await response.json().catch(() => null)) ?? {};
      throw new RequestError(response.status, error?.message, error?.code);
    }
    if (`${response.headers.get('Content-Type')}`.startsWith(expected)) return response;
    // A login wall that redirects answers a fetch with its page and status 200.
    throw new RequestError(response.redirected ? 401 : 502);
  }
}

function json(response, signal) {
  return survive(() => response.json(), signal);
}

/** Do `step`, which may fail because the network did: that becomes a RequestError of status 0. */
async function survive(step, signal) {
  try {
    return await step();
  } catch (error) {
    throw signal?.aborted ? error : new RequestError(0, '', 'network');
  }
}
