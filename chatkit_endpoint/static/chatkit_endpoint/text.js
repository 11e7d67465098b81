// A model's text with the marks of Markdown that matter inside a line, as DOM nodes: nothing is
// parsed as HTML, and nothing is loaded. Lines and lists are shown as they were written.

import { h, link, safeUrl } from './dom.js';

// A block of code, a heading, bold, code, a link, an address: each bounded, so that none takes long.
const MARKS =
  /^ *```.*\n([^]*?)(?:\n *```|$(?![^]))|^#{1,6} +(.{1,999})|\*\*(?=\S)(.{1,999}?\S)\*\*|`([^`\n]{1,999})`|!?\[([^\][\n]{1,999})\]\(([^\s()]{1,999})\)|(https?:\/\/[^\s<>"“”»]{1,999}[^\s<>"“”».,;:!?)*])/mu;

export function rich(text) {
  return h('div.text', { dir: 'auto' }, marked(text));
}

function marked(text) {
  const nodes = [];
  for (let found; (found = MARKS.exec(text)); text = text.slice(found.index + found[0].length)) {
    const [all, block, heading, bold, code, label, target, bare] = found;
    const href = safeUrl(target ?? bare, 'mailto:');
    nodes.push(text.slice(0, found.index));
    if (block !== undefined) nodes.push(h('pre', { dir: 'ltr', tabindex: 0 }, block));
    else if (code) nodes.push(h('code', code));
    else if (heading ?? bold) nodes.push(h('strong', { class: heading && 'heading' }, marked(heading ?? bold)));
    else nodes.push(href ? link(href, label ?? bare) : all);
  }
  return [...nodes, text];
}
