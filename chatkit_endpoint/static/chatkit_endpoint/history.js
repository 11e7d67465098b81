// The panel of earlier conversations.

import { h, iconButton } from './dom.js';

export class HistoryPanel {
  #conversation;
  #labels;
  #day;
  #time;
  #list = h('ol', { class: 'threads' });
  #note = h('p', { class: 'note', role: 'status' });

  /**
   * @param {import('./conversation.js').Conversation} conversation
   * @param {Record<string, string>} labels
   * @param {string | undefined} locale
   */
  constructor(conversation, labels, locale) {
    this.#conversation = conversation;
    this.#labels = labels;
    this.#day = new Intl.DateTimeFormat(locale, { dateStyle: 'medium' });
    this.#time = new Intl.DateTimeFormat(locale, { timeStyle: 'short' });
    const close = () => conversation.hideHistory();
    this.more = h('button', { type: 'button', class: 'pill', onclick: () => conversation.listThreads() }, labels.more);
    this.close = iconButton('close', labels.close, { class: 'quiet', onclick: close });
    const panel = h(
      'section',
      { class: 'history', role: 'dialog', 'aria-label': labels.history },
      h('header', {}, h('h2', {}, labels.history), this.close),
      h('div', { class: 'scroll' }, this.#list, this.#note, this.more),
    );
    this.node = h('div', { class: 'shade', hidden: true }, panel);
    this.node.addEventListener('click', (event) => event.target === this.node && close());
    this.node.addEventListener('keydown', (event) => event.key === 'Escape' && close());
  }

  get isOpen() {
    return !this.node.hidden;
  }

  show() {
    this.node.hidden = false;
    this.#list.replaceChildren();
    this.more.hidden = true;
    this.say(this.#labels.loading);
    this.close.focus();
  }

  hide() {
    this.node.hidden = true;
  }

  /** @param {string} text a line below the list: loading, nothing there, an error */
  say(text) {
    this.#note.textContent = text;
  }

  /**
   * @param {any[]} threads the next ones, newest first
   * @param {boolean} hasMore
   * @param {string | null} currentId
   */
  append(threads, hasMore, currentId) {
    for (const { id, title, created_at } of threads) {
      const attributes = {
        type: 'button',
        'aria-current': id === currentId && 'true',
        onclick: () => this.#conversation.switchTo(id),
      };
      const name = h('span', { dir: 'auto' }, title || this.#labels.untitled);
      const time = h('time', {}, this.#when(moment(created_at)));
      this.#list.append(h('li', {}, h('button', attributes, name, time)));
    }
    this.more.hidden = !hasMore;
    this.say(this.#list.children.length ? '' : this.#labels.noThreads);
  }

  /** @param {Date} date */
  #when(date) {
    const today = date.toDateString() === new Date().toDateString();
    return (today ? this.#time : this.#day).format(date);
  }
}

/** ChatKit's times carry no zone; the server keeps them in UTC. @param {string} text */
function moment(text) {
  return new Date(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
}
