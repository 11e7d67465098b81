"""ChatKit's store: items of every type come back as they went in, in order, and once."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any, get_args

import pytest
from chatkit.store import NotFoundError
from chatkit.types import (
    Annotation,
    AssistantMessageContent,
    AssistantMessageItem,
    ClientToolCallItem,
    CustomSummary,
    CustomTask,
    EndOfTurnItem,
    FileAttachment,
    FileSource,
    GeneratedImage,
    GeneratedImageItem,
    HiddenContextItem,
    InferenceOptions,
    SDKHiddenContextItem,
    SearchTask,
    StructuredInputAnswer,
    StructuredInputFreeform,
    StructuredInputItem,
    StructuredInputMultipleChoice,
    StructuredInputMultipleChoiceOption,
    TaskItem,
    ThoughtTask,
    ThreadItem,
    URLSource,
    UserMessageItem,
    UserMessageTagContent,
    UserMessageTextContent,
    WidgetItem,
    Workflow,
    WorkflowItem,
)
from chatkit.widgets import Card, DynamicWidgetRoot, ListView, ListViewItem, Text
from django.contrib.auth.models import User

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.models import Thread
from chatkit_endpoint.models import ThreadItem as ItemRow
from chatkit_endpoint.store import FAKE_ITEM_ID, MAX_PAGE_SIZE, DjangoStore
from tests.chatkit_endpoint.conversations import context_of
from tests.chatkit_endpoint.samples import NAIVE, a_message, a_thread, rows, text_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore()


@pytest.fixture
def context() -> RequestContext:
    return context_of(User.objects.create_user("alice"))


ITEM: dict[str, Any] = {"id": "item_1", "thread_id": "thr_1", "created_at": NAIVE}
ITEMS: list[ThreadItem] = [
    UserMessageItem(
        **ITEM,
        content=[
            UserMessageTextContent(text="Zürich, שלום, 你好, 👩\u200d💻"),
            UserMessageTagContent(id="tag", text="Ann", data={"a": [1, None]}, group="people"),
        ],
        attachments=[FileAttachment(id="atc_1", name="a.txt", mime_type="text/plain")],
        quoted_text="said before",
        inference_options=InferenceOptions(model="gpt-5"),
    ),
    AssistantMessageItem(
        **ITEM,
        content=[
            AssistantMessageContent(
                text="Look:",
                annotations=[Annotation(source=FileSource(title="A", filename="a.txt"), index=3)],
            )
        ],
    ),
    ClientToolCallItem(
        **ITEM,
        status="completed",
        call_id="call_1",
        name="look",
        arguments={"deep": {"er": [1.5, True]}},
        output={"lines": "a\nb"},
    ),
    WidgetItem(
        **ITEM,
        widget=Card(children=[Text(value="Hi", id="text", streaming=True)]),
        copy_text="Hi",
    ),
    WidgetItem(**ITEM, widget=ListView(children=[ListViewItem(children=[Text(value="One")])])),
    WidgetItem(
        **ITEM,
        widget=DynamicWidgetRoot.model_validate(
            {"type": "Card", "children": [{"type": "Text", "value": "Hi", "color": "red"}]}
        ),
    ),
    GeneratedImageItem(**ITEM, image=GeneratedImage(id="img", url="data:image/png;base64,AA==")),
    StructuredInputItem(
        **ITEM,
        status="answered",
        inputs=[
            StructuredInputMultipleChoice(
                id="colour",
                question="Which?",
                options=[StructuredInputMultipleChoiceOption(value="red")],
                answer=StructuredInputAnswer(values=["red"]),
            ),
            StructuredInputFreeform(id="why", question="Why?", description="Briefly"),
        ],
    ),
    WorkflowItem(
        **ITEM,
        workflow=Workflow(
            type="reasoning",
            tasks=[
                ThoughtTask(title="Think", content="Hm.", status_indicator="complete"),
                SearchTask(queries=["q"], sources=[URLSource(title="T", url="https://a.test/")]),
            ],
            summary=CustomSummary(title="Thought"),
        ),
    ),
    TaskItem(**ITEM, task=CustomTask(title="Do", content="it", icon="bolt")),
    HiddenContextItem(**ITEM, content={"any": ["thing", None]}),
    SDKHiddenContextItem(**ITEM, content="cancelled"),
    EndOfTurnItem(**ITEM),
]


def sent(item: ThreadItem) -> str:
    """What the client gets of it."""
    return item.model_dump_json(exclude_none=True)


@pytest.fixture(autouse=True)
async def thread(store: DjangoStore, context: RequestContext) -> None:
    await store.save_thread(a_thread(), context)


def test_no_type_of_item_is_left_out_here() -> None:
    union, *_ = get_args(ThreadItem)
    assert {type(item) for item in ITEMS} == set(get_args(union))


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.type)
async def test_every_type_comes_back_as_it_went_in(
    store: DjangoStore, context: RequestContext, item: ThreadItem
) -> None:
    await store.add_thread_item("thr_1", item, context)
    loaded = await store.load_item("thr_1", "item_1", context)
    [listed] = (await store.load_thread_items("thr_1", None, 9, "asc", context)).data
    assert type(loaded) is type(item)
    # The SDK may read a widget of a template as one of its own classes: the same to the client.
    assert sent(loaded) == sent(listed) == sent(item)
    assert loaded.created_at == NAIVE
    [row] = await rows(ItemRow)
    assert row.payload == item.model_dump_json()
    assert (row.type, row.created_at) == (item.type, NAIVE.replace(tzinfo=UTC))


async def test_adding_a_known_id_changes_nothing(
    store: DjangoStore, context: RequestContext
) -> None:
    """The SDK does that when a stream is cancelled while it adds the finished item."""
    for item_id in ("msg_1", "msg_2"):
        await store.add_thread_item("thr_1", a_message(item_id), context)
    await store.add_thread_item("thr_1", a_message("msg_1", "Hel"), context)
    page = await store.load_thread_items("thr_1", None, 9, "asc", context)
    assert [text_of(item) for item in page.data] == ["Hello", "Hello"]


async def test_saving_adds_what_is_new_and_updates_what_is_known(
    store: DjangoStore, context: RequestContext
) -> None:
    await store.save_item("thr_1", a_message(text="first"), context)
    await store.save_item("thr_1", a_message(text="second"), context)
    page = await store.load_thread_items("thr_1", None, 9, "asc", context)
    assert [text_of(item) for item in page.data] == ["second"]


@pytest.mark.parametrize("method", ["add_thread_item", "save_item"])
async def test_items_of_models_that_call_them_all_the_same_do_not_meet(
    store: DjangoStore, context: RequestContext, method: str
) -> None:
    for text in ("one", "two"):
        await getattr(store, method)("thr_1", a_message(FAKE_ITEM_ID, text), context)
    page = await store.load_thread_items("thr_1", None, 9, "asc", context)
    assert [text_of(item) for item in page.data] == ["one", "two"]
    assert len({item.id for item in page.data}) == 2
    for item, row in zip(page.data, await rows(ItemRow), strict=True):
        assert re.fullmatch(r"msg_[0-9a-f]{32}", item.id)
        assert item.id == row.key


async def test_one_id_in_two_threads_is_two_items(
    store: DjangoStore, context: RequestContext
) -> None:
    await store.save_thread(a_thread("thr_2"), context)
    await store.add_thread_item("thr_1", a_message(text="one"), context)
    await store.add_thread_item("thr_2", a_message(text="two", thread_id="thr_2"), context)
    for thread_id, text in (("thr_1", "one"), ("thr_2", "two")):
        assert text_of(await store.load_item(thread_id, "msg_1", context)) == text
    await store.delete_thread_item("thr_1", "msg_1", context)
    assert text_of(await store.load_item("thr_2", "msg_1", context)) == "two"
    with pytest.raises(NotFoundError):
        await store.load_item("thr_1", "msg_1", context)


@pytest.mark.parametrize("method", ["add_thread_item", "save_item"])
async def test_an_item_of_no_thread_is_an_error(
    store: DjangoStore, context: RequestContext, method: str
) -> None:
    with pytest.raises(NotFoundError, match=r"^Thread thr_missing not found$"):
        await getattr(store, method)("thr_missing", a_message(), context)
    assert await rows(ItemRow) == []


async def test_deleting_one_leaves_the_others(store: DjangoStore, context: RequestContext) -> None:
    for item_id in ("msg_1", "msg_2"):
        await store.add_thread_item("thr_1", a_message(item_id), context)
    await store.delete_thread_item("thr_1", "msg_1", context)
    page = await store.load_thread_items("thr_1", None, 9, "asc", context)
    assert [item.id for item in page.data] == ["msg_2"]


@pytest.mark.parametrize("method", ["add_thread_item", "save_item"])
async def test_a_thread_that_is_written_in_is_idle_no_longer(
    store: DjangoStore, context: RequestContext, method: str
) -> None:
    [before] = await rows(Thread)
    await getattr(store, method)("thr_1", a_message(), context)
    [after] = await rows(Thread)
    assert after.updated_at > before.updated_at


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_hold_every_item_once_in_order_though_all_are_of_one_moment(
    store: DjangoStore, context: RequestContext, order: str
) -> None:
    ids = [f"msg_{number}" for number in range(250)]
    for item_id in ids:
        await store.add_thread_item("thr_1", a_message(item_id), context)
    seen: list[str] = []
    after, has_more = None, True
    while has_more:
        page = await store.load_thread_items("thr_1", after, 40, order, context)
        seen += [item.id for item in page.data]
        after, has_more = page.after, page.has_more
        assert after == (page.data[-1].id if has_more else None)
    assert seen == (ids if order == "asc" else ids[::-1])


async def test_a_page_that_just_fits_is_the_last(
    store: DjangoStore, context: RequestContext
) -> None:
    for number in range(4):
        await store.add_thread_item("thr_1", a_message(f"msg_{number}"), context)
    for limit, has_more in ((3, True), (4, False), (5, False)):
        page = await store.load_thread_items("thr_1", None, limit, "asc", context)
        assert page.has_more is has_more


async def test_an_empty_thread_is_an_empty_page(
    store: DjangoStore, context: RequestContext
) -> None:
    page = await store.load_thread_items("thr_1", None, 9, "asc", context)
    assert (page.data, page.has_more, page.after) == ([], False, None)


@pytest.mark.parametrize(("limit", "size"), [(0, 1), (-5, 1), (9999, MAX_PAGE_SIZE)])
async def test_no_limit_asks_for_nothing_or_for_everything(
    store: DjangoStore, context: RequestContext, limit: int, size: int
) -> None:
    for number in range(MAX_PAGE_SIZE + 1):
        await store.add_thread_item("thr_1", a_message(f"msg_{number}"), context)
    page = await store.load_thread_items("thr_1", None, limit, "asc", context)
    assert (len(page.data), page.has_more) == (size, True)


async def test_an_unknown_cursor_is_an_error_and_not_the_end(
    store: DjangoStore, context: RequestContext
) -> None:
    await store.add_thread_item("thr_1", a_message(), context)
    await store.save_thread(a_thread("thr_2"), context)
    await store.add_thread_item("thr_2", a_message("msg_2", thread_id="thr_2"), context)
    for cursor in ("msg_missing", "msg_2"):
        with pytest.raises(NotFoundError):
            await store.load_thread_items("thr_1", cursor, 9, "asc", context)
