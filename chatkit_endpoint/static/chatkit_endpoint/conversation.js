// What happens: the visitor's wishes become requests, the server's events become the thread, and
// the view and the page are told.

import { Protocol, RequestError } from './protocol.js';
import { Thread, plainText } from './thread.js';

/** Items and threads asked for at a time. */
const ITEMS = 100;
const THREADS = 20;

/** The server would refuse the same message again: its text goes back to be changed. */
const REFUSED = [400, 404, 413];

/**
 * @typedef {import('./thread.js').Item} Item
 * @typedef {{text?: string, content?: any[], reply?: string, attachments?: {id: string}[],
 *   toolChoice?: {id: string}, model?: string}} Message
 * @typedef {{id: string, input: any}} Unsent a message that the server has not confirmed yet
 * @typedef {{unsent: Unsent | null, started: boolean, texted: boolean, failed: boolean}} Turn
 * @typedef {HTMLElement & {labels: Record<string, string>, loginUrl: string,
 *   emit: (name: string, detail?: object) => void}} Host
 */

export class Conversation {
  #thread = new Thread();
  /** @type {Protocol} */
  #protocol;
  /** @type {import('./view.js').View} */
  view;
  /** @type {AbortController | null} the request whose outcome the reader waits for */
  #current = null;
  /** @type {Promise<void>} resolved when that request's effects are shown */
  #settled = Promise.resolve();
  /** Ends when the panel of earlier conversations closes. */
  #listing = new AbortController();
  /** @type {string | undefined} */
  #threadsAfter;

  /** @param {Host} host the element: its words, and the events it sends */
  constructor(host) {
    this.host = host;
  }

  get isBusy() {
    return this.#current !== null;
  }

  /** @param {any} options ChatKitOptions @param {import('./view.js').View} view */
  use(options, view) {
    const draft = this.view?.composer.text ?? '';
    this.#protocol = new Protocol(options.api);
    this.view = view;
    view.showThread(this.#thread);
    view.composer.text = draft;
    view.setBusy(this.isBusy);
  }

  // ---- which thread ----

  /** @param {string | null} threadId the thread to start with */
  async begin(threadId) {
    if (!threadId) return;
    try {
      await this.#load(threadId);
    } catch (error) {
      // A remembered thread may be gone or another login's: that is no error, just a new start.
      if (error instanceof RequestError && error.status === 404) this.#show(new Thread(), threadId);
      else this.#fail(error, () => this.begin(threadId));
    }
  }

  /** Leave this thread, and the answer it may be writing. @param {string | null} threadId */
  async switchTo(threadId) {
    this.stop();
    await this.#settled;
    this.hideHistory();
    if (threadId === null) this.#show(new Thread());
    else await this.#load(threadId).catch((error) => this.#fail(error, () => this.switchTo(threadId)));
    this.view.composer.offerFocus();
  }

  async reload() {
    if (this.#thread.id) await this.#load(this.#thread.id);
  }

  /** @param {string} threadId @throws {RequestError} */
  async #load(threadId) {
    await this.#exclusively(async (signal) => {
      this.host.emit('thread.load.start', { threadId });
      this.view.setLoading();
      try {
        const thread = new Thread();
        const found = await this.#protocol.request('threads.get_by_id', { thread_id: threadId }, signal);
        thread.describe(found);
        thread.put(...found.items.data);
        for (let page = found.items; page.has_more && page.after; ) {
          const params = { thread_id: threadId, order: 'asc', limit: ITEMS, after: page.after };
          page = await this.#protocol.request('items.list', params, signal);
          thread.put(...page.data);
        }
        this.#show(thread);
        this.host.emit('thread.load.end', { threadId });
      } finally {
        this.view.describe(this.#thread);
        this.view.setBusy(false);
      }
    });
  }

