// The element's DOM: made anew from what the conversation says of itself whenever that changes.

import { button, form, h, icon, iconButton, morph } from './dom.js';
import { itemNode } from './items.js';

/** How far from its end, in CSS pixels, the conversation still counts as being at its end. */
const NEAR = 48;
const RADIUS = { pill: 1, round: 0.75, soft: 0.4, sharp: 0 };
const DENSITY = { compact: 0.7, normal: 1, spacious: 1.4 };

export class View {
  node = h('section');
  #chat;
  #fitted = '';
  #follow = true;
  #lastTop = 0;
  #atEnd = true;
  /** Shown when its style sheet is there: unstyled parts would flash by. */
  #isReady = false;

  constructor(chat) {
    this.#chat = chat;
  }

  /** Begin anew with other options. */
  use({ theme }) {
    const isNew = !this.#find('.log');
    this.render();
    const { radius, density, color = {}, typography = {} } = theme ?? {};
    const looks = {
      accent: color.accent?.primary,
      surface: color.surface?.background,
      bubble: color.surface?.foreground,
      font: typography.fontFamily,
      size: typography.baseSize && `${typography.baseSize}px`,
      round: RADIUS[radius],
      space: DENSITY[density],
    };
    for (const [name, value] of Object.entries(looks)) this.node.style.setProperty(`--${name}`, value ?? '');
    this.showThread();
    if (!isNew) return;
    const log = this.#find('.log');
    log.addEventListener('scroll', () => this.#noteScroll(), { passive: true });
    // While an answer grows, and not when the reader unfolds something; and whenever room is lost.
    new ResizeObserver(() => this.#chat.busy && this.#keepUp()).observe(log.firstChild);
    new ResizeObserver(() => this.#keepUp()).observe(log);
    const take = (event) => this.#chat.files.take(event);
    for (const type of ['dragover', 'drop', 'paste']) this.node.addEventListener(type, take);
  }

  show() {
    this.#isReady = true;
    this.render();
    this.follow();
  }

  get text() {
    return this.#field?.value ?? '';
  }

  set text(text) {
    this.#field.value = text;
    this.render();
  }

  /** Widgets have fields of their own. */
  get #field() {
    return this.#find('.line textarea');
  }

  #find(selector) {
    return this.node.querySelector(selector);
  }

  focus(selector) {
    this.#find(selector)?.focus();
  }

  /** Have the next key written here; but no on-screen keyboard pop up that nobody asked for. */
  offerFocus() {
    if (!matchMedia('(pointer: coarse)').matches) this.#field.focus();
  }

  render() {
    const focused = this.#find('.composer:focus-within');
    morph(this.node, this.#frame());
    this.#fit();
    if (this.#chat.busy) this.#keepUp();
    // The button that had the focus may just have gone.
    if (focused && !focused.matches(':focus-within')) this.offerFocus();
  }

  /** The field is as high as its text. */
  #fit() {
    const field = this.#field;
    if (field.value === this.#fitted) return;
    this.#fitted = field.value;
    field.style.height = 'auto';
    field.style.height = `${field.scrollHeight}px`;
  }

  showThread() {
    this.#find('.items').replaceChildren();
    for (const id of this.#chat.thread.items.keys()) this.showItem(id);
    this.render();
    this.follow();
  }

  showItem(id) {
    const { thread } = this.#chat;
    const fresh = itemNode(thread.items.get(id), thread.open.has(id), this.#chat);
    const old = this.#item(id);
    if (old) morph(old, fresh);
    else if (fresh) this.#find('.items').append(fresh);
  }

  removeItem(id) {
    this.#item(id)?.remove();
  }

  #item(id) {
    return this.#find(`.items > [data-id="${CSS.escape(id)}"]`);
  }

  /** Go to the end, and stay there while it grows. */
  follow() {
    this.#follow = true;
    this.#keepUp();
  }

  #noteScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.#find('.log');
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    // Not at the end may also mean that more came in since: only a reader scrolls upwards.
    this.#follow = atEnd || (this.#follow && scrollTop >= this.#lastTop);
    this.#lastTop = scrollTop;
    if (this.#atEnd === atEnd) return;
    this.#atEnd = atEnd;
    this.render();
  }

  /** Stay at the end while it grows, unless the reader has scrolled away from it. */
  #keepUp() {
    const log = this.#find('.log');
    if (this.#follow && this.#chat.options.thread?.autoScroll !== false) log.scrollTop = log.scrollHeight;
  }

  #frame() {
    const { options, labels, history, status, note, said, notices } = this.#chat;
    const { theme, frameTitle, disclaimer } = options;
    const frame = {
      class: 'chat',
      'aria-label': frameTitle,
      'data-theme': theme?.colorScheme ?? theme,
      hidden: !this.#isReady,
    };
    // Not live itself: a screen reader hears whole answers, from the announcer, and not each word.
    const log = { class: 'log', role: 'log', 'aria-live': 'off', 'aria-label': labels.conversation, tabindex: 0 };
    return h('section', frame,
      h('div.main', { inert: history.isOpen },
        this.#header(),
        h('div.stage',
          h('div', log,
            h('div.column',
              this.#start(),
              h('div.items', { 'data-keep': true }),
              h('p.note', { hidden: !note }, note),
              h('p.status', { hidden: status === null },
                h('span.dots', h('i'), h('i'), h('i')),
                h('span', status)),
              h('div.notices', notices.map((notice) => this.#notice(notice))))),
          iconButton('arrow-down', labels.latest, () => this.follow(), { class: 'latest', hidden: this.#atEnd }),
          h('p.unseen', { role: 'status' }, said)),
        h('div.bottom',
          this.#composer(),
          disclaimer && h('p.disclaimer', { 'data-strong': disclaimer.highContrast }, disclaimer.text))),
      history.node());
  }

  #header() {
    const { options, labels, thread, history } = this.#chat;
    const { enabled = true, title = {}, leftAction, rightAction } = options.header ?? {};
    const own = (action) => action && iconButton(action.icon, action.icon.replaceAll('-', ' '), action.onClick);
    const text = title.enabled !== false && (title.text ?? thread.title);
    const earlier = { class: 'earlier', hidden: options.history?.enabled === false };
    return h('header.top', { hidden: !enabled },
      own(leftAction),
      iconButton('history', labels.history, () => history.show(), earlier),
      h('h2.thread-title', { hidden: !text }, text),
      iconButton('compose', labels.newThread, () => this.#chat.switchTo(null)),
      own(rightAction));
  }

  #start() {
    const { options, labels, thread, busy } = this.#chat;
    const { greeting = labels.greeting, prompts = [] } = options.startScreen ?? {};
    const begun = thread.id || thread.items.size || busy === 'loading';
    const prompt = ({ label, prompt: what, icon: sign }) => {
      const onclick = () => this.#chat.submit(typeof what === 'string' ? { text: what } : { content: what });
      return h('li', button({ dir: 'auto', onclick }, sign && icon(sign), label));
    };
    return h('section.start', { hidden: Boolean(begun) },
      icon('sparkle'),
      h('h2', greeting),
      h('ul', { 'aria-label': labels.prompts, hidden: !prompts.length }, prompts.map(prompt)));
  }

  #notice({ message, title, level, retry, signIn }) {
    const { labels } = this.#chat;
    return h('div', { class: `notice ${level}`, role: level === 'danger' ? 'alert' : 'status' },
      title && h('strong', title),
      h('p', message),
      signIn && h('a', { class: 'pill primary', href: signIn, target: '_blank' }, labels.signIn),
      retry && button({ class: 'pill', onclick: retry }, labels.retry));
  }

  #composer() {
    const chat = this.#chat;
    const { labels, options, thread, busy, files } = chat;
    const { placeholder = labels.placeholder, attachments = {} } = options.composer ?? {};
    const disabled = thread.status.type !== 'active';
    const cannot = Boolean(busy) || disabled || files.areBusy || !this.text.trim();
    const stoppable = busy === 'stoppable';
    const picker = {
      type: 'file',
      multiple: true,
      hidden: true,
      accept: Object.entries(attachments.accept ?? {}).flat(2).join(),
      onchange: ({ target }) => {
        files.add(target.files);
        target.value = '';
      },
    };
    const field = {
      rows: 1,
      disabled,
      enterkeyhint: 'send',
      'aria-label': labels.compose,
      placeholder: disabled ? thread.status.reason || labels.closed : placeholder,
      // An empty field's own direction would be left to right, whatever the placeholder's language.
      dir: this.text ? 'auto' : null,
      oninput: () => this.render(),
      onkeydown: (event) => {
        // While an input method composes, Enter chooses a word; Safari says so by code 229 only.
        if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
        event.preventDefault();
        event.target.form.requestSubmit();
      },
    };
    const submit = () => {
      if (cannot) return;
      const message = { ...chat.draft, text: this.text, attachments: files.attachments };
      chat.draft = {};
      this.text = '';
      files.clear();
      chat.submit(message);
    };
    const attach = { hidden: !attachments.enabled, disabled };
    return form('composer', submit,
      files.node(),
      h('div.line',
        iconButton('clip', labels.attach, () => this.#find('.line [type=file]').click(), attach),
        h('input', picker),
        h('textarea', field),
        iconButton('arrow-up', labels.send, null, { class: 'send', type: 'submit', disabled: cannot, hidden: stoppable }),
        iconButton('stop', labels.stop, () => chat.stop(), { class: 'send', hidden: !stoppable })));
  }
}
