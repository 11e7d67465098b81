// What happens: the visitor's wishes become requests, the server's events become the thread, and
// the view and the page are told.

import { Files } from './files.js';
import { History } from './history.js';
import { Protocol, RequestError } from './protocol.js';
import { Thread, plainText } from './thread.js';
import { View } from './view.js';

export class Conversation {
  thread = new Thread();
  /** @type {any} */
  view = null;
  /** @type {any} */
  protocol = null;
  /** '', 'loading', 'stoppable' or 'unstoppable'. */
  busy = '';
  /** What the assistant is doing; '' for just waiting, null for nothing. */
  status = null;
  /** For a screen reader. */
  said = '';
  /** A quiet line at the end. */
  note = '';
  notices = [];
  /** What goes with the composer's text. */
  draft = {};
  /** What the visitor thinks of items, by id. */
  ratings = new Map();
  files = new Files(this);
  history = new History(this);
  #current = new AbortController();
  /** Resolved when the effects of the current request are shown. */
  #settled = Promise.resolve();

  /** `host`: the element, with its words and events. */
  constructor(host) {
    this.host = host;
    this.emit = host.emit.bind(host);
  }

  use(options) {
    this.options = options;
    this.labels = this.host.labels;
    this.protocol = new Protocol(options.api);
    this.view ??= new View(this);
    this.view.use(options);
  }

  set(state) {
    Object.assign(this, state);
    this.view.render();
  }

  // ---- which thread ----

  async begin(id) {
    if (!id) return;
    try {
      await this.#load(id);
    } catch (/** @type {any} */ error) {
      // A remembered thread may be gone or another login's: that is no error, just a new start.
      if (error.status === 404) this.open(new Thread(), id);
      else this.fail(error, () => this.begin(id));
    }
  }

  /** Leave this thread, and the answer it may be writing, for another or (null) an empty one. */
  async switchTo(id) {
    this.stop();
    await this.#settled;
    this.history.hide();
    if (!id) this.open(new Thread());
    else await this.#load(id).catch((error) => this.fail(error, () => this.switchTo(id)));
    this.view.offerFocus();
  }

  async reload() {
    if (this.thread.id) await this.#load(this.thread.id);
  }

