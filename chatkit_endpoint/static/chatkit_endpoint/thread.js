// What is known of the open thread: every ThreadStreamEvent applied to a list of items.

const HIDDEN = ['hidden_context_item', 'sdk_hidden_context', 'end_of_turn'];

export class Thread {
  id = null;
  title = '';
  status = { type: 'active' };
  /** By id, in the order in which they are shown. */
  items = new Map();
  /** Ids of items that are still being written. */
  open = new Set();

  /** Take over the metadata of ChatKit's thread. */
  describe({ id, title, status }) {
    Object.assign(this, { id, title: title ?? '', status: status ?? this.status });
  }

  put(...items) {
    for (const item of items) if (!HIDDEN.includes(item.type)) this.items.set(item.id, item);
  }

  /** Apply a ThreadStreamEvent; returns the id of the item that it added, changed or removed. */
  apply({ type, thread, item, item_id, update: change }) {
    const id = item?.id ?? item_id;
    if (thread) this.describe(thread);
    if (item) this.put(item);
    if (change && this.items.has(id)) update(this.items.get(id), change);
    if (type === 'thread.item.removed') this.items.delete(id);
    if (type === 'thread.item.added') this.open.add(id);
    else if (!change) this.open.delete(id);
    return id;
  }

  /** Nothing is being written any more; returns the ids of what was. */
  closeItems() {
    const ids = [...this.open].filter((id) => this.items.has(id));
    this.open.clear();
    return ids;
  }

  get last() {
    return [...this.items.values()].at(-1);
  }

  /** The user's message that the item `id` answers; without an id, the last one. */
  questionBefore(id) {
    const items = [...this.items.values()];
    const end = id ? items.findIndex((item) => item.id === id) : items.length;
    return items.slice(0, end).findLast(({ type }) => type === 'user_message');
  }

  /** Forget the items after `id`, as the server does when it answers that message again. */
  truncateAfter(id) {
    const ids = [...this.items.keys()];
    const gone = ids.slice(ids.indexOf(id) + 1);
    for (const each of gone) this.items.delete(each);
    return gone;
  }
}

export function plainText({ content = [] }) {
  return content.map(({ text }) => text).join('\n\n');
}

/** Apply a ThreadItemUpdate. What it carries tells what it changes. */
function update(item, { content_index, content, annotation_index, annotation, component_id, component, ...rest }) {
  const { delta, task, task_index, widget, image } = rest;
  if (widget) item.widget = widget;
  if (image) item.image = image;
  if (task) item.workflow.tasks[task_index] = task;
  if (component_id) {
    const grown = (old) => component ?? { ...old, value: (old.value ?? '') + delta };
    item.widget = replaced(item.widget, component_id, grown);
  }
  if (content_index === undefined) return;
  // The server may have skipped ahead.
  while (item.content.length <= content_index) item.content.push({ text: '', annotations: [] });
  if (content) item.content[content_index] = content;
  else if (annotation) item.content[content_index].annotations.splice(annotation_index, 0, annotation);
  else item.content[content_index].text += delta;
}

/** A widget tree in which the component `id` is what `change` makes of it. */
function replaced(component, id, change) {
  if (component.id === id) return change(component);
  if (!component.children) return component;
  return { ...component, children: [component.children].flat().map((child) => replaced(child, id, change)) };
}
