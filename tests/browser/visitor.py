"""Someone who uses the chat in a real Chromium."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.servers import PASSWORD, Server

# Chromium as root in a container, and without the services it would call at its start.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 15_000
"""How long, in ms, something on the page may take before a test fails."""


class Visitor:
    """One browser window with its own cookies; ``complaints`` is what its console said in red."""

    def __init__(self, context: BrowserContext, site: Server) -> None:
        context.set_default_timeout(PATIENCE)
        self.context = context
        self.site = site
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def sign_in(self, name: str = "alice") -> Visitor:
        """Go to the chat, and through the login page that stands before it."""
        self.page.goto(self.site.url)
        fill_in_login(self.page, name)
        self.composer.wait_for()
        return self

    @property
    def element(self) -> Locator:
        return self.page.locator("openai-chatkit")

    @property
    def composer(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def questions(self) -> Locator:
        return self.page.locator(".user .text")

    @property
    def answers(self) -> Locator:
        return self.page.locator(".assistant .text")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def ask(self, prompt: str) -> None:
        self.composer.fill(prompt)
        self.composer.press("Enter")

    def ask_and_wait(self, prompt: str) -> str:
        """Ask, and return the whole answer."""
        self.ask(prompt)
        expect(self.questions.last).to_have_text(prompt)
        expect(self.button("Send")).to_be_visible()
        expect(self.page.get_by_role("alert")).to_have_count(0)
        return self.answers.last.inner_text()

    def set_options(self, script: str = "", **changes: Any) -> None:
        """Call setOptions with the page's options and these.

        A dict is merged into the option of that name; None takes the option away. ``script`` is
        JavaScript that may set functions in ``options``.
        """
        self.element.evaluate(
            """(element, changes) => {
                const data = document.getElementById(element.dataset.chatkit);
                const { options } = JSON.parse(data.textContent);
                const token = document.cookie.match(/csrftoken=([^;]+)/)?.[1] ?? '';
                options.api.fetch = (url, init) => fetch(url, { ...init, credentials: 'same-origin',
                    headers: { ...init.headers, 'X-CSRFToken': token } });
                for (const [name, value] of Object.entries(changes)) {
                    if (value === null) delete options[name];
                    else if (value.constructor !== Object) options[name] = value;
                    else options[name] = { ...options[name], ...value };
                }
                SCRIPT;
                element.setOptions(options);
            }""".replace("SCRIPT", script),
            changes,
        )

    def record_events(self) -> None:
        """From now on keep the element's events, with their details."""
        self.element.evaluate(
            """(element) => {
                window.recorded = [];
                const names = ['ready', 'error', 'response.start', 'response.end', 'thread.change',
                    'thread.load.start', 'thread.load.end', 'history.open', 'history.close', 'log'];
                for (const name of names) element.addEventListener(`chatkit.${name}`, (event) => {
                    window.recorded.push([name, event.detail]);
                });
            }"""
        )

    def recorded_events(self) -> list[tuple[str, Any]]:
        return [(name, detail) for name, detail in self.page.evaluate("window.recorded")]


def fill_in_login(page: Page, name: str) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
