-- Looking ------------------------------------------------------------------------------------

-- An organization's live sessions, those that began last first, as a flat array.
local function live_sessions(prefix, org, most)
  local out = {}
  if most == 0 then return out end
  for _, id in ipairs(call('ZREVRANGE', prefix .. ':o:' .. org, 0, most - 1)) do
    local values = call('HMGET', prefix .. ':s:' .. id, 'u', 'k', 'g', 'c')
    if values[1] then
      out[#out + 1] = id
      for _, value in ipairs(values) do out[#out + 1] = value end
    end
  end
  return out
end

-- look: an organization as it is now. Writes nothing.
--   KEYS  prefix
--   ARGV  organization, most sessions to list, users
--   gives {number of live sessions, sessions listed: session, user, kind, origin, seconds; then a
--         user: standing, or {"account_cold"}, or {"member_cold"}}
local function look(keys, args)
  local prefix, org, now = keys[1], args[1], now_seconds()
  local cache = new_cache()
  local reply = { call('ZCARD', prefix .. ':o:' .. org),
    live_sessions(prefix, org, tonumber(args[2])) }
  for at = 3, #args do
    local user = args[at]
    local account, period, figures, member = load_present(cache, prefix, org, user, now)
    reply[#reply + 1] = account and standing(account, period, figures, member)
      or { coldness(cache, prefix, org, user) }
  end
  return reply
end

-- Where in an index, from its end, those begin that come after a place: lower scores, or the same
-- score and a lower member. (Members are ASCII: session ids. Whatever is at the place may be gone.)
local function rank_after(index, score, member)
  local low = call('ZCOUNT', index, '(' .. score, '+inf')
  local high = low + call('ZCOUNT', index, score, score)
  while low < high do
    local middle = floor((low + high) / 2)
    if call('ZREVRANGE', index, middle, middle)[1] >= member then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- rank: the highest entries of an index, or those after a place in it. Writes nothing.
--   KEYS  partitions' prefixes
--   ARGV  index ("began", "orgs" or "o:<org>"), most entries, and the place: score, member
--   gives an array a partition: {entries of the index in all, then an entry: member, score}
local function rank(keys, args)
  local most, replies = tonumber(args[2]), {}
  for _, prefix in ipairs(keys) do
    local index = prefix .. ':' .. args[1]
    local first = args[3] and rank_after(index, args[3], args[4]) or 0
    local reply = { call('ZCARD', index) }
    local entries = call('ZREVRANGE', index, first, first + most - 1, 'WITHSCORES')
    for at, value in ipairs(entries) do reply[at + 1] = value end
    replies[#replies + 1] = reply
  end
  return replies
end

-- peek: sessions as they are now. Writes nothing.
--   KEYS  prefix
--   ARGV  sessions
--   gives {server seconds, then a session: organization, user, kind, origin, seconds, highest, last
--         sign of life; an empty array when it isn't live}
local function peek(keys, args)
  local reply = { now_seconds() }
  for at, id in ipairs(args) do
    local values = call('HMGET', keys[1] .. ':s:' .. id, 'o', 'u', 'k', 'g', 'c', 'h', 't', 'e')
    local live = values[1] and not values[8]
    reply[at + 1] = live and { unpack(values, 1, 7) } or {}
  end
  return reply
end

-- find: a session by its id alone, live or not. Writes nothing.
--   KEYS  partitions' prefixes
--   ARGV  session
--   gives an array a partition: the session, or an empty array
local function find(keys, args)
  local replies = {}
  for at, prefix in ipairs(keys) do
    local session = load_session(prefix, args[1])
    replies[at] = session and describe(session) or {}
  end
  return replies
end

local function figures_now(prefix, org)
  local bounds = call('HGET', prefix .. ':c:' .. org, 'p')
  if not bounds then return {} end
  local periods = {}
  for at, period in ipairs(load_periods(new_cache(), bounds)) do
    periods[at] = { period.start, period.stop,
      call('HGETALL', prefix .. ':u:' .. period.name .. ':' .. org) }
  end
  return { periods }
end

-- pending_each: as pending, of several organizations of a partition, whose sessions are gone through
-- once for all of them. Writes nothing.
--   KEYS  prefix
--   ARGV  organizations, each once
--   gives what pending gives of each
local function pending_each(keys, args)
  local prefix, replies, by_org = keys[1], {}, {}
  for at, org in ipairs(args) do
    replies[at] = figures_now(prefix, org)
    by_org[org] = replies[at][1] and replies[at]
  end
  for _, id in ipairs(next(by_org) and call('ZRANGE', prefix .. ':due', 0, -1) or {}) do
    local session = load_session(prefix, id)
    local reply = session and by_org[session.org]
    if reply and lowest_dirty(session) then
      reply[#reply + 1] = { id, session.user, session.origin, dirty_minutes(session) }
    end
  end
  return replies
end

-- pending: an organization's figures, and what of its sessions is counted and not durable, as of one
-- moment: what an audit compares with Postgres. Writes nothing. (Processes of older revisions call it.)
--   KEYS  prefix
--   ARGV  organization
--   gives {a period: start, end, then its hash's fields and values; ...}, then a session with such
--         minutes: {session, user, origin, minutes as in collect}; an empty array when it is cold
local function pending(keys, args)
  return pending_each(keys, { args[1] })[1]
end
