// Building DOM without ever parsing HTML: what a model or a visitor wrote stays text.

const TEXTUAL = /^(p|span|h\d|legend|strong)$/;
const HANDLERS = ['onclick', 'onsubmit', 'onchange', 'oninput', 'onkeydown'];

/**
 * `h('p.note', { id, onclick }, 'text', child, …)`: an element. Attributes and children that are
 * null, undefined or false are left out. Never pass `style`: a strict CSP refuses it.
 */
export function h(selector, ...children) {
  const [tag, name] = selector.split('.');
  const node = document.createElement(tag);
  const given = children[0]?.constructor === Object ? children.shift() : {};
  const attributes = { class: name, dir: TEXTUAL.test(tag) && 'auto', ...given };
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node[key] = value;
    else if ((value ?? false) !== false) node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(3).filter(Boolean));
  return node;
}

/** One of icons.svg, which element.css knows by ChatKit's names for them. */
export function icon(name) {
  return h('i', { class: `icon icon-${name}`, 'aria-hidden': 'true' });
}

export function button(attributes, ...children) {
  return h('button', { type: 'button', ...attributes }, ...children);
}

/** A button that shows an icon only; the label is its name for a screen reader and its tooltip. */
export function iconButton(sign, title, onclick, attributes) {
  const name = `quiet ${attributes?.class ?? ''}`;
  return button({ title, 'aria-label': title, onclick, ...attributes, class: name }, icon(sign));
}

/** A form that calls `onsubmit` with its fields and never leaves the page. */
export function form(name, onsubmit, ...children) {
  const submit = (event) => {
    event.preventDefault();
    onsubmit(event.target.elements);
  };
  return h('form', { class: name, onsubmit: submit }, ...children);
}

/**
 * Bring `old` up to `fresh`, touching only what differs: so focus, selection, what was typed,
 * unfolded and scrolled stay, and text that grew is appended. What is in a `data-keep` is left alone.
 */
export function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  if (old instanceof Text) {
    if (!fresh.data.startsWith(old.data)) old.data = fresh.data;
    else if (fresh.data !== old.data) old.appendData(fresh.data.slice(old.data.length));
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== 'open' && name !== 'style') old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== 'open' && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of HANDLERS) old[name] = fresh[name];
  if ('keep' in fresh.dataset) return;
  const children = [...fresh.childNodes];
  while (old.childNodes.length > children.length) old.lastChild.remove();
  for (const [index, child] of children.entries()) {
    if (old.childNodes[index]) morph(old.childNodes[index], child);
    else old.append(child);
  }
}

/** The address if a page may safely link to or load it, else null (`javascript:` and friends). */
export function safeUrl(url, ...more) {
  const parsed = url && URL.parse(url, document.baseURI);
  return parsed && ['http:', 'https:', ...more].includes(parsed.protocol) ? parsed.href : null;
}

export function link(href, text) {
  return h('a', { href, target: '_blank', rel: 'noopener noreferrer' }, text);
}

/** `text` with its `{name}`s filled in. */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
