"""System D, response and chat quotas. (The move from the older schema comes later.)"""

import pytest

from tests.http.conftest import Service
from tests.systems.calls import one

pytestmark = pytest.mark.integration


async def test_profile_credits_are_responses_used_available_and_quota_and_chats(
    service: Service,
) -> None:
    limits = {"chat_instances": 2, "chat_responses_per_month": 3}
    plan = {"id": "ours", "name": "Ours", "is_default": True, "limits": limits}
    await service.operator.post("/api/admin/plans", plan, status=201)
    caller = service.caller()
    chat = await caller.post("/api/profile/chats", {"title": "one"}, status=201)
    await caller.post(f"/api/profile/chats/{chat['id']}/responses", status=201)
    assert {
        "responses_used_total": 1,
        "responses_used_this_month": 1,
        "responses_available": 2,
        "monthly_responses_quota": 3,
        "chat_instances_used": 1,
        "chat_instances_available": 1,
    }.items() <= (await caller.get("/api/profile/credits")).items()
    row = (
        "SELECT responses_used_total, responses_used_this_month, responses_available,"
        " monthly_responses_quota, chat_instances_used, chat_instances_available"
        " FROM profiles WHERE user_id = $1"
    )
    assert await one(service, row, caller.user) == (1, 1, 2, 3, 1, 1)


async def test_tables_chat_instances_and_chat_responses_have_their_columns_keys_and_indexes(
    service: Service,
) -> None:
    caller = service.caller()
    chat = await caller.post("/api/profile/chats", {"title": "one"}, status=201)
    begun = await caller.post(f"/api/profile/chats/{chat['id']}/responses", status=201)
    path = f"/api/profile/responses/{begun['id']}"
    await caller.ask("PATCH", path, {"completion_status": "completed"})
    row = (
        "SELECT clerk_id, session_end >= session_start, total_minutes <= 1, completion_status"
        " FROM chat_responses JOIN users ON users.id = profile_id WHERE chat_instance_id = $1::uuid"
    )
    assert await one(service, row, chat["id"]) == (caller.user, True, True, "completed")
    keys = (
        "SELECT conrelid::regclass::text FROM pg_constraint JOIN pg_index ON indrelid = conrelid"
        " AND indkey[0] = conkey[1] WHERE contype = 'f' AND confrelid = 'profile_records'::regclass"
    )
    tables = {row[0] for row in await service.sql(keys)}
    assert tables == {"chat_instances", "chat_responses"}
