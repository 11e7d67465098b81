// What is known of the open thread: every ThreadStreamEvent applied to a list of items.

const HIDDEN = new Set(['hidden_context_item', 'sdk_hidden_context', 'end_of_turn']);

/** @typedef {{id: string, type: string, [key: string]: any}} Item */

export class Thread {
  /** @type {string | null} */
  id = null;
  title = '';
  /** @type {{type: string, reason?: string}} */
  status = { type: 'active' };
  /** @type {Map<string, Item>} in the order in which they are shown */
  items = new Map();
  /** @type {Set<string>} ids of items that are still being written */
  open = new Set();

  /** @param {any} thread ChatKit's thread, as it came */
  describe(thread) {
    this.id = thread.id;
    this.title = thread.title ?? '';
    this.status = thread.status ?? this.status;
  }

  /** @param {...Item} items */
  put(...items) {
    for (const item of items) if (!HIDDEN.has(item.type)) this.items.set(item.id, item);
  }

  /**
   * @param {any} event a ThreadStreamEvent; one that says nothing about the thread is ignored
   * @returns {string | null} the id of the item that was added, changed or removed
   */
  apply(event) {
    switch (event.type) {
      case 'thread.created':
      case 'thread.updated':
        this.describe(event.thread);
        return null;
      case 'thread.item.added':
        this.put(event.item);
        this.open.add(event.item.id);
        return event.item.id;
      case 'thread.item.done':
      case 'thread.item.replaced':
        this.put(event.item);
        this.open.delete(event.item.id);
        return event.item.id;
      case 'thread.item.updated': {
        const item = this.items.get(event.item_id);
        if (item) update(item, event.update);
        return event.item_id;
      }
      case 'thread.item.removed':
        this.items.delete(event.item_id);
        this.open.delete(event.item_id);
        return event.item_id;
      default:
        return null;
    }
  }

  /** Nothing is being written any more. @returns {Item[]} what was */
  closeItems() {
    const items = [...this.open].flatMap((id) => this.items.get(id) ?? []);
    this.open.clear();
    return items;
  }

  /** @returns {Item | undefined} */
  lastUserMessage() {
    return [...this.items.values()].findLast((item) => item.type === 'user_message');
  }

  /** Forget the items after `id`, as the server does when it answers that message again.
   * @param {string} id
   * @returns {string[]} the ids that are gone */
  truncateAfter(id) {
    const ids = [...this.items.keys()];
    const gone = ids.slice(ids.indexOf(id) + 1);
    for (const each of gone) this.items.delete(each);
    return gone;
  }
}

/** @param {Item} item */
export function plainText(item) {
  return (item.content ?? []).map((/** @type {any} */ part) => part.text).join('\n\n');
}

/**
 * @param {Item} item
 * @param {any} change a ThreadItemUpdate
 */
function update(item, change) {
  switch (change.type) {
    case 'assistant_message.content_part.added':
    case 'assistant_message.content_part.done':
      part(item, change.content_index);
      item.content[change.content_index] = change.content;
      break;
    case 'assistant_message.content_part.text_delta':
      part(item, change.content_index).text += change.delta;
      break;
    case 'assistant_message.content_part.annotation_added':
      part(item, change.content_index).annotations.splice(change.annotation_index, 0, change.annotation);
      break;
    case 'workflow.task.added':
    case 'workflow.task.updated':
      item.workflow.tasks[change.task_index] = change.task;
      break;
    case 'widget.root.updated':
      item.widget = change.widget;
      break;
    case 'widget.component.updated':
      item.widget = replaced(item.widget, change.component_id, () => change.component);
      break;
    case 'widget.streaming_text.value_delta':
      item.widget = replaced(item.widget, change.component_id, (component) => ({
        ...component,
        value: (component.value ?? '') + change.delta,
      }));
      break;
    case 'generated_image.updated':
      item.image = change.image;
      break;
  }
}

/** The content part at `index`, made when the server skipped ahead.
 * @param {Item} item
 * @param {number} index */
function part(item, index) {
  while (item.content.length <= index) item.content.push({ text: '', annotations: [] });
  return item.content[index];
}

/** A widget tree in which the component `id` is what `change` makes of it.
 * @param {any} component
 * @param {string} id
 * @param {(component: any) => any} change
 * @returns {any} */
function replaced(component, id, change) {
  if (component.id === id) return change(component);
  if (!component.children) return component;
  const children = [component.children].flat();
  return { ...component, children: children.map((/** @type {any} */ c) => replaced(c, id, change)) };
}
