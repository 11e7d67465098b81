// Sends what the page reports to the server: in batches, again where that failed, never in the way.

/** What the server takes at once, what is collected before it is sent early, what is kept at most. */
const AT_ONCE = 40;
const ENOUGH = 20;
const KEPT = 200;
/** ms */
const COLLECT = 2000;
const PATIENCE = 2000;
const TRIES = 5;
const TRY_AGAIN = [408, 429];

/**
 * @typedef {{name: string, data?: Record<string, string | number>, thread_id?: string,
 *   occurred_at?: number}} Report
 */

export class Reporter {
  /** @type {Report[]} */
  #waiting = [];
  #url;
  #sessionId;
  #fetch;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Not before then, by `performance.now()`, for the server or the network asked for a pause. */
  #pausedUntil = 0;
  #failures = 0;
  #sending = false;
  #lastMoment = 0;

  /**
   * @param {string} url
   * @param {string} sessionId
   * @param {typeof fetch} fetch
   */
  constructor(url, sessionId, fetch) {
    this.#url = url;
    this.#sessionId = sessionId;
    this.#fetch = fetch;
    // The last moments in which a browser promises to send anything.
    document.addEventListener('visibilitychange', () => {
      const isPaused = performance.now() < this.#pausedUntil;
      if (document.visibilityState === 'hidden' && !isPaused) this.#sendAll();
    });
    addEventListener('pagehide', () => this.#sendAll());
  }

  /** @param {Report} report */
  add(report) {
    // No two alike: the server takes what happened at the same time for a repetition.
    this.#lastMoment = Math.max(Date.now(), this.#lastMoment + 1);
    this.#waiting.push({ ...report, occurred_at: this.#lastMoment });
    this.#trim();
    this.#schedule(this.#waiting.length >= ENOUGH ? 0 : COLLECT);
  }

  /** The oldest go first. */
  #trim() {
    this.#waiting.splice(0, this.#waiting.length - KEPT);
  }

  /** @param {number} delay */
  #schedule(delay) {
    if (delay > 0 && this.#timer !== undefined) return;
    clearTimeout(this.#timer);
    const pause = this.#pausedUntil - performance.now();
    this.#timer = setTimeout(() => this.#sendNext(), Math.max(delay, pause));
  }

  async #sendNext() {
    this.#timer = undefined;
    if (this.#sending || !this.#waiting.length) return;
    this.#sending = true;
    await this.#send(this.#waiting.splice(0, AT_ONCE));
    this.#sending = false;
    if (this.#waiting.length) this.#schedule(this.#waiting.length >= ENOUGH ? 0 : COLLECT);
  }

  #sendAll() {
    while (this.#waiting.length) this.#send(this.#waiting.splice(0, AT_ONCE));
  }

  /** @param {Report[]} batch */
  async #send(batch) {
    const pause = await this.#post(batch);
    if (pause === null) {
      this.#failures = 0;
      return;
    }
    this.#failures += 1;
    this.#pausedUntil = performance.now() + pause;
    if (this.#failures < TRIES) this.#waiting.unshift(...batch);
    else this.#failures = 0;
    this.#trim();
    if (this.#waiting.length) this.#schedule(COLLECT);
  }

  /**
   * @param {Report[]} events
   * @returns {Promise<number | null>} ms to wait before the next try; null when there need be none
   */
  async #post(events) {
    const backoff = PATIENCE * 2 ** this.#failures * (1 + Math.random() / 2);
    try {
      const response = await this.#fetch(this.#url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ session_id: this.#sessionId, events }),
        keepalive: true,
        priority: 'low',
      });
      // What the server won't ever take is not worth another try.
      if (response.status < 500 && !TRY_AGAIN.includes(response.status)) return null;
      return retryAfter(response) ?? backoff;
    } catch {
      return backoff; // Offline, or the page's end.
    }
  }
}

/** @param {Response} response @returns {number | null} ms */
function retryAfter(response) {
  const header = response.headers.get('Retry-After');
  if (!header) return null;
  const seconds = Number(header);
  const pause = Number.isNaN(seconds) ? Date.parse(header) - Date.now() : seconds * 1000;
  return pause >= 0 ? pause : null;
}
