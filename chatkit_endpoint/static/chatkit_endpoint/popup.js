// The button in the corner of a page, and the panel that it opens: see {% chatkit_popup %}.

/**
 * @param {HTMLElement} popup
 * @param {import('@openai/chatkit').OpenAIChatKit} element
 * @param {string} height the panel's, where the screen is large enough
 * @param {() => Promise<void>} start shows the chat, when it is first asked for
 */
export function setUpPopup(popup, element, height, start) {
  const toggle = /** @type {HTMLButtonElement} */ (popup.querySelector('.chatkit-popup-toggle'));
  const panel = /** @type {HTMLElement} */ (popup.querySelector('.chatkit-popup-panel'));
  const close = /** @type {HTMLButtonElement} */ (popup.querySelector('.chatkit-popup-close'));
  /** @type {Promise<void> | undefined} */
  let started;

  /** @param {boolean} shown */
  async function show(shown) {
    panel.hidden = !shown;
    toggle.setAttribute('aria-expanded', String(shown));
    if (!shown) return toggle.focus();
    close.focus();
    started ??= startAndWait();
    await started;
    // Unless the visitor has gone elsewhere meanwhile.
    if (!panel.hidden && document.activeElement === close) await focusComposer();
  }

  async function startAndWait() {
    const ready = new Promise((resolve) => {
      element.addEventListener('chatkit.ready', resolve, { once: true });
    });
    await start();
    await ready;
  }

  async function focusComposer() {
    // An on-screen keyboard that nobody asked for would cover the chat.
    if (matchMedia('(pointer: coarse)').matches) return;
    // OpenAI's element refuses while it loads a thread: then the focus stays where it is.
    await element.focusComposer().catch(() => {});
  }

  panel.style.setProperty('--chatkit-popup-height', height);
  toggle.addEventListener('click', () => show(panel.hidden));
  close.addEventListener('click', () => show(false));
  popup.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || panel.hidden || event.defaultPrevented || event.isComposing) return;
    // Within a dialog of the chat's own, such as its history, the key is for that one.
    const dialogs = event.composedPath().filter((node) => node instanceof Element && node.role === 'dialog');
    if (dialogs.some((dialog) => dialog !== panel)) return;
    event.preventDefault();
    show(false);
  });
  toggle.hidden = false;
}
