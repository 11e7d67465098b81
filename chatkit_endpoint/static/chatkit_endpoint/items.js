// One thread item as DOM.

import { button, fill, form, h, icon, iconButton, link, safeUrl } from './dom.js';
import { fileList, fileNode } from './files.js';
import { rich } from './text.js';
import { plainText } from './thread.js';
import { widgetNode } from './widgets.js';

/** The children of each type of item. Of other types nothing is shown. */
const VIEWS = {
  user_message: userMessage,
  assistant_message: assistantMessage,
  workflow,
  task: ({ task }, open, chat) => workflow({ workflow: { tasks: [task] } }, open, chat),
  widget: (item, open, chat) => [widgetNode(item.widget, (...asked) => chat.act(item, ...asked))],
  generated_image: generatedImage,
  structured_input: questions,
};

/** `open`: whether the item is still being written. */
export function itemNode(item, open, chat) {
  const children = VIEWS[item.type]?.(item, open, chat);
  if (!children) return null;
  const kind = { user_message: 'user', workflow: 'workflow', task: 'workflow' }[item.type] ?? 'assistant';
  // Who speaks, for those who can't see on which side it stands.
  const speaker = h('h3.unseen', kind === 'user' ? chat.labels.you : chat.labels.assistant);
  return h('article', { class: `${kind} ${open ? 'open' : ''}`, 'data-id': item.id }, speaker, children);
}

function line(text, name) {
  return text && h('p', { class: name }, text);
}

function userMessage({ content, attachments, quoted_text, failed }, open, { labels }) {
  return [
    fileList(labels, attachments.map((attachment) => fileNode({ name: attachment.name, attachment }))),
    h('div.bubble',
      line(quoted_text, 'quote'),
      h('div.text', { dir: 'auto' }, content.map(({ text }) => text).join(''))),
    failed && line(labels.unsent, 'note'),
  ];
}

function assistantMessage(item, open, chat) {
  const { labels, options } = chat;
  const { feedback, retry } = options.threadItemActions ?? {};
  const { id, content } = item;
  const sources = content.flatMap(({ annotations = [] }) => annotations.map(({ source }) => source));
  const copy = async ({ currentTarget: { firstChild: sign } }) => {
    await chat.copy(id);
    sign.className = 'icon icon-check';
    setTimeout(() => (sign.className = 'icon icon-copy'), 2000);
  };
  const thumb = (kind, label) =>
    iconButton('thumb-up', label, () => chat.rate(id, kind), {
      class: kind,
      'aria-pressed': `${chat.ratings.get(id) === kind}`,
    });
  return [
    content.map(({ text }) => rich(text)),
    sources.length > 0 && h('div.sources', labels.sources, sourceList(sources)),
    h('div.actions', { hidden: open || !plainText(item) },
      navigator.clipboard && iconButton('copy', labels.copy, copy),
      feedback && [thumb('positive', labels.good), thumb('negative', labels.bad)],
      retry && iconButton('reload', labels.again, () => chat.retry(id), { class: 'again' })),
  ];
}

/** Thoughts and other tasks, folded. @param {any} item */
function workflow({ workflow: { type, tasks, summary, expanded } }, open, { labels, options }) {
  if (!open && !tasks.length && !summary?.title) return [];
  const unit = { style: 'unit', unit: 'second', unitDisplay: 'long' };
  const duration = summary?.duration && summary.duration.toLocaleString(options.locale, unit);
  const thought = duration ? fill(labels.thoughtFor, { duration }) : labels.thought;
  const own = type === 'reasoning' ? (open ? labels.thinking : thought) : tasks.at(-1)?.title;
  const title = summary?.title ?? own ?? (open ? labels.working : labels.steps);
  return [
    h('details', { open: expanded },
      h('summary', icon('sparkle'), h('span.title', title), icon('chevron-right')),
      h('ol', tasks.map(taskRow))),
  ];
}

function taskRow({ title, title_query, content, queries = [], sources = [], status_indicator }) {
  return h('li', { class: status_indicator },
    line(title ?? title_query, 'task-title'),
    line(content, 'text'),
    line(queries.join(' · ')),
    sources.length > 0 && h('div.sources', sourceList(sources)));
}

function sourceList(sources) {
  return h('ul', sources.map(({ url, title, filename }) => {
    const href = safeUrl(url);
    const name = title || filename || url;
    return h('li', href ? link(href, name) : name);
  }));
}

function generatedImage({ image }, open, { labels }) {
  const src = safeUrl(image?.url, 'data:', 'blob:');
  return [src ? h('img', { src, alt: labels.image }) : labels.image];
}

/** Questions to the visitor, and what they answered. */
function questions({ id, status, inputs }, open, chat) {
  const { labels } = chat;
  const pending = status === 'pending';
  const send = (fields, state = 'answered') => {
    const answer = ({ id: name }) => {
      const own = [...fields].filter((field) => field.name === name && (field.checked || field.type === 'text'));
      const values = own.map((field) => field.value.trim()).filter(Boolean);
      return [name, { values, skipped: !values.length }];
    };
    const input = { status: state, answers: Object.fromEntries(inputs.map(answer)) };
    chat.request('threads.add_structured_input', { item_id: id, input });
  };
  const question = ({ id: name, question: text, description, options = [], multiple, answer }) => {
    const choice = ({ value }) =>
      h('label', h('input', { type: multiple ? 'checkbox' : 'radio', name, value }), value);
    const other = options.length ? labels.other : text;
    return h('fieldset', h('legend', text), line(description),
      // What was written comes first: of several answers to a single choice only that one counts.
      pending && [h('input', { type: 'text', name, 'aria-label': other, placeholder: other }), options.map(choice)],
      !pending && line(answer?.values.join(', ') || labels.skipped));
  };
  const buttons = h('div.w-row',
    button({ class: 'pill primary', type: 'submit' }, labels.submit),
    button({ class: 'pill', onclick: () => send([], 'skipped') }, labels.skip));
  return [form('widget', (fields) => send(fields), inputs.map(question), pending && buttons)];
}
