// One thread item as DOM: a node, and `update` that brings it up to what the item now says.

import { h, icon, iconButton, safeUrl, setText } from './dom.js';
import { plainText } from './thread.js';
import { widgetNode } from './widgets.js';

/**
 * @typedef {import('./thread.js').Item} Item
 * @typedef {{node: HTMLElement, update: (item: Item, open: boolean) => void}} ItemView
 * @typedef {{labels: Record<string, string>, locale: string | undefined,
 *   copy: (item: Item) => Promise<void>}} Context
 */

/** @type {Record<string, (context: Context) => ItemView>} */
const VIEWS = {
  user_message: userMessage,
  assistant_message: assistantMessage,
  workflow,
  task: workflow,
  widget,
  generated_image: generatedImage,
  structured_input: structuredInput,
};

/**
 * @param {string} type
 * @param {Context} context
 * @returns {ItemView | null} null for items that a reader isn't shown
 */
export function itemView(type, context) {
  return VIEWS[type]?.(context) ?? null;
}

/** @param {Context} context */
function userMessage({ labels }) {
  const quote = h('blockquote', { class: 'quote', dir: 'auto', hidden: true });
  const text = h('div', { class: 'text', dir: 'auto' });
  const files = h('ul', { class: 'files', hidden: true });
  const bubble = h('div', { class: 'bubble' }, quote, text, files);
  const unsent = h('p', { class: 'note', hidden: true }, labels.unsent);
  const node = h('article', { class: 'message user' }, speaker(labels.you), bubble, unsent);
  /** @param {Item} item */
  function update(item) {
    setText(text, item.content.map((/** @type {any} */ part) => part.text).join(''));
    setText(quote, item.quoted_text ?? '');
    quote.hidden = !item.quoted_text;
    const names = (item.attachments ?? []).map((/** @type {any} */ file) => h('li', {}, file.name));
    files.replaceChildren(...names);
    files.hidden = !names.length;
    unsent.hidden = !item.unsent;
  }
  return { node, update };
}

/** @param {Context} context */
function assistantMessage({ labels, copy }) {
  /** @type {Item} */
  let current;
  const body = h('div', { class: 'body' });
  const sources = h('div', { class: 'sources', hidden: true });
  const copyButton = iconButton('copy', labels.copy, { class: 'quiet copy', onclick: onCopy });
  const actions = h('div', { class: 'actions', hidden: true }, navigator.clipboard && copyButton);
  const parts = [speaker(labels.assistant), body, sources, actions];
  const node = h('article', { class: 'message assistant' }, ...parts);

  async function onCopy() {
    await copy(current);
    copyButton.replaceChildren(icon('check'));
    setTimeout(() => copyButton.replaceChildren(icon('copy')), 2000);
  }

  /** @param {Item} item @param {boolean} open */
  function update(item, open) {
    current = item;
    item.content.forEach((/** @type {any} */ part, /** @type {number} */ index) => {
      const element = body.children[index] ?? body.appendChild(h('div', { class: 'text', dir: 'auto' }));
      setText(/** @type {HTMLElement} */ (element), part.text);
    });
    while (body.children.length > item.content.length) body.lastElementChild?.remove();
    node.classList.toggle('open', open);
    actions.hidden = open || !plainText(item);
    if (open) return;
    const cited = item.content.flatMap((/** @type {any} */ part) => part.annotations ?? []);
    const list = sourceList(cited.map((/** @type {any} */ annotation) => annotation.source));
    sources.replaceChildren(h('span', {}, labels.sources), list);
    sources.hidden = !list.children.length;
  }
  return { node, update };
}

/** Thoughts and other tasks, folded. @param {Context} context */
function workflow({ labels, locale }) {
  const title = h('span', { class: 'title', dir: 'auto' });
  const tasks = h('ol', {});
  const details = h('details', {}, h('summary', {}, icon('spark'), title, icon('chevron')), tasks);
  const node = h('article', { class: 'workflow' }, details);
  let seen = false;

  /** @param {Item} item @param {boolean} open */
  function update(item, open) {
    // A single task item is shown as a workflow of one.
    const { workflow: flow = { type: 'custom', tasks: [item.task], summary: item.task } } = item;
    if (!seen) details.open = flow.expanded ?? false;
    seen = true;
    setText(title, summaryText(flow, open));
    node.classList.toggle('open', open);
    node.hidden = !open && !flow.tasks.length && !flow.summary?.title;
    flow.tasks.forEach((/** @type {any} */ task, /** @type {number} */ index) => {
      const row = tasks.children[index] ?? tasks.appendChild(taskRow());
      fillTask(row, task);
    });
  }

  /** @param {any} flow @param {boolean} open */
  function summaryText(flow, open) {
    if (flow.summary?.title) return flow.summary.title;
    if (flow.type !== 'reasoning') return flow.tasks.at(-1)?.title ?? (open ? labels.working : labels.steps);
    if (open) return labels.thinking;
    const seconds = flow.summary?.duration;
    if (!seconds) return labels.thought;
    const unit = new Intl.NumberFormat(locale, { style: 'unit', unit: 'second', unitDisplay: 'long' });
    return labels.thoughtFor.replace('{duration}', unit.format(seconds));
  }
  return { node, update };
}

function taskRow() {
  const lines = ['task-title', 'task-text', 'task-queries'].map((name) => h('p', { class: name, dir: 'auto' }));
  return h('li', {}, ...lines, h('div', { class: 'sources' }));
}

/** @param {Element} row @param {any} task */
function fillTask(row, task) {
  const [title, text, queries, sources] = /** @type {HTMLElement[]} */ ([...row.children]);
  row.className = task.status_indicator ?? '';
  setText(title, task.title ?? task.title_query ?? '');
  setText(text, task.content ?? '');
  setText(queries, (task.queries ?? []).join(' · '));
  sources.replaceChildren(sourceList(task.sources ?? []));
}

/** @param {Context} context */
function widget({ labels }) {
  const node = h('article', { class: 'message assistant' }, speaker(labels.assistant));
  return {
    node,
    /** @param {Item} item */
    update(item) {
      const card = h('div', { class: 'widget' }, widgetNode(item.widget));
      node.replaceChildren(speaker(labels.assistant), card);
    },
  };
}

/** @param {Context} context */
function generatedImage({ labels }) {
  const node = h('article', { class: 'message assistant' });
  return {
    node,
    /** @param {Item} item */
    update(item) {
      const src = safeUrl(item.image?.url, ['http:', 'https:', 'data:', 'blob:']);
      node.replaceChildren(src ? h('img', { src, alt: labels.image }) : labels.image);
    },
  };
}

/** The questions only: answering them needs a form of its own. @param {Context} context */
function structuredInput({ labels }) {
  const body = h('div', { class: 'text', dir: 'auto' });
  const node = h('article', { class: 'message assistant' }, speaker(labels.assistant), body);
  return {
    node,
    /** @param {Item} item */
    update: (item) => setText(body, item.inputs.map((/** @type {any} */ input) => input.question).join('\n')),
  };
}

/** @param {any[]} sources */
function sourceList(sources) {
  const entries = sources.map((source) => {
    const href = safeUrl(source.url);
    const name = source.title || source.filename || source.url;
    return h('li', {}, href ? h('a', { href, target: '_blank', rel: 'noopener noreferrer' }, name) : name);
  });
  return h('ul', {}, ...entries);
}

/** Who speaks, for those who can't see on which side it stands. @param {string} name */
function speaker(name) {
  return h('h3', { class: 'unseen' }, name);
}
