// Starts every chat that {% chatkit %} and {% chatkit_popup %} put on the page, OpenAI's element and
// the built-in one alike.

import { Bridge } from './bridge.js';
import { setUpPopup } from './popup.js';
import { Reporter } from './reporter.js';
import { sessionFetch, sessionId } from './session.js';

/** How long OpenAI's script may take to define its element, in ms. */
const SCRIPT_PATIENCE = 10_000;
const TAG = 'openai-chatkit';

/**
 * @typedef {import('@openai/chatkit').OpenAIChatKit} OpenAIChatKit
 * @typedef {import('@openai/chatkit').ChatKitOptions} ChatKitOptions
 * @typedef {import('@openai/chatkit').CustomApiConfig} CustomApiConfig
 * @typedef {{
 *   builtin?: {labels: Record<string, string>, loginUrl: string, src: string},
 *   client: 'builtin' | 'openai' | 'auto',
 *   csrf: import('./session.js').Csrf,
 *   eventsUrl: string,
 *   height: string,
 *   locale: string,
 *   options: ChatKitOptions & {api: CustomApiConfig},
 *   scriptUrl?: string,
 * }} PageData what chatkit_endpoint/embedding.py puts on the page
 */

/** @type {Reporter | undefined} one for the page, whose session they all share */
let reporter;
/** @type {Promise<boolean> | undefined} whether OpenAI's element is there */
let openAIScript;

// When every script of the page has had its chance to listen for `chatkit.configure`.
if (document.readyState === 'loading' || document.readyState === 'interactive') {
  document.addEventListener('DOMContentLoaded', startAll, { once: true });
  addEventListener('load', startAll, { once: true });
} else {
  startAll();
}

function startAll() {
  for (const element of /** @type {NodeListOf<OpenAIChatKit>} */ (
    document.querySelectorAll(`${TAG}[data-chatkit]:not([data-chatkit-found])`)
  )) {
    element.dataset.chatkitFound = '';
    const data = pageData(element);
    const popup = element.closest('.chatkit-popup');
    if (popup instanceof HTMLElement) {
      setUpPopup(popup, element, data.height, () => start(element, data));
    } else {
      // Set here and not in the markup, where a strict CSP refuses style attributes.
      element.style.height = data.height;
      start(element, data);
    }
  }
}

/** @param {HTMLElement} element @returns {PageData} */
function pageData(element) {
  const data = document.getElementById(element.dataset.chatkit ?? '');
  return JSON.parse(data?.textContent ?? '');
}

/** @param {OpenAIChatKit} element @param {PageData} data */
async function start(element, data) {
  const { options, csrf, locale } = data;
  const bridge = new Bridge(element, (report) => reporterOf(data).add(report));
  const remembered = memory(`chatkit:${element.id}`);
  options.initialThread ??= remembered.get();
  element.addEventListener('chatkit.thread.change', ({ detail }) => remembered.set(detail.threadId));
  options.api.fetch = sessionFetch(csrf, locale, (requestId) => bridge.noteStream(requestId));

  const isOpenAI = data.client !== 'builtin' && (await loadOpenAI(data.scriptUrl ?? ''));
  if (!isOpenAI && data.client === 'openai') bridge.report('chatkit.error', { code: 'script_failed' });
  if (!isOpenAI && data.client === 'auto') bridge.report('client.fallback');
  if (!isOpenAI && data.builtin) {
    const { labels, loginUrl, src } = data.builtin;
    await import(src);
    Object.assign(element, { labels, loginUrl });
    options.locale = /** @type {ChatKitOptions['locale']} */ (locale);
    bridge.tellsFirstText = true;
  } else {
    // OpenAI's element is light unless told otherwise; ours asks the browser itself.
    const colorScheme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
    if (typeof options.theme !== 'string') options.theme = { colorScheme, ...options.theme };
  }
  await customElements.whenDefined(TAG);
  const detail = { options };
  element.dispatchEvent(new CustomEvent('chatkit.configure', { bubbles: true, detail }));
  element.setOptions(detail.options);
}

/** @param {PageData} data */
function reporterOf({ eventsUrl, csrf, locale }) {
  reporter ??= new Reporter(eventsUrl, sessionId, sessionFetch(csrf, locale));
  return reporter;
}

/** Once for the page. @param {string} url @returns {Promise<boolean>} whether the element is there */
function loadOpenAI(url) {
  openAIScript ??= new Promise((resolve) => {
    customElements.whenDefined(TAG).then(() => resolve(true));
    setTimeout(() => resolve(false), SCRIPT_PATIENCE);
    const script = document.createElement('script');
    script.src = url;
    script.addEventListener('error', () => resolve(false));
    document.head.append(script);
  });
  return openAIScript;
}

/** The open thread, for as long as this tab lives. @param {string} key */
function memory(key) {
  return {
    get: () => attempt(() => sessionStorage.getItem(key)),
    /** @param {string | null} id */
    set: (id) => attempt(() => (id ? sessionStorage.setItem(key, id) : sessionStorage.removeItem(key))),
  };
}

/**
 * A browser told to store nothing throws; a chat works without a memory.
 *
 * @template T
 * @param {() => T} access
 */
function attempt(access) {
  try {
    return access();
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}