  async #load(threadId) {
    const { loading } = this.labels;
    await this.#run({ busy: 'loading', status: loading, said: loading }, async (signal) => {
      this.emit('thread.load.start', { threadId });
      const thread = new Thread();
      const params = { thread_id: threadId };
      const found = await this.protocol.request('threads.get_by_id', params, signal);
      thread.describe(found);
      thread.put(...found.items.data);
      for (let page = found.items; page.has_more && page.after; thread.put(...page.data)) {
        const next = { ...params, order: 'asc', limit: 100, after: page.after };
        page = await this.protocol.request('items.list', next, signal);
      }
      this.open(thread);
      this.emit('thread.load.end', { threadId });
    });
    this.#useTool();
  }

  /** `before`: the id of the thread that the page believes to be open. */
  open(thread, before = this.thread.id) {
    Object.assign(this, { thread, notices: [], note: '' });
    this.view.showThread();
    this.#tellThread(before);
  }

  #tellThread(before) {
    const { id } = this.thread;
    if (id !== before) this.emit('thread.change', { threadId: id });
  }

  // ---- messages and answers ----

  /** Takes what sendUserMessage() takes. */
  submit({ text, content, reply, attachments = [], toolChoice, model }) {
    this.#log('composer.submit');
    const input = {
      content: content ?? [{ type: 'input_text', text }],
      attachments: attachments.map(({ id }) => id),
      quoted_text: reply,
      inference_options: { tool_choice: toolChoice, model },
    };
    return this.#send(input, attachments);
  }

  /** Takes what setComposerValue() takes. */
  compose({ text, files = [], attachments = [], selectedToolId, selectedModelId, reply }) {
    const toolChoice = selectedToolId ? { id: selectedToolId } : undefined;
    Object.assign(this.draft, { toolChoice, model: selectedModelId, reply });
    if (text !== undefined) this.view.text = text;
    this.files.attach(attachments);
    this.files.add(files);
  }

  stop() {
    this.#current.abort();
  }

  /** Answer the last message again, or the one that the item `id` answers. */
  async retry(id) {
    const asked = this.thread.questionBefore(id);
    if (!asked || this.busy) return;
    this.#logAction('retry', id ?? asked.id);
    for (const gone of this.thread.truncateAfter(asked.id)) this.view.removeItem(gone);
    await this.#respond('threads.retry_after_item', { item_id: asked.id });
  }

  /** `kind`: 'positive' or 'negative'. */
  async rate(id, kind) {
    const before = this.ratings.get(id);
    if (before === kind) return;
    const show = (rating) => {
      this.ratings.set(id, rating);
      this.view.showItem(id);
    };
    show(kind);
    this.#logAction(`feedback_${kind}`, id);
    const params = { thread_id: this.thread.id, item_ids: [id], kind };
    await this.protocol.request('items.feedback', params).catch((error) => {
      show(before);
      this.fail(error);
    });
  }

  async copy(id) {
    await navigator.clipboard.writeText(plainText(this.thread.items.get(id)));
    this.set({ said: this.labels.copied });
    this.#logAction('copy', id);
  }

  /** What a widget asks for: its ActionConfig, with the values of its form. */
  act(item, { type, payload, handler, streaming }, values) {
    const action = { type, payload: { ...payload, ...values } };
    if (handler === 'client') return this.options.widgets?.onAction?.(action, item);
    return this.sendAction(action, item.id, streaming);
  }

  sendAction(action, item_id, streaming = true) {
    return this.request(`threads.${streaming ? '' : 'sync_'}custom_action`, { item_id, action });
  }

  /** A request about the open thread, which Try again repeats. */
  async request(type, params) {
    if (!this.busy) await this.#respond(type, params, { again: () => this.request(type, params) });
  }

  /** Have the page do what the assistant waits for. */
  async #useTool() {
    const { type, status, name, arguments: params } = this.thread.last ?? {};
    if (type !== 'client_tool_call' || status !== 'pending') return;
    await this.request('threads.add_client_tool_output', async () => ({
      result: (await this.options.onClientTool({ name, params })) ?? null,
    }));
  }

  async #send(input, attachments) {
    // Shown at once, under a name of our own until the server gives it one.
    const unsent = { ...input, type: 'user_message', id: `unsent-${performance.now()}`, attachments };
    const again = () => {
      this.#remove(unsent.id);
      this.#send(input, attachments);
    };
    this.#put(unsent);
    const type = this.thread.id ? 'threads.add_user_message' : 'threads.create';
    await this.#respond(type, { input }, { unsent, again });
  }

  /**
   * One streamed request, from its start to what the reader is told of its end. `params`: without
   * the thread's id; or a function that finds them. `turn.unsent`: the message that the server has
   * not confirmed yet. `turn.again`: what Try again does, by default ask for the last answer again.
   */
  async #respond(type, params, turn = {}) {
    await this.#run({ busy: 'stoppable', status: '' }, async (signal) => {
      this.view.follow();
      try {
        const found = typeof params === 'function' ? await Promise.race([params(), end(signal)]) : params;
        const all = { thread_id: this.thread.id ?? undefined, ...found };
        if (type === 'threads.sync_custom_action') {
          const { updated_item } = await this.protocol.request(type, all, signal);
          if (updated_item) this.#put(updated_item);
        } else {
          for await (const event of this.protocol.stream(type, all, signal)) this.#take(event, turn);
        }
        if (this.thread.open.size && !turn.failed) {
          throw new RequestError(0, this.labels.interrupted, 'interrupted');
        }
      } catch (error) {
        if (!signal.aborted) this.#failTurn(error, turn);
        else if (turn.unsent) this.#takeBack(turn.unsent);
        else this.set({ note: this.labels.stopped, said: this.labels.stopped });
        turn.failed = true;
      }
      for (const id of this.thread.closeItems()) this.view.showItem(id);
    });
    if (turn.started) this.emit('response.end');
    if (!turn.failed) await this.#useTool();
  }

  #take(event, turn) {
    const { type, text, name, data, message, code, stream_options: { allow_cancel } = {} } = event;
    const before = this.thread.id;
    const id = this.thread.apply(event);
    this.#tellThread(before);
    if (id) this.#takeItem(id, turn, type === 'thread.item.done');
    else if (type === 'progress_update') this.set({ status: text, said: text });
    else if (type === 'stream_options') this.set({ busy: allow_cancel ? 'stoppable' : 'unstoppable' });
    else if (type === 'client_effect') this.emit('effect', { name, data });
    else if (type === 'notice') this.tell(event);
    else if (type === 'error') this.#failTurn(new RequestError(200, message, code), turn, event.allow_retry);
    else this.view.render();
  }

  #takeItem(id, turn, done) {
    const item = this.thread.items.get(id);
    if (!item) return this.view.removeItem(id);
    const text = item.type === 'assistant_message' && plainText(item);
    if (item.type === 'user_message') {
      if (turn.unsent) this.#remove(turn.unsent.id);
      turn.unsent = turn.again = undefined;
    } else if (!turn.started) {
      turn.started = true;
      this.emit('response.start');
    }
    this.view.showItem(id);
    // A thought that is being written tells by itself that work goes on, as text does.
    if (item.type === 'workflow') this.set({ status: this.thread.open.has(id) ? null : '' });
    if (!text) return;
    if (this.status !== null) this.set({ status: null });
    if (!turn.texted) this.#log('response.first_text', { itemId: id });
    turn.texted = true;
    if (done) this.set({ said: text });
  }

  #failTurn(error, turn, retry = true) {
    const { unsent, again = () => this.retry() } = turn;
    turn.failed = true;
    // The server would refuse the same message again: it goes back to be changed.
    const refused = unsent && [400, 404, 413].includes(error.status);
    if (refused) this.#takeBack(unsent);
    else if (unsent) this.#put({ ...unsent, failed: true });
    this.fail(error, (retry || unsent) && !refused && again);
  }

  /** Tell the reader and the page. `retry`: what Try again does, if anything. */
  fail(error, retry) {
    // Anything else is a mistake of ours or the page's, which should not pass quietly.
    if (!(error instanceof RequestError)) reportError(error);
    const signIn = error.status === 401 && this.host.loginUrl;
    this.tell({ level: 'danger', message: this.explain(error), retry, signIn });
    this.emit('error', { error });
  }

  /** `notice`: ChatKit's, or one that offers to `retry` or `signIn`. */
  tell(notice) {
    this.set({ notices: [...this.notices, notice] });
  }

  explain(error) {
    if (error.status === 401) return this.labels.expired;
    if (error.code === 'network') return this.labels.offline;
    return (error instanceof RequestError && error.message) || this.labels.failed;
  }

  #put(item) {
    this.thread.put(item);
    this.view.showItem(item.id);
  }

  #remove(id) {
    this.thread.items.delete(id);
    this.view.removeItem(id);
  }

  /** A message that never became part of the thread returns to the composer. */
  #takeBack(unsent) {
    this.#remove(unsent.id);
    this.view.text ||= plainText(unsent);
    this.files.attach(unsent.attachments);
  }

  #logAction(action, itemId) {
    this.#log('message.action', { action, itemId });
  }

  /** `data`: ids, names, codes, numbers; never what was written. */
  #log(name, data) {
    this.emit('log', { name, data: { threadId: this.thread.id, ...data } });
  }

  /** Do the one thing that may be going on. Aborted is an end like any other. */
  async #run(state, work) {
    const controller = (this.#current = new AbortController());
    this.set({ notices: [], note: '', ...state });
    const settled = work(controller.signal).finally(() => {
      if (this.#current === controller) this.set({ busy: '', status: null });
    });
    this.#settled = settled.catch(() => {});
    await settled.catch((error) => {
      if (!controller.signal.aborted) throw error;
    });
  }
}

/** Fails when `signal` does. */
function end(signal) {
  return new Promise((_, reject) => signal.addEventListener('abort', reject));
}
