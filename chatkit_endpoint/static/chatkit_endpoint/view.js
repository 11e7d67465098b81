// The element's own DOM: header, conversation, composer, history. It shows, and hands on what the
// visitor wants; it decides nothing.

import { Composer } from './composer.js';
import { h, icon, iconButton, setText } from './dom.js';
import { HistoryPanel } from './history.js';
import { itemView } from './items.js';

/**
 * @typedef {import('./conversation.js').Conversation} Conversation
 * @typedef {import('./thread.js').Item} Item
 * @typedef {import('./thread.js').Thread} Thread
 * @typedef {{message: string, title?: string, level: string, retry?: () => void, signIn?: string}} Notice
 */

/** How far from its end, in CSS pixels, the conversation still counts as being at its end. */
const NEAR = 48;

export class View {
  #start;
  #labels;
  #itemContext;
  #fixedTitle;
  #title = h('h2', { class: 'thread-title', dir: 'auto' });
  #list = h('div', { class: 'items' });
  #statusText = h('span', { dir: 'auto' });
  #status = h('p', { class: 'status' }, h('span', { class: 'dots' }, h('i'), h('i'), h('i')), this.#statusText);
  #notices = h('div', { class: 'notices' });
  // Not live itself: a screen reader hears whole answers, from the announcer, and not each word.
  #log = h('div', { class: 'log', role: 'log', 'aria-live': 'off', tabindex: 0 });
  #announcer = h('p', { class: 'unseen', role: 'status', 'aria-live': 'polite' });
  /** @type {Map<string, import('./items.js').ItemView | null>} */
  #items = new Map();
  #follow = true;
  #lastTop = 0;
  #busy = false;

