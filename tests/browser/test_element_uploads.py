"""Files in the composer: chosen, pasted, refused, sent, seen again."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import FilePayload, Locator, expect

from tests.browser.visitor import Visitor
from tests.chatkit_endpoint.sample_files import PDF, PNG

pytestmark = pytest.mark.browser

CAT: FilePayload = {"name": "cat.png", "mimeType": "image/png", "buffer": PNG}
CV: FilePayload = {"name": "cv.pdf", "mimeType": "application/pdf", "buffer": PDF}
ATTACHMENTS = {"enabled": True, "maxCount": 2, "maxSize": 1000}
TWO_PHASE = {"type": "two_phase"}
DIRECT = {"type": "direct", "uploadUrl": "/chatkit/attachments/"}


def allow(visitor: Visitor, strategy: Any = TWO_PHASE, **options: Any) -> None:
    visitor.set_options(
        api={"uploadStrategy": strategy}, composer={"attachments": {**ATTACHMENTS, **options}}
    )


def choose(visitor: Visitor, *files: FilePayload) -> None:
    visitor.page.locator("input[type=file]").set_input_files(list(files))


def chips(visitor: Visitor) -> Locator:
    return visitor.page.locator(".composer .files li")


def loaded(image: Locator) -> None:
    """Its bytes came and are an image."""
    expect(image).to_have_js_property("complete", value=True)
    assert image.evaluate("(image) => image.naturalWidth") > 0


@pytest.mark.parametrize("strategy", [TWO_PHASE, DIRECT], ids=["two phases", "direct"])
def test_files_are_uploaded_sent_and_seen_again(alice: Visitor, strategy: Any) -> None:
    allow(alice, strategy)
    choose(alice, CAT, CV)
    expect(chips(alice)).to_have_text(["cat.png", "cv.pdf"])
    loaded(chips(alice).first.locator("img"))
    alice.ask_and_wait("What is in these?")
    expect(chips(alice)).to_have_count(0)
    sent = alice.page.locator(".user .files li")
    expect(sent).to_have_text(["cat.png", "cv.pdf"])
    loaded(sent.first.locator("img"))
    alice.page.reload()
    expect(sent).to_have_text(["cat.png", "cv.pdf"])
    loaded(sent.first.locator("img"))


def test_a_file_that_is_taken_out_is_deleted_on_the_server(alice: Visitor) -> None:
    allow(alice)
    choose(alice, CAT)
    expect(chips(alice).locator("img")).to_be_visible()
    with alice.page.expect_response("**/chatkit") as answered:
        alice.button("Remove “cat.png”").click()
    body: Any = answered.value.request.post_data_json
    assert body["type"] == "attachments.delete"
    assert answered.value.status == 200
    expect(chips(alice)).to_have_count(0)


@pytest.mark.parametrize(
    ("options", "file", "words"),
    [
        ({"maxSize": 10}, CAT, "“cat.png” is too large"),
        ({"maxSize": {"image/png": 10}}, CAT, "“cat.png” is too large"),
        ({"accept": {"application/pdf": [".pdf"]}}, CAT, "“cat.png” is of a type"),
        ({"maxCount": 0}, CAT, "At most 0 files"),
    ],
    ids=["size", "size by type", "type", "count"],
)
def test_what_may_not_be_sent_is_told_before_it_leaves(
    alice: Visitor, options: Any, file: FilePayload, words: str
) -> None:
    allow(alice, **options)
    # Past the picker, which grays out what the option doesn't name.
    alice.page.locator("input[type=file]").evaluate("(input) => input.removeAttribute('accept')")
    sent: list[str] = []
    alice.page.on("request", lambda request: sent.append(request.url))
    choose(alice, file)
    expect(alice.page.get_by_role("alert")).to_contain_text(words)
    expect(chips(alice)).to_have_count(0)
    assert sent == []


def test_a_failed_upload_is_told_and_tried_again(visitor: Visitor) -> None:
    visitor.sign_in()
    allow(visitor)
    visitor.page.route("**/upload", lambda route: route.abort())
    choose(visitor, CAT)
    alert = visitor.page.get_by_role("alert")
    expect(alert).to_contain_text("can’t be reached")
    expect(visitor.page.locator(".composer .failed")).to_have_text("cat.png")
    visitor.page.unroute("**/upload")
    alert.get_by_role("button", name="Try again").click()
    expect(chips(visitor)).to_have_count(1)
    loaded(chips(visitor).locator("img"))


def test_nothing_is_sent_while_a_file_is_on_its_way(alice: Visitor) -> None:
    allow(alice)
    held: list[Any] = []
    alice.page.route("**/upload", lambda route: held.append(route))  # noqa: PLW0108 Playwright asks a built-in for its signature
    with alice.page.expect_request("**/upload"):
        choose(alice, CAT)
    alice.composer.fill("Wait for it")
    expect(chips(alice)).to_have_attribute("aria-busy", "true")
    expect(alice.button("Send")).to_be_disabled()
    alice.composer.press("Enter")
    expect(alice.questions).to_have_count(0)
    held[0].continue_()
    expect(alice.button("Send")).to_be_enabled()


def test_a_pasted_file_is_taken(alice: Visitor) -> None:
    allow(alice)
    alice.composer.evaluate(
        """(field, bytes) => {
            const clipboardData = new DataTransfer();
            const file = new File([new Uint8Array(bytes)], 'pasted.png', { type: 'image/png' });
            clipboardData.items.add(file);
            const init = { clipboardData, bubbles: true, cancelable: true, composed: true };
            field.dispatchEvent(new ClipboardEvent('paste', init));
        }""",
        list(PNG),
    )
    expect(chips(alice)).to_have_text(["pasted.png"])
    loaded(chips(alice).locator("img"))


def test_without_the_option_there_is_no_clip(alice: Visitor) -> None:
    alice.set_options(composer=None)
    expect(alice.button("Attach files")).to_be_hidden()
