"""`/api/admin/organizations`: accounts, their members and limits, for operators."""

from typing import Any

import msgspec

from gateway.http.operations import AnyOperation, Call, Group, Needs, Nothing, Tag
from gateway.http.paging import Listing, PageParams
from gateway.http.reading import check_new_id
from gateway.problems import ProblemCode, refuse
from meter.account_messages import Text
from meter.admin_messages import (
    AccountLimit,
    LimitChange,
    Member,
    MemberChange,
    NewOrganization,
    Organization,
    OrganizationChange,
    Page,
)
from meter.limits import UNLIMITED

ORGANIZATIONS = "/api/admin/organizations"
ONE = ORGANIZATIONS + "/{organization_id}"

ALL: Listing[Organization] = Listing("organizations", str, lambda each: each.id)
MEMBERS: Listing[Member] = Listing("members", str, lambda each: each.user_id)


class OrganizationParams(msgspec.Struct, frozen=True):
    """Which organization."""

    organization_id: Text


class MembersParams(PageParams, frozen=True, kw_only=True):
    """Which organization, and which part of its members."""

    organization_id: Text


class MemberParams(msgspec.Struct, frozen=True):
    """Which member."""

    organization_id: Text
    user_id: Text


class LimitParams(msgspec.Struct, frozen=True):
    """Whose limit: the organization's, or with a user a member's."""

    organization_id: Text
    user_id: Text | None = None


def operations() -> list[AnyOperation]:
    """The table's entries."""
    group = Group(Tag.ACCOUNTS, "admin")
    members = ONE + "/members"
    member = members + "/{user_id}"
    limits = ONE + "/limits"
    # The first question after one that only recorded makes its row.
    known = {"needs": Needs.WRITE}
    return [
        group.get(ORGANIZATIONS, list_organizations, "Organizations by id"),
        group.create(
            ORGANIZATIONS,
            create_organization,
            "Make an organization",
            problems=(ProblemCode.CONFLICT,),
        ),
        group.get(ONE, get_organization, "An organization", **known),
        group.patch(ONE, change_organization, "Change an organization"),
        group.get(members, list_members, "An organization's members by user", **known),
        group.put(member, put_member, "Make a member, or set the limit of one"),
        group.delete(member, remove_member, "Remove a member"),
        group.get(limits, get_limit, "A limit, and what was used of it", **known),
        group.put(limits, set_limit, "Set a limit, to the second"),
    ]


async def list_organizations(call: Call[PageParams, Nothing]) -> Page[Organization]:
    """All of them."""
    params = call.params
    found = await call.books.organizations(params.limit + 1, ALL.after(params))
    return ALL.page(params, found)


async def create_organization(call: Call[Nothing, NewOrganization]) -> Organization:
    """Without a plan, and unlimited unless it has a limit of its own. One that is there is a
    `conflict`."""
    check_new_id(call.body.id)
    await call.books.add_organization(msgspec.json.encode(call.body))
    return await _organization(call, call.body.id)


async def get_organization(call: Call[OrganizationParams, Nothing]) -> Organization:
    """By its id."""
    return await _organization(call, call.params.organization_id)


async def change_organization(
    call: Call[OrganizationParams, OrganizationChange],
) -> Organization:
    """Live sessions see another limit with their next second; another time zone holds from the end
    of the present period on."""
    organization_id = call.params.organization_id
    await _organization(call, organization_id)
    await call.books.change_organization(organization_id, msgspec.json.encode(call.body))
    call.changed.add(organization_id)
    return await _organization(call, organization_id)


async def list_members(call: Call[MembersParams, Nothing]) -> Page[Member]:
    """Only of an organization that is there."""
    params = call.params
    await _organization(call, params.organization_id)
    found = await call.books.members(
        params.organization_id, params.limit + 1, MEMBERS.after(params)
    )
    return MEMBERS.page(params, found)


async def put_member(call: Call[MemberParams, MemberChange]) -> Member:
    """Of an organization that is there. Live sessions see the limit with their next second."""
    params = call.params
    await _organization(call, params.organization_id)
    call.changed.add(params.organization_id)
    await call.books.put_member(
        params.organization_id, params.user_id, msgspec.json.encode(call.body)
    )
    (member,) = await call.books.members(params.organization_id, 1, only=params.user_id)
    return member


async def remove_member(call: Call[MemberParams, Nothing]) -> Nothing:
    """The member's limit goes with it; what was recorded stays."""
    params = call.params
    if not await call.books.remove_member(params.organization_id, params.user_id):
        raise refuse(ProblemCode.NOT_FOUND, "the organization has no such member")
    call.changed.add(params.organization_id)
    return Nothing()


async def get_limit(call: Call[LimitParams, Nothing]) -> AccountLimit:
    """In the present period, as far as it is durable; also of a user who never recorded, on an
    organization that is there."""
    await _organization(call, call.params.organization_id)
    return await call.books.account_limit(call.params.organization_id, call.params.user_id)


async def set_limit(call: Call[OrganizationParams, LimitChange]) -> AccountLimit:
    """Of an organization that is there, or of one of its members, who is made where they are
    missing. Live sessions see it with their next second. Null is unlimited, whatever the plan
    says."""
    organization_id, body = call.params.organization_id, call.body
    await _organization(call, organization_id)
    call.changed.add(organization_id)
    seconds = None if body.limit_seconds == UNLIMITED else body.limit_seconds
    await call.books.set_limit(organization_id, body.user_id, seconds)
    return await call.books.account_limit(organization_id, body.user_id)


async def find_organization(call: Call[Any, Any], organization_id: str) -> Organization | None:
    """One that is there; one that has only recorded, with tokens that name it, is made so. In a
    transaction that may write."""
    found = await call.books.organizations(1, only=organization_id)
    if not found:
        await call.books.make_known(organization_id)
        found = await call.books.organizations(1, only=organization_id)
    return found[0] if found else None


async def _organization(call: Call[Any, Any], organization_id: str) -> Organization:
    found = await find_organization(call, organization_id)
    if found is None:
        raise refuse(ProblemCode.NOT_FOUND, "there is no such organization")
    return found
