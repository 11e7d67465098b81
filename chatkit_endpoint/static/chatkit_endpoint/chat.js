// Starts every chat that {% chatkit %} put on the page, OpenAI's element and the built-in one alike.

import { sessionFetch } from './session.js';

for (const element of document.querySelectorAll('openai-chatkit[data-chatkit]')) start(element);

/** @param {any} element */
async function start(element) {
  const data = document.getElementById(element.dataset.chatkit);
  const { options, height, csrf, builtin } = JSON.parse(data?.textContent ?? '');
  // Set here and not in the markup, where a strict CSP refuses style attributes.
  element.style.height = height;

  const remembered = memory(`chatkit:${element.id}`);
  options.initialThread ??= remembered.get();
  element.addEventListener('chatkit.thread.change', (/** @type {CustomEvent} */ event) => {
    remembered.set(event.detail.threadId);
  });

  await customElements.whenDefined('openai-chatkit');
  if (builtin) Object.assign(element, builtin);
  // OpenAI's element is light unless told otherwise; ours asks the browser itself.
  else options.theme ??= matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  options.api.fetch = sessionFetch(csrf, options.locale);
  element.setOptions(options);
}

/** The open thread, for as long as this tab lives. @param {string} key */
function memory(key) {
  return {
    get: () => attempt(() => sessionStorage.getItem(key)),
    /** @param {string | null} id */
    set: (id) => attempt(() => (id ? sessionStorage.setItem(key, id) : sessionStorage.removeItem(key))),
  };
}

/** A browser told to store nothing throws; a chat works without a memory. @param {() => any} access */
function attempt(access) {
  try {
    return access();
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}
