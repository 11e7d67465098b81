// The built-in <openai-chatkit>: OpenAI's element as far as its API goes, for pages where that one
// can't or mustn't load. Same methods, same events with the same detail, same server protocol.

import { Conversation } from './conversation.js';
import { h } from './dom.js';

class ChatKitElement extends HTMLElement {
  /** Its words, localised by the page that embeds it; set before setOptions(). */
  labels = {};
  /** Where a visitor whose login has expired signs in again. */
  loginUrl = '';
  /** @type {any} */
  #chat = null;

  disconnectedCallback() {
    this.#chat?.stop();
  }

  /** Replaces all options. The first call shows the element. */
  setOptions(options) {
    if (this.#chat) return this.#chat.use(options);
    this.#chat = new Conversation(this);
    this.#chat.use(options);
    const { view } = this.#chat;
    const onload = () => {
      view.show();
      this.emit('ready');
      if (this.hasAttribute('autofocus')) view.offerFocus();
    };
    const href = new URL('element.css', import.meta.url).href;
    const sheet = h('link', { rel: 'stylesheet', href, onload, onerror: onload });
    this.attachShadow({ mode: 'open' }).append(sheet, view.node);
    this.#chat.begin(options.initialThread);
  }

  async focusComposer() {
    this.#ready.view.focus('.line textarea');
  }

  async setThreadId(threadId) {
    this.#idle.switchTo(threadId);
  }

  /** Resolves when the message is on its way; `chatkit.response.end` tells of the answer. */
  async sendUserMessage({ newThread, ...message }) {
    const chat = this.#idle;
    if (newThread) await chat.switchTo(null);
    chat.submit(message);
  }

  async setComposerValue(value) {
    this.#ready.compose(value);
  }

  async sendCustomAction(action, itemId) {
    this.#idle.sendAction(action, itemId);
  }

  async fetchUpdates() {
    await this.#idle.reload();
  }

  async showHistory() {
    this.#ready.history.show();
  }

  async hideHistory() {
    this.#ready.history.hide();
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(`chatkit.${name}`, { detail, bubbles: true, composed: true }));
  }

  get #ready() {
    if (!this.#chat) throw new Error('setOptions() has not been called');
    return this.#chat;
  }

  get #idle() {
    if (this.#ready.busy) throw new Error('a thread is loading or an answer is streaming');
    return this.#ready;
  }
}

customElements.define('openai-chatkit', ChatKitElement);
