// ChatKit widgets as plain content: everything readable in them, in order, without their behaviour.

import { h, safeUrl } from './dom.js';

/**
 * @param {any} component
 * @returns {HTMLElement}
 */
export function widgetNode(component) {
  const type = String(component.type ?? '').toLowerCase();
  if (type === 'divider') return h('hr');
  if (type === 'image') {
    const src = safeUrl(component.src, ['http:', 'https:', 'data:']);
    return src ? h('img', { src, alt: component.alt ?? '' }) : h('div', {}, component.alt ?? '');
  }
  const own = [component.title, component.value, component.label, component.caption];
  const texts = own.filter((text) => typeof text === 'string' && text);
  const children = [component.children ?? []].flat().map(widgetNode);
  return h('div', { class: `w-${type}`, dir: children.length ? null : 'auto' }, ...texts, ...children);
}
