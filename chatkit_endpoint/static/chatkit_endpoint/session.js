// Who asks, as far as a request tells: the login's cookies, the CSRF token, this page load.

/** One page load of the chat. (`randomUUID` is there on https and localhost only.) */
export const sessionId = crypto.randomUUID?.() ?? uuid();

/** @typedef {{cookie: string, header: string, token?: string}} Csrf where Django keeps its token */

/**
 * A `fetch` that adds to each request what the chat endpoint needs to know.
 *
 * @param {Csrf} csrf
 * @param {string} [locale]
 * @param {(requestId: string | null) => void} [onStream] told of each answer that begins to stream
 * @returns {typeof fetch}
 */
export function sessionFetch(csrf, locale, onStream) {
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input, location.href);
    // The token and the session are for our own server only.
    if (url.origin !== location.origin) return fetch(input, init);
    const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined));
    headers.set('X-ChatKit-Session', sessionId);
    // Read each time: signing in again, in another tab, changes it.
    headers.set(csrf.header, csrf.token ?? cookie(csrf.cookie));
    if (locale) headers.set('Accept-Language', locale);
    const response = await fetch(input, { ...init, headers, credentials: 'same-origin' });
    if (response.headers.get('Content-Type')?.startsWith('text/event-stream')) {
      onStream?.(response.headers.get('X-Request-ID'));
    }
    return response;
  };
}

/** @param {string} name */
function cookie(name) {
  const pair = document.cookie.split('; ').find((each) => each.startsWith(`${name}=`));
  return pair ? decodeURIComponent(pair.slice(name.length + 1)) : '';
}

function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5');
}
