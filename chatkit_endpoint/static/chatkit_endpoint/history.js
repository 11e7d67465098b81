// Earlier conversations, in a panel: open, rename, delete.

import { button, form, h, iconButton } from './dom.js';

export class History {
  isOpen = false;
  #chat;
  #threads = [];
  #after;
  /** A line below the list: loading, nothing there, an error. */
  #note = '';
  /** What is about to be renamed or deleted: {thread, how}. */
  #edited;
  /** Ends when the panel closes. */
  #listing = new AbortController();

  constructor(chat) {
    this.#chat = chat;
  }

  show() {
    if (this.isOpen) return;
    this.isOpen = true;
    this.#threads = [];
    this.#edited = this.#after = undefined;
    this.#listing = new AbortController();
    this.#chat.emit('history.open');
    this.list();
    this.#focus('header button');
  }

  hide() {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#listing.abort();
    this.#chat.view.render();
    this.#chat.view.focus('.earlier');
    this.#chat.emit('history.close');
  }

  list() {
    this.#say(this.#chat.labels.loading);
    this.#attempt('threads.list', { limit: 20, order: 'desc', after: this.#after }, (page) => {
      this.#threads.push(...page.data);
      this.#after = page.has_more ? page.after : undefined;
    });
  }

  async #attempt(type, params, then) {
    const { signal } = this.#listing;
    try {
      then(await this.#chat.protocol.request(type, params, signal));
      this.#say(this.#threads.length ? '' : this.#chat.labels.noThreads);
    } catch (error) {
      if (signal.aborted) return;
      this.#say(this.#chat.explain(error));
      this.#chat.emit('error', { error });
    }
  }

  #say(text) {
    this.#note = text;
    this.#chat.view.render();
  }

  #focus(selector) {
    this.#chat.view.render();
    this.#chat.view.focus(`.history ${selector}`);
  }

  #edit(thread, how) {
    this.#edited = { thread, how };
    this.#focus(how === 'rename' ? 'input' : '[type=submit]');
  }

  #leave() {
    const { thread, how } = this.#edited;
    this.#edited = undefined;
    this.#focus(`[data-id="${thread.id}"] .${how}`);
  }

  node() {
    const { labels } = this.#chat;
    const hide = () => this.hide();
    const onclick = (event) => {
      if (event.target.className === 'shade') hide();
    };
    const onkeydown = (event) => {
      if (event.key === 'Escape') this.#edited ? this.#leave() : hide();
    };
    const list = h('ol.threads', this.#threads.map((thread) => this.#row(thread)));
    const note = h('p.note', { role: 'status' }, this.#note);
    const more = button({ class: 'pill', hidden: !this.#after, onclick: () => this.list() }, labels.more);
    const panel = { class: 'history', role: 'dialog', 'aria-modal': 'true', 'aria-label': labels.history };
    return h('div.shade', { hidden: !this.isOpen, onclick, onkeydown },
      h('section', panel,
        h('header', h('h2', labels.history), iconButton('close', labels.close, hide)),
        h('div.scroll', list, note, more)));
  }

  #row(thread) {
    const { labels, options, thread: current } = this.#chat;
    const { showRename = true, showDelete = true } = options.history ?? {};
    const { id, title } = thread;
    const edit = (sign, how) => iconButton(sign, labels[how], () => this.#edit(thread, how), { class: how });
    const { how } = this.#edited?.thread === thread ? this.#edited : {};
    const ask = (onsubmit, subject, sign, label) =>
      form('', onsubmit, subject, iconButton(sign, label, null, { type: 'submit' }),
        iconButton('close', labels.cancel, () => this.#leave()));
    const field = { name: 'title', value: title, 'aria-label': labels.rename, dir: 'auto', required: true };
    const opener = { class: 'open', 'aria-current': id === current.id && 'true', onclick: () => this.#chat.switchTo(id) };
    return h('li', { 'data-id': id },
      how === 'rename' && ask((fields) => this.#rename(thread, fields.title.value), h('input', field), 'check', labels.save),
      how === 'delete' && ask(() => this.#delete(id), h('p', labels.deleteAsk), 'trash', labels.delete),
      !how && [
        button(opener, h('span', title || labels.untitled), h('time', this.#when(thread.created_at))),
        showRename && edit('write', 'rename'),
        showDelete && edit('trash', 'delete'),
      ]);
  }

  #rename(thread, title) {
    const { thread: current } = this.#chat;
    this.#attempt('threads.update', { thread_id: thread.id, title }, () => {
      thread.title = title;
      if (thread.id === current.id) current.title = title;
      this.#leave();
    });
  }

  #delete(id) {
    const { thread } = this.#chat;
    if (id === thread.id) this.#chat.stop();
    this.#attempt('threads.delete', { thread_id: id }, () => {
      this.#threads = this.#threads.filter((each) => each.id !== id);
      if (id === thread.id) this.#chat.open(new thread.constructor());
      this.#focus('header button');
    });
  }

  /** ChatKit's times carry no zone; the server keeps them in UTC. */
  #when(text) {
    const date = new Date(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
    const today = date.toDateString() === new Date().toDateString();
    return date.toLocaleString(this.#chat.options.locale, today ? { timeStyle: 'short' } : { dateStyle: 'medium' });
  }
}
