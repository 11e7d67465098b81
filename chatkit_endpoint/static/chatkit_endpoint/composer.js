// Where the visitor writes: the field, Send, and Stop in its place while an answer comes in.

import { h, iconButton } from './dom.js';

export class Composer {
  #busy = false;

  /**
   * @param {import('./conversation.js').Conversation} conversation
   * @param {Record<string, string>} labels
   * @param {string} [placeholder]
   */
  constructor(conversation, labels, placeholder = labels.placeholder) {
    this.placeholder = placeholder;
    this.input = h('textarea', { rows: 1, enterkeyhint: 'send', 'aria-label': labels.compose, placeholder });
    this.send = iconButton('arrowUp', labels.send, { class: 'send', type: 'submit', disabled: true });
    this.stop = iconButton('stop', labels.stop, {
      class: 'send',
      hidden: true,
      onclick: () => conversation.stop(),
    });
    this.node = h('form', { class: 'composer' }, this.input, this.send, this.stop);
    this.input.addEventListener('input', () => this.#fit());
    this.input.addEventListener('keydown', (event) => {
      // While an input method composes, Enter chooses a word; Safari says so by code 229 only.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.node.requestSubmit();
    });
    this.node.addEventListener('submit', (event) => {
      event.preventDefault();
      if (!this.#busy && this.text.trim()) conversation.submit({ text: this.text });
    });
  }

  get text() {
    return this.input.value;
  }

  set text(text) {
    this.input.value = text;
    this.#fit();
  }

  #fit() {
    this.input.style.height = 'auto';
    this.input.style.height = `${this.input.scrollHeight}px`;
    // An empty field's own direction would be left to right, whatever the placeholder's language.
    this.input.dir = this.text ? 'auto' : '';
    this.send.disabled = !this.text.trim();
  }

  /** @param {boolean} busy @param {boolean} stoppable */
  setBusy(busy, stoppable) {
    const focused = this.node.matches(':focus-within');
    this.#busy = busy;
    this.send.hidden = busy && stoppable;
    this.stop.hidden = !this.send.hidden;
    // The button that had the focus may just have gone.
    if (focused) this.offerFocus();
  }

  /** Have the next key written here; but no on-screen keyboard pop up that nobody asked for. */
  offerFocus() {
    if (!matchMedia('(pointer: coarse)').matches) this.input.focus();
  }

  /** @param {string | null} reason why nothing can be written here; null: it can */
  setClosed(reason) {
    this.input.disabled = reason !== null;
    this.input.placeholder = reason ?? this.placeholder;
  }
}
