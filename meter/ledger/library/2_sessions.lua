-- Sessions ------------------------------------------------------------------------------------

-- What counting needs of a session.
local function load_counting(prefix, id)
  local key = prefix .. ':s:' .. id
  local values = call('HMGET', key, 'o', 'u', 'g', 'c', 'h', 't', 'n', 'e', 'd')
  if not values[1] then return nil end
  local origin = tonumber(values[3])
  return { id = id, prefix = prefix, key = key, bits = prefix .. ':b:' .. id, org = values[1],
    user = values[2], origin = origin, seconds = tonumber(values[4]), highest = tonumber(values[5]),
    seen = tonumber(values[6]), owner = values[7], ended_at = values[8], dirty = values[9] or '',
    first_minute = floor(origin / 60) }
end

-- A session whose seconds are numbered from this origin ("-" or nil: from any); nil otherwise.
local function numbered_from(session, origin)
  local asked = tonumber(origin)
  if session and asked and asked ~= session.origin then return nil end
  return session
end

-- All of a session.
local function load_session(prefix, id)
  local session = load_counting(prefix, id)
  if not session then return nil end
  local values = call('HMGET', session.key, 'k', 'r', 'w', 'y')
  session.kind, session.reason = values[1], values[4]
  session.revision, session.durable = tonumber(values[2]), tonumber(values[3])
  session.extra = prefix .. ':x:' .. id
  return session
end

-- Sets or clears a minute's mark in `session.dirty`; the caller writes it.
local function mark(session, minute, on)
  local bit = minute - session.first_minute
  local at, weight = floor(bit / 8) + 1, weight_of(bit)
  local marks = session.dirty .. string.rep('\0', at - #session.dirty)
  local byte = string.byte(marks, at)
  if has(byte, weight) == on then return false end
  byte = on and byte + weight or byte - weight
  session.dirty = string.sub(marks, 1, at - 1) .. string.char(byte) .. string.sub(marks, at + 1)
  return true
end

local function lowest_dirty(session)
  local at = string.find(session.dirty, '[^%z]')
  if not at then return nil end
  local byte, bit = string.byte(session.dirty, at), 0
  while not has(byte, weight_of(bit)) do bit = bit + 1 end
  return session.first_minute + (at - 1) * 8 + bit
end

-- The last second up to which all that was counted is in Postgres.
local function durable_through(session)
  local minute = lowest_dirty(session)
  if not minute then return session.highest end
  return max(min(minute * 60 - session.origin - 1, session.highest), -1)
end

local function due_at(minute, flush_after)
  return (minute + 1) * 60 + flush_after
end

-- A revision that no other incarnation of the session has had, also after all keys were lost.
local function next_revision(session)
  local seconds, micros = clock()
  return max(seconds * 1000000 + micros, (session and session.revision or 0) + 1)
end

-- The indexes of live sessions: what is known of them without asking each.
local function list_live(prefix, org, id, origin)
  local own = prefix .. ':o:' .. org
  call('ZADD', own, origin, id)
  call('ZADD', prefix .. ':began', origin, id)
  call('ZADD', prefix .. ':orgs', call('ZCARD', own), org)
end

local function unlist_live(prefix, org, id)
  local own = prefix .. ':o:' .. org
  call('ZREM', prefix .. ':live', id)
  call('ZREM', prefix .. ':began', id)
  call('ZREM', own, id)
  local left = call('ZCARD', own)
  if left > 0 then
    call('ZADD', prefix .. ':orgs', left, org)
  else
    call('ZREM', prefix .. ':orgs', org)
  end
end

-- All of an ended session is due at once, and stays so if the clock is set back by then: when its last
-- minute would have been due doesn't stand for that, unless that was before its last second already.
local function due_at_once(session, now)
  local due = session.prefix .. ':due'
  local before = call('ZSCORE', due, session.id)
  if before and tonumber(before) <= session.origin + session.highest + 1 then
    call('ZADD', due, 'LT', now, session.id)
  else
    call('ZADD', due, now, session.id)
  end
end

local function end_session(session, reason, now)
  session.ended_at, session.reason = now, reason
  session.revision = next_revision(session)
  call('HSET', session.key, 'e', now, 'y', reason, 'r', string.format('%d', session.revision))
  unlist_live(session.prefix, session.org, session.id)
  due_at_once(session, now)
end

local function describe(session)
  return { session.user, session.kind, session.origin, string.format('%d', session.revision),
    session.seconds, session.highest, durable_through(session), session.ended_at or '',
    session.reason or '', session.org }
end