  /**
   * @param {any} options ChatKitOptions
   * @param {Record<string, string>} labels
   * @param {Conversation} conversation
   */
  constructor(options, labels, conversation) {
    const { header = {}, history = {}, startScreen = {}, disclaimer, theme } = options;
    const locale = knownLocale(options.locale);
    this.#labels = labels;
    this.#itemContext = { labels, locale, copy: (/** @type {Item} */ item) => conversation.copy(item) };
    this.#fixedTitle = header.title?.enabled === false ? '' : header.title?.text;
    this.#start = startScreenNode(startScreen, labels, conversation);
    this.#log.ariaLabel = labels.conversation;
    this.historyButton = iconButton('history', labels.history, {
      class: 'quiet',
      hidden: history.enabled === false,
      onclick: () => conversation.showHistory(),
    });
    const newThread = iconButton('compose', labels.newThread, {
      class: 'quiet',
      onclick: () => conversation.switchTo(null),
    });
    this.latest = iconButton('arrowDown', labels.latest, {
      class: 'latest',
      hidden: true,
      onclick: () => this.scrollToEnd(),
    });
    this.composer = new Composer(conversation, labels, options.composer?.placeholder);
    this.history = new HistoryPanel(conversation, labels, locale);

    const column = h('div', { class: 'column' }, this.#start, this.#list, this.#status, this.#notices);
    this.#log.append(column);
    this.main = h(
      'div',
      { class: 'main' },
      h('header', { class: 'top', hidden: header.enabled === false }, this.historyButton, this.#title, newThread),
      h('div', { class: 'stage' }, this.#log, this.latest, this.#announcer),
      h(
        'div',
        { class: 'bottom' },
        this.composer.node,
        disclaimer && h('p', { class: 'disclaimer', dir: 'auto' }, disclaimer.text),
      ),
    );
    const scheme = theme?.colorScheme ?? theme;
    this.node = h('div', { class: 'chat', 'data-theme': scheme }, this.main, this.history.node);

    this.#log.addEventListener('scroll', () => this.#noteScroll(), { passive: true });
    // While an answer grows, and not when the reader unfolds something; and whenever room is lost.
    new ResizeObserver(() => this.#busy && this.#keepUp()).observe(column);
    new ResizeObserver(() => this.#keepUp()).observe(this.#log);
  }

  /** Show all of a thread. @param {Thread} thread */
  showThread(thread) {
    this.#items.clear();
    this.#list.replaceChildren();
    this.clearNotices();
    for (const item of thread.items.values()) this.showItem(item, thread.open.has(item.id));
    this.describe(thread);
    this.scrollToEnd();
  }

  /** Show what is known of the thread beside its items. @param {Thread} thread */
  describe(thread) {
    const closed = thread.status.type !== 'active';
    setText(this.#title, this.#fixedTitle ?? thread.title);
    this.#title.hidden = !this.#title.textContent;
    this.#start.hidden = thread.id !== null || thread.items.size > 0;
    this.composer.setClosed(closed ? thread.status.reason || this.#labels.closed : null);
  }

  /** @param {Item} item @param {boolean} open whether it is still being written */
  showItem(item, open) {
    if (!this.#items.has(item.id)) {
      const view = itemView(item.type, this.#itemContext);
      this.#items.set(item.id, view);
      if (view) this.#list.append(view.node);
    }
    this.#items.get(item.id)?.update(item, open);
    this.#start.hidden = true;
  }

  /** @param {string} id */
  removeItem(id) {
    this.#items.get(id)?.node.remove();
    this.#items.delete(id);
  }

  /** @param {boolean} busy an answer is on its way @param {boolean} [stoppable] */
  setBusy(busy, stoppable = true) {
    this.#keepUp();
    this.#busy = busy;
    this.composer.setBusy(busy, stoppable);
    this.setStatus(busy ? '' : null);
  }

  /** A thread is being fetched. */
  setLoading() {
    this.clearNotices();
    this.setBusy(true, false);
    this.setStatus(this.#labels.loading);
    this.#start.hidden = true;
  }

  /** @param {string | null} text what the assistant is doing; '' for just waiting, null for nothing */
  setStatus(text) {
    this.#status.hidden = text === null;
    setText(this.#statusText, text ?? '');
    if (text) this.announce(text);
  }

  /** A quiet line at the end of the conversation. @param {string} text */
  note(text) {
    this.#list.append(h('p', { class: 'note' }, text));
    this.announce(text);
  }

  /** @param {Notice} notice */
  notice({ message, title, level, retry, signIn }) {
    const { signIn: signInLabel, retry: retryLabel } = this.#labels;
    const role = level === 'danger' ? 'alert' : 'status';
    const buttons = h(
      'div',
      { class: 'buttons' },
      signIn && h('a', { class: 'pill primary', href: signIn, target: '_blank' }, signInLabel),
      retry && h('button', { type: 'button', class: 'pill', onclick: retry }, retryLabel),
    );
    this.#notices.append(
      h(
        'div',
        { class: `notice ${level}`, role },
        title && h('strong', { dir: 'auto' }, title),
        h('p', { dir: 'auto' }, message),
        buttons,
      ),
    );
    this.#keepUp();
  }

  clearNotices() {
    this.#notices.replaceChildren();
  }

  /** Have a screen reader say it. @param {string} text */
  announce(text) {
    this.#announcer.textContent = text;
  }

  /** @param {boolean} shown */
  toggleHistory(shown) {
    this.main.inert = shown;
    if (shown) this.history.show();
    else this.history.hide();
    if (!shown) this.historyButton.focus();
  }

  scrollToEnd() {
    this.#follow = true;
    this.#keepUp();
  }

  #noteScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    const near = scrollHeight - scrollTop - clientHeight < NEAR;
    // Not near may also mean that more came in since: only a reader scrolls upwards.
    this.#follow = near || (this.#follow && scrollTop >= this.#lastTop);
    this.#lastTop = scrollTop;
    this.latest.hidden = near;
  }

  /** Stay at the end while it grows, unless the reader has scrolled away from it. */
  #keepUp() {
    if (this.#follow) this.#log.scrollTop = this.#log.scrollHeight;
  }
}

/**
 * @param {{greeting?: string, prompts?: {label: string, prompt: string | any[]}[]}} startScreen
 * @param {Record<string, string>} labels
 * @param {Conversation} conversation
 */
function startScreenNode({ greeting, prompts = [] }, labels, conversation) {
  const buttons = prompts.map(({ label, prompt }) => {
    const message = typeof prompt === 'string' ? { text: prompt } : { content: prompt };
    const onclick = () => conversation.submit(message);
    return h('li', {}, h('button', { type: 'button', dir: 'auto', onclick }, label));
  });
  return h(
    'section',
    { class: 'start' },
    icon('spark'),
    h('h2', { dir: 'auto' }, greeting ?? labels.greeting),
    buttons.length > 0 && h('ul', { 'aria-label': labels.prompts }, ...buttons),
  );
}

/** The locale if the browser can format for it, else undefined: the browser's own.
 * @param {string | undefined} locale */
function knownLocale(locale) {
  try {
    return Intl.getCanonicalLocales(locale)[0];
  } catch {
    return undefined;
  }
}
