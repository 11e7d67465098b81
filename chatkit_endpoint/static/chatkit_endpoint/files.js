// Files on their way into a message: checked, uploaded, shown as chips above the field.

import { fill, h, icon, iconButton, safeUrl } from './dom.js';

const ANY_SIZE = 1e8;

export class Files {
  #chat;
  /** {name, busy?, failed?, attachment?}: uploaded where there is an attachment. */
  #entries = [];

  constructor(chat) {
    this.#chat = chat;
  }

  get options() {
    return this.#chat.options.composer?.attachments ?? {};
  }

  get attachments() {
    return this.#entries.flatMap(({ attachment }) => attachment ?? []);
  }

  get areBusy() {
    return this.#entries.some(({ busy }) => busy);
  }

  /** What pasting, dropping and dragging do. */
  take(event) {
    const { files } = event.dataTransfer ?? event.clipboardData;
    if (!this.options.enabled || (!files.length && event.type !== 'dragover')) return;
    event.preventDefault();
    this.add(files);
  }

  add(files) {
    for (const file of files) {
      const message = this.#problem(file);
      if (message) this.#chat.tell({ level: 'danger', message });
      else this.#upload(file);
    }
  }

  /** Show what is uploaded already. */
  attach(attachments) {
    this.#set([...this.#entries, ...attachments.map((attachment) => ({ name: attachment.name, attachment }))]);
  }

  clear() {
    this.#set([]);
  }

  #set(entries = this.#entries) {
    this.#entries = entries;
    this.#chat.view.render();
  }

  /** Why a file can't be sent, or nothing. */
  #problem({ name, size, type }) {
    const { labels, options } = this.#chat;
    const { maxSize = ANY_SIZE, maxCount: count = 10 } = this.options;
    const most = maxSize[type] ?? (Number(maxSize) || ANY_SIZE);
    /** @type {Intl.NumberFormatOptions} */
    const unit = { style: 'unit', unit: 'megabyte', maximumFractionDigits: 1 };
    const limit = (most / 2 ** 20).toLocaleString(options.locale, unit);
    if (this.#entries.length >= count) return fill(labels.fileCount, { count });
    if (size > most) return fill(labels.fileSize, { name, limit });
    return !this.#typeOf(name, type) && fill(labels.fileType, { name });
  }

  /** The type under which a file may be sent, by its own word or by its name. */
  #typeOf(name, type) {
    const accept = Object.entries(this.options.accept ?? { [type || 'application/octet-stream']: [] });
    const ending = name.slice(name.lastIndexOf('.')).toLowerCase();
    const fits = ([key, endings]) =>
      key === type || (key.endsWith('/*') && type.startsWith(key.slice(0, -1))) || endings.includes(ending);
    const found = accept.find(fits)?.[0];
    return found && (type || found);
  }

  async #upload(file) {
    const { name } = file;
    const abort = new AbortController();
    const entry = { name, abort, busy: true };
    this.#set([...this.#entries, entry]);
    try {
      const type = this.#typeOf(name, file.type);
      entry.attachment = await this.#chat.protocol.upload(file, type, abort.signal);
    } catch (error) {
      entry.failed = true;
      const again = () => {
        this.#remove(entry);
        this.#upload(file);
      };
      if (!abort.signal.aborted) this.#chat.fail(error, again);
    }
    entry.busy = false;
    this.#set();
  }

  #remove(entry) {
    const { abort, attachment } = entry;
    abort?.abort();
    this.#set(this.#entries.filter((each) => each !== entry));
    if (!attachment) return;
    const params = { attachment_id: attachment.id };
    this.#chat.protocol.request('attachments.delete', params).catch((error) => this.#chat.fail(error));
  }

  node() {
    const { labels } = this.#chat;
    const remove = (entry) => iconButton('close', fill(labels.remove, entry), () => this.#remove(entry));
    return fileList(labels, this.#entries.map((entry) => fileNode(entry, remove(entry))));
  }
}

export function fileList(labels, chips) {
  return h('ul.files', { 'aria-label': labels.files, hidden: !chips.length }, chips);
}

/** A chip with an image's preview, or the sign of a file. @param {any} file @param {any} [more] */
export function fileNode({ name, busy, failed, attachment }, more) {
  const src = safeUrl(attachment?.preview_url);
  const picture = src ? h('img', { src, alt: '' }) : icon('page-blank');
  const attributes = { class: failed && 'failed', 'aria-busy': busy && 'true' };
  return h('li', attributes, picture, h('span', name), more);
}