  /** @param {Thread} thread @param {string | null} [before] the thread the page believes to be open */
  #show(thread, before = this.#thread.id) {
    this.#thread = thread;
    this.view.showThread(thread);
    if (thread.id !== before) this.host.emit('thread.change', { threadId: thread.id });
  }

  showHistory() {
    if (this.view.history.isOpen) return;
    this.view.toggleHistory(true);
    this.#listing = new AbortController();
    this.#threadsAfter = undefined;
    this.host.emit('history.open');
    this.listThreads();
  }

  hideHistory() {
    if (!this.view.history.isOpen) return;
    this.#listing.abort();
    this.view.toggleHistory(false);
    this.host.emit('history.close');
  }

  async listThreads() {
    const { history } = this.view;
    const { signal } = this.#listing;
    try {
      const params = { limit: THREADS, order: 'desc', after: this.#threadsAfter };
      const page = await this.#protocol.request('threads.list', params, signal);
      this.#threadsAfter = page.after;
      history.append(page.data, page.has_more, this.#thread.id);
    } catch (error) {
      if (signal.aborted) return;
      history.say(this.#explain(error));
      this.host.emit('error', { error });
    }
  }

  // ---- messages and answers ----

  /** @param {Message} message */
  submit({ text, content, reply, attachments = [], toolChoice, model }) {
    this.#log('composer.submit');
    this.view.composer.text = '';
    return this.#send({
      content: content ?? [{ type: 'input_text', text }],
      attachments: attachments.map(({ id }) => id),
      quoted_text: reply,
      inference_options: { tool_choice: toolChoice, model },
    });
  }

  /** Abort what is on its way. */
  stop() {
    this.#current?.abort();
  }

  /** @param {any} input UserMessageInput */
  async #send(input) {
    // Shown at once, under a name of our own until the server gives it one.
    const unsent = { id: `unsent-${performance.now()}`, input };
    this.#showUnsent(unsent, false);
    const thread_id = this.#thread.id;
    if (thread_id) await this.#respond('threads.add_user_message', { input, thread_id }, unsent);
    else await this.#respond('threads.create', { input }, unsent);
  }

  async #answerAgain() {
    const asked = this.#thread.lastUserMessage();
    if (!asked) return;
    this.#log('message.action', { action: 'retry', itemId: asked.id });
    this.#thread.truncateAfter(asked.id).forEach((id) => this.view.removeItem(id));
    await this.#respond('threads.retry_after_item', { thread_id: this.#thread.id, item_id: asked.id });
  }

  /**
   * One streamed request, from its start to what the reader is told of its end.
   *
   * @param {string} type
   * @param {object} params
   * @param {Unsent | null} unsent
   */
  async #respond(type, params, unsent = null) {
    /** @type {Turn} */
    const turn = { unsent, started: false, texted: false, failed: false };
    await this.#exclusively(async (signal) => {
      this.view.clearNotices();
      this.view.setBusy(true);
      this.view.scrollToEnd();
      try {
        for await (const event of this.#protocol.stream(type, params, signal)) this.#take(event, turn);
        if (this.#thread.open.size && !turn.failed) {
          throw new RequestError(0, this.host.labels.interrupted, 'interrupted');
        }
      } catch (error) {
        if (signal.aborted) this.#stopped(turn);
        else this.#failTurn(error, turn);
      } finally {
        this.#thread.closeItems().forEach((item) => this.view.showItem(item, false));
        this.view.setBusy(false);
        if (turn.started) this.host.emit('response.end');
      }
    });
  }

  /** @param {any} event a ThreadStreamEvent @param {Turn} turn */
  #take(event, turn) {
    const before = this.#thread.id;
    const id = this.#thread.apply(event);
    if (this.#thread.id !== before) this.host.emit('thread.change', { threadId: this.#thread.id });
    switch (event.type) {
      case 'thread.created':
      case 'thread.updated':
        return this.view.describe(this.#thread);
      case 'progress_update':
        return this.view.setStatus(event.text);
      case 'stream_options':
        return this.view.setBusy(true, event.stream_options.allow_cancel);
      case 'client_effect':
        return this.host.emit('effect', { name: event.name, data: event.data });
      case 'notice':
        return this.view.notice(event);
      case 'error':
        return this.#failTurn(new RequestError(200, event.message, event.code), turn, event.allow_retry);
    }
    if (id) this.#takeItem(id, event, turn);
  }

  /** @param {string} id @param {any} event @param {Turn} turn */
  #takeItem(id, event, turn) {
    const item = this.#thread.items.get(id);
    const open = this.#thread.open.has(id);
    if (!item) return this.view.removeItem(id);
    if (item.type === 'user_message') {
      if (turn.unsent) this.#forget(turn.unsent);
      turn.unsent = null;
    } else if (!turn.started) {
      turn.started = true;
      this.host.emit('response.start');
    }
    this.view.showItem(item, open);
    if (item.type === 'workflow') this.view.setStatus(open ? null : '');
    if (item.type !== 'assistant_message' || !plainText(item)) return;
    this.view.setStatus(null);
    if (!turn.texted) this.#log('response.first_text', { itemId: id });
    turn.texted = true;
    if (event.type === 'thread.item.done') this.view.announce(plainText(item));
  }

  /** @param {Turn} turn */
  #stopped({ unsent }) {
    if (unsent) this.#takeBack(unsent);
    else this.view.note(this.host.labels.stopped);
  }

  /** @param {any} error @param {Turn} turn @param {boolean} [retry] */
  #failTurn(error, turn, retry = true) {
    const { unsent } = turn;
    turn.failed = true;
    if (unsent && REFUSED.includes(error.status)) {
      this.#takeBack(unsent);
      this.#fail(error);
    } else if (unsent) {
      this.#showUnsent(unsent, true);
      this.#fail(error, () => {
        this.#forget(unsent);
        this.#send(unsent.input);
      });
    } else {
      this.#fail(error, retry ? () => this.#answerAgain() : undefined);
    }
  }

  /** Tell the reader and the page. @param {any} error @param {() => void} [retry] */
  #fail(error, retry) {
    // Anything else is a mistake of ours, which should not pass quietly.
    if (!(error instanceof RequestError)) reportError(error);
    const signIn = error.status === 401 ? this.host.loginUrl : undefined;
    this.view.notice({ level: 'danger', message: this.#explain(error), retry, signIn });
    this.host.emit('error', { error });
  }

  /** @param {any} error */
  #explain(error) {
    const { labels } = this.host;
    if (error.status === 401) return labels.expired;
    if (error.code === 'network') return labels.offline;
    return (error instanceof RequestError && error.message) || labels.failed;
  }

  /** @param {Unsent} message @param {boolean} unsent whether to say that it did not get through */
  #showUnsent({ id, input }, unsent) {
    const item = { ...input, id, type: 'user_message', attachments: [], unsent };
    this.#thread.put(item);
    this.view.showItem(item, false);
  }

  /** @param {Unsent} unsent */
  #forget({ id }) {
    this.#thread.items.delete(id);
    this.view.removeItem(id);
  }

  /** A message that never became part of the thread returns to the composer. @param {Unsent} unsent */
  #takeBack(unsent) {
    this.#forget(unsent);
    this.view.composer.text ||= plainText(unsent.input);
    this.view.describe(this.#thread);
  }

  /** @param {Item} item */
  async copy(item) {
    await navigator.clipboard.writeText(plainText(item));
    this.view.announce(this.host.labels.copied);
    this.#log('message.action', { action: 'copy', itemId: item.id });
  }

  /** @param {string} name @param {object} [data] ids, names, codes, numbers: never what was written */
  #log(name, data) {
    this.host.emit('log', { name, data: { threadId: this.#thread.id, ...data } });
  }

  /** Do the one thing that may be going on. Aborted is an end like any other.
   * @param {(signal: AbortSignal) => Promise<void>} work */
  async #exclusively(work) {
    const controller = new AbortController();
    this.#current = controller;
    const done = work(controller.signal).finally(() => {
      if (this.#current === controller) this.#current = null;
    });
    this.#settled = done.catch(() => {});
    await done.catch((error) => {
      if (!controller.signal.aborted) throw error;
    });
  }
}
