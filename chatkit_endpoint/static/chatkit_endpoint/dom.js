// Building DOM without ever parsing HTML: what a model or a visitor wrote stays text.

const SVG = 'http://www.w3.org/2000/svg';

const ICONS = {
  arrowUp: 'M12 19V5M5 12l7-7 7 7',
  arrowDown: 'M12 5v14M19 12l-7 7-7-7',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  chevron: 'M9 6l6 6-6 6',
  close: 'M6 6l12 12M18 6L6 18',
  copy: 'M9 9h10v11H9zM15 9V4H5v11h4',
  history: 'M4 12a8 8 0 1 0 2.6-5.9M4 4v4.5h4.5M12 8v4.5l3 1.8',
  compose: 'M12 5H6a2 2 0 0 0-2 2v11a2 2 0 0 0 2 2h11a2 2 0 0 0 2-2v-6M10 14l.6-3 8-8 2.4 2.4-8 8z',
  spark: 'M12 3c.6 5 3.9 8.4 9 9-5.1.6-8.4 4-9 9-.6-5-3.9-8.4-9-9 5.1-.6 8.4-4 9-9z',
  stop: 'M8 7h8a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H8a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1z',
};

/**
 * An element with attributes, listeners (`onclick: fn`) and children; a string child is text.
 * Attributes that are null or false are left out. Never pass `style`: a strict CSP refuses it.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children) if (child || child === '') node.append(child);
  return node;
}

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button that shows an icon only; the label is its name for a screen reader and its tooltip.
 *
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {Record<string, any>} attributes
 */
export function iconButton(name, label, attributes) {
  return h('button', { type: 'button', title: label, 'aria-label': label, ...attributes }, icon(name));
}

/**
 * Show `text` in `element`. Text that only grew is appended to the node that is there, so that a
 * streamed answer keeps the reader's selection and costs no re-layout of what was already shown.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
export function setText(element, text) {
  const node = element.firstChild;
  if (!(node instanceof Text)) element.replaceChildren(text);
  else if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

/**
 * The address if a page may safely link to or load it, else null (`javascript:` and friends).
 *
 * @param {string | null | undefined} url
 * @param {string[]} protocols
 */
export function safeUrl(url, protocols = ['http:', 'https:']) {
  try {
    const parsed = new URL(url ?? '', document.baseURI);
    return url && protocols.includes(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}
