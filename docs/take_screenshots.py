"""Takes the README's pictures from a running demo: ``docs/take_screenshots.py [ADDRESS]``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PASSWORDS = json.loads((ROOT / "var" / "demo-passwords.json").read_text(encoding="utf-8"))
PROMPT = "What time is it in Tokyo?"


def sign_in(page: Page, address: str, name: str) -> None:
    page.goto(address)
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", PASSWORDS[name])
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")


def ask(page: Page, prompt: str) -> None:
    page.get_by_role("textbox").fill(prompt)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop").wait_for()
    page.get_by_role("button", name="Send").wait_for()


def main(address: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        visitor = browser.new_page(viewport={"width": 1000, "height": 620})
        sign_in(visitor, f"{address}/", "visitor")
        ask(visitor, PROMPT)
        ask(visitor, "Thank you! What else can you do?")
        visitor.screenshot(path=IMAGES / "chat.png")
        operator = browser.new_page(viewport={"width": 1200, "height": 820})
        sign_in(operator, f"{address}/admin/observability/turn/", "operator")
        operator.get_by_role("link", name=PROMPT).first.click()
        operator.screenshot(path=IMAGES / "turn.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
