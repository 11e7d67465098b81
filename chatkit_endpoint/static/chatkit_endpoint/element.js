// The built-in <openai-chatkit>: OpenAI's element as far as its API goes, for pages where that one
// can't or mustn't load. Same methods, same events with the same detail, same server protocol.
// What it needs beyond ChatKitOptions are two properties, set before setOptions():
//   labels    its words, localised by the page that embeds it
//   loginUrl  where a visitor whose login has expired signs in again

import { Conversation } from './conversation.js';
import { h } from './dom.js';
import { View } from './view.js';

const STYLES = new URL('element.css', import.meta.url).href;

class ChatKitElement extends HTMLElement {
  /** @type {Record<string, string>} */
  labels = {};
  loginUrl = '';
  /** @type {Conversation | null} */
  #conversation = null;

  constructor() {
    super();
    this.attachShadow({ mode: 'open' });
  }

  disconnectedCallback() {
    this.#conversation?.stop();
  }

  /** Replaces all options. The first call shows the element. @param {any} options ChatKitOptions */
  setOptions(options) {
    const first = !this.#conversation;
    this.#conversation ??= new Conversation(this);
    const view = new View(options, this.labels, this.#conversation);
    this.#mount(view);
    this.#conversation.use(options, view);
    if (first) this.#conversation.begin(options.initialThread ?? null);
  }

  async focusComposer() {
    this.#ready.view.composer.input.focus();
  }

  /** Opens a thread, or an empty one. @param {string | null} threadId */
  async setThreadId(threadId) {
    this.#idle.switchTo(threadId);
  }

  /**
   * Resolves when the message is on its way; `chatkit.response.end` tells of the answer.
   * @param {import('./conversation.js').Message & {newThread?: boolean}} message
   */
  async sendUserMessage({ newThread, ...message }) {
    const conversation = this.#idle;
    if (newThread) await conversation.switchTo(null);
    conversation.submit(message);
  }

  /** Shows what the server has of this thread now. */
  async fetchUpdates() {
    await this.#idle.reload();
  }

  async showHistory() {
    this.#ready.showHistory();
  }

  async hideHistory() {
    this.#ready.hideHistory();
  }

  /** @param {string} name @param {object} [detail] */
  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(`chatkit.${name}`, { detail, bubbles: true, composed: true }));
  }

  /** @param {View} view */
  #mount(view) {
    const root = /** @type {ShadowRoot} */ (this.shadowRoot);
    const old = root.querySelector('.chat');
    if (old) return old.replaceWith(view.node);
    const sheet = h('link', { rel: 'stylesheet', href: STYLES });
    // Shown when its style sheet is there: unstyled parts would flash by.
    view.node.hidden = true;
    sheet.onload = sheet.onerror = () => {
      this.#ready.view.node.hidden = false;
      this.#ready.view.scrollToEnd();
      this.emit('ready');
      if (this.hasAttribute('autofocus')) this.#ready.view.composer.offerFocus();
    };
    root.append(sheet, view.node);
  }

  get #ready() {
    if (!this.#conversation) throw new Error('setOptions() has not been called');
    return this.#conversation;
  }

  get #idle() {
    if (this.#ready.isBusy) throw new Error('a thread is loading or an answer is streaming');
    return this.#ready;
  }
}

customElements.define('openai-chatkit', ChatKitElement);
