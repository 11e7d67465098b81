// ChatKit's widgets: what they say and ask for, in a look of our own.

import { button, form, h, safeUrl } from './dom.js';
import { rich } from './text.js';

const TAGS = { listview: 'ul', listviewitem: 'li', title: 'h4', label: 'label', badge: 'span', text: 'p' };

/** The components that are not just a box with text and children. `run` makes an action a handler. */
const VIEWS = {
  divider: () => h('hr'),
  icon: () => null,
  image({ src: url, alt = '' }) {
    const src = safeUrl(url, 'data:');
    return src ? h('img', { src, alt }) : alt;
  },
  markdown: ({ value }) => rich(value),
  button: ({ label, submit, style, onClickAction, disabled }, run) =>
    button({ class: `pill ${style ?? ''}`, type: submit ? 'submit' : 'button', disabled, onclick: run(onClickAction) }, label),
  input: (own, run) => h('input', { ...field(own, run), type: own.inputType, value: own.defaultValue }),
  datepicker: (own, run) =>
    h('input', { ...field(own, run), type: 'date', value: own.defaultValue?.slice(0, 10) }),
  textarea: (own, run) => h('textarea', { ...field(own, run), rows: own.rows }, own.defaultValue),
  checkbox: (own, run) => tick({ ...field(own, run), type: 'checkbox', checked: own.defaultChecked }, own.label),
  radiogroup: (own, run) =>
    h('fieldset', { 'aria-label': own.ariaLabel }, own.options.map(({ value, label }) =>
      tick({ ...field(own, run), type: 'radio', value, checked: value === own.defaultValue }, label))),
  select: (own, run) =>
    h('select', field(own, run), own.placeholder && h('option', { value: '' }, own.placeholder),
      own.options.map(({ value, label, disabled }) =>
        h('option', { value, disabled, selected: value === own.defaultValue }, label))),
};

function field({ name, placeholder, required, disabled, pattern, label, onChangeAction }, run) {
  const named = !label && (placeholder || name);
  return { name, placeholder, required, disabled, pattern, 'aria-label': named, onchange: run(onChangeAction) };
}

function tick(attributes, label) {
  return h('label', h('input', attributes), label);
}

/** `act(action, values)`: what buttons and forms do. */
export function widgetNode(root, act) {
  const run = (action) =>
    action && (({ target }) => act(action, valuesOf(target.closest('.widget form')?.elements ?? [target])));
  const build = (component) => {
    const { type = '', children = [], confirm, cancel, asForm, direction } = component;
    const { value, label, title, color, size, weight, status, onClickAction, onSubmitAction } = component;
    const kind = type.toLowerCase();
    if (VIEWS[kind]) return VIEWS[kind](component, run);
    const row = direction === 'row' ? 'w-row' : '';
    const look = { class: `w-${kind} ${row}`, dir: 'auto', 'data-color': color, 'data-size': size, 'data-weight': weight };
    const end = (last, style) => last && VIEWS.button({ ...last, style, onClickAction: last.action }, run);
    const parts = [status?.text, value ?? label ?? title, [children].flat().map(build)];
    if (confirm || cancel) parts.push(h('div.w-row', end(confirm, 'primary'), end(cancel)));
    if (onClickAction) return h('li', look, button({ onclick: run(onClickAction) }, parts));
    if (kind !== 'form' && !asForm) return h(TAGS[kind] ?? 'div', look, parts);
    return form(look.class, (fields) => onSubmitAction && act(onSubmitAction, valuesOf(fields)), parts);
  };
  return h('div.widget', build(root));
}

/** What the fields hold, by name; `a.b` is b in a. */
function valuesOf(fields) {
  const found = Object.create(null);
  for (const { name, type, checked, value } of fields) {
    if (!name || (type === 'radio' && !checked)) continue;
    const path = name.split('.');
    const last = path.pop();
    const place = path.reduce((at, step) => (at[step] ??= Object.create(null)), found);
    place[last] = type === 'checkbox' ? checked : value;
  }
  return found;
}
