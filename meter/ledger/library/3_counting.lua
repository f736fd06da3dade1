-- Counting ------------------------------------------------------------------------------------

-- Notes the minute of a second that is counted now as not durable.
local function note_minute(session, n, tally)
  local minute = floor((session.origin + n) / 60)
  if minute ~= session.marked then
    session.marked = minute
    if mark(session, minute, true) then
      tally.marked = true
      call('ZADD', session.prefix .. ':due', 'LT', due_at(minute, tally.flush_after), session.id)
    end
  end
end

-- Notes that the seconds from first to last, less than a minute, are counted now.
local function note_new(session, first, last, tally)
  tally.new = tally.new + length(first, last)
  session.highest = max(session.highest, last)
  note_minute(session, first, tally)
  if last > first then note_minute(session, last, tally) end
end

-- The first and last second that count though there is no room for them: where the plan bills the
-- grace after a stop, those from the first such one on, n if there was none yet.
local function grace_of(session, n, terms)
  if terms.grace == 0 then return 0, -1 end
  local from = session.grace_from or tonumber(call('HGET', session.key, 'f'))
  if not from then
    from = n
    call('HSET', session.key, 'f', n)
  end
  session.grace_from = from
  return from, from + terms.grace - 1
end

local function count_one(session, n, left, terms, tally)
  if left > 0 then
    if call('SETBIT', session.bits, n, 1) == 0 then note_new(session, n, n, tally) end
  elseif call('GETBIT', session.bits, n) == 0 then
    local from, to = grace_of(session, n, terms)
    if n >= from and n <= to then
      call('SETBIT', session.bits, n, 1)
      note_new(session, n, n, tally)
    else
      tally.over = tally.over + 1
    end
  end
end

-- Counts those of a byte from first to last that are not counted. Gives the byte, and the first
-- second for which there was no room.
local function fill_byte(session, byte, first, last, left, tally)
  if byte == 0 and length(first, last) == 8 and left >= 8 then
    note_new(session, first, last, tally)
    return 255
  end
  for n = first, last do
    if not has(byte, weight_of(n)) then
      if left <= 0 then return byte, n end
      left, byte = left - 1, byte + weight_of(n)
      note_new(session, n, n, tally)
    end
  end
  return byte
end

-- Counts those from first to last that are not counted, as many as are left. Gives the first
-- second for which there was no room.
local function fill(session, first, last, left, tally)
  local from, before, bytes, stuck = floor(first / 8), tally.new, {}, nil
  local present = call('GETRANGE', session.bits, from, floor(last / 8))
  for at = from, floor(last / 8) do
    local byte = string.byte(present, at - from + 1) or 0
    if byte < 255 then
      byte, stuck = fill_byte(session, byte, max(first, at * 8), min(last, at * 8 + 7),
        left - (tally.new - before), tally)
    end
    bytes[#bytes + 1] = string.char(byte)
    if stuck then break end
  end
  if tally.new > before then call('SETRANGE', session.bits, from, table.concat(bytes)) end
  return stuck
end

-- Begins where the first second is missing, and ends where there is no room: what is counted, or
-- refused, again and again costs next to nothing, be it a day.
local function count_many(session, first, last, left, terms, tally)
  local missing = length(first, last) - call('BITCOUNT', session.bits, first, last, 'BIT')
  if missing == 0 then return end
  local before, hole = tally.new, call('BITPOS', session.bits, 0, first, last, 'BIT')
  -- No hole in the bitmap: they are missing past its end.
  if hole < first then hole = last - missing + 1 end
  local stuck = hole
  if left > 0 then stuck = fill(session, hole, last, left, tally) end
  if stuck then
    local from, to = grace_of(session, stuck, terms)
    from, to = max(from, stuck), min(to, last)
    if from <= to then fill(session, from, to, math.huge, tally) end
  end
  tally.over = tally.over + missing - (tally.new - before)
end

-- Counts the seconds of a part, all in one period, as far as there is room.
local function count_part(session, account, part, tally)
  local figures, member, first, last = part[1], part[2], part[3], part[4]
  local left, before = room(account, figures, member), tally.new
  if first == last then
    count_one(session, first, left, account.terms, tally)
  else
    count_many(session, first, last, left, account.terms, tally)
  end
  move(figures, member, tally.new - before)
end

-- Splits [first, last] at the periods' bounds into parts {figures, member, first, last}. false
-- when one is in a period whose figures are cold. Nothing is written before this has succeeded.
local function split(account, session, first, last, parts)
  while first <= last do
    local period = period_at(account, session.origin + first)
    if not period then return false end
    local figures, member = hot_figures(account, period, session.user)
    if not figures then return false end
    local stop = min(last, period.stop - 1 - session.origin)
    parts[#parts + 1] = { figures, member, first, stop }
    first = stop + 1
  end
  return true
end

-- Takes the seconds from first to last that the clock allows, as parts; the others go into the
-- tally. false when the account is cold.
local function admit(account, session, first, last, bounds, tally, parts)
  local low = max(0, bounds.now - bounds.late - session.origin)
  local high = bounds.now + bounds.future - session.origin
  if first < low then
    tally.late = tally.late + length(first, min(last, low - 1))
    first = low
  end
  if first <= last and last > high then
    tally.future = tally.future + length(max(first, high + 1), last)
    last = high
  end
  local longest = min(bounds.longest, account.terms.longest)
  if first <= last and last >= longest then
    tally.long = tally.long + length(max(first, longest), last)
    last = longest - 1
  end
  return split(account, session, first, last, parts)
end

-- The parts of "a" or "a:b,c:d"; nil when the account is cold.
local function admit_all(account, session, spec, bounds, tally)
  local single, parts = tonumber(spec), {}
  if single then
    return admit(account, session, single, single, bounds, tally, parts) and parts
  end
  for a, b in string.gmatch(spec, '(-?%d+):(-?%d+)') do
    if not admit(account, session, tonumber(a), tonumber(b), bounds, tally, parts) then
      return nil
    end
  end
  return parts
end

local function save_counted(session, tally, now)
  if tally.marked then
    call('HSET', session.key, 'c', session.seconds, 'h', session.highest, 't', now,
      'd', session.dirty)
  elseif tally.new > 0 then
    call('HSET', session.key, 'c', session.seconds, 'h', session.highest, 't', now)
  else
    call('HSET', session.key, 't', now)
  end
  -- The clock went back: `live` has to stay a lower bound.
  if now < session.seen then call('ZADD', session.prefix .. ':live', 'LT', now, session.id) end
end

local function count_session(cache, session, spec, bounds)
  local account, period, figures, member =
    load_present(cache, session.prefix, session.org, session.user, bounds.now)
  if not account then
    return { coldness(cache, session.prefix, session.org, session.user) }
  end
  local tally = { new = 0, future = 0, late = 0, over = 0, long = 0,
    flush_after = bounds.flush_after }
  local parts = admit_all(account, session, spec, bounds, tally)
  if not parts then return { 'member_cold' } end
  for _, part in ipairs(parts) do count_part(session, account, part, tally) end
  session.seconds = session.seconds + tally.new
  save_counted(session, tally, bounds.now)
  local reply = { tally.new, session.seconds, session.highest, durable_through(session),
    tonumber(session.owner), period.start, period.stop, used_of(figures), account.limit,
    used_of(member), member.limit, account.terms.text }
  if tally.future + tally.late + tally.over + tally.long > 0 then
    reply[13], reply[14], reply[15], reply[16] = tally.future, tally.late, tally.over, tally.long
  end
  return reply
end

-- count: a batch of heartbeats.
--   KEYS  partitions' prefixes
--   ARGV  future, late, longest, flush_after, and the batch: a session "index id ranges;", of its
--         partition into KEYS, its id, and "a:b,c:d" (inclusive; "a": one second; empty: a sign of
--         life); and the origins that these are numbered from, in the same order, "-": any
--   gives an array a session: {new, seconds, highest, durable through, owner, standing: seven
--         values}, and where some were refused {in future, too late, over limit, over duration};
--         or {'ended', seconds, highest, durable through, owner, reason}; or why not: {status}
local function count(keys, args)
  local bounds = { now = now_seconds(), future = tonumber(args[1]), late = tonumber(args[2]),
    longest = tonumber(args[3]), flush_after = tonumber(args[4]) }
  local cache, replies = new_cache(), {}
  local next_origin = string.gmatch(args[6] or '', '%S+')
  for index, id, ranges in string.gmatch(args[5], '(%d+) (%S+) ([^;]*);') do
    local session = numbered_from(load_counting(keys[tonumber(index)], id), next_origin())
    local reply
    if not session then
      reply = { 'absent' }
    elseif session.ended_at then
      reply = { 'ended', session.seconds, session.highest, durable_through(session),
        tonumber(session.owner), call('HGET', session.key, 'y') }
    else
      reply = count_session(cache, session, ranges, bounds)
    end
    replies[#replies + 1] = reply
  end
  save(cache)
  return replies
end

-- How many of the parts' seconds have no room. (A grace is a live session's: it isn't asked for.)
local function missing_room(account, parts)
  local missing = 0
  for _, part in ipairs(parts) do
    missing = missing + max(length(part[3], part[4]) - room(account, part[1], part[2]), 0)
  end
  return missing
end

-- Writes a session that is counted and has ended in one.
local function put_recorded(session, parts, kind, reason, tally, now)
  call('DEL', session.bits)
  for _, part in ipairs(parts) do
    local before = tally.new
    fill(session, part[3], part[4], math.huge, tally)
    move(part[1], part[2], tally.new - before)
  end
  call('HSET', session.key, 'o', session.org, 'u', session.user, 'k', kind, 'g', session.origin,
    'c', tally.new, 'h', session.highest, 't', now, 'n', 0, 'w', 0,
    'r', string.format('%d', next_revision(nil)), 'e', now, 'y', reason, 'd', session.dirty)
  call('ZADD', session.prefix .. ':due', 'LT', now, session.id)
end

-- record: a session of so many seconds, the last of which is just over. All of them count and it has
-- ended, or nothing is written. One that is there stays as it is.
--   KEYS  prefix
--   ARGV  session, organization, user, kind, seconds, reason, late, longest, flush_after
--   gives {'recorded', session}; {'refused', too late, over limit, over duration}; or {coldness}
local function record(keys, args)
  local prefix, id, org, user, seconds = keys[1], args[1], args[2], args[3], tonumber(args[5])
  local present = load_session(prefix, id)
  if present then return { 'recorded', describe(present) } end
  local cache, now = new_cache(), now_seconds()
  local account = load_present(cache, prefix, org, user, now)
  if not account then return { coldness(cache, prefix, org, user) } end
  local origin = now - seconds
  local session = { id = id, prefix = prefix, key = prefix .. ':s:' .. id,
    bits = prefix .. ':b:' .. id, org = org, user = user, origin = origin, highest = -1, dirty = '',
    first_minute = floor(origin / 60) }
  local bounds = { now = now, future = 0, late = tonumber(args[7]), longest = tonumber(args[8]) }
  local tally = { new = 0, future = 0, late = 0, long = 0, flush_after = tonumber(args[9]) }
  local parts = {}
  if not admit(account, session, 0, seconds - 1, bounds, tally, parts) then
    return { 'member_cold' }
  end
  local over = missing_room(account, parts)
  if tally.late + tally.long + over > 0 then
    return { 'refused', tally.late, over, tally.long }
  end
  put_recorded(session, parts, args[4], args[6], tally, now)
  save(cache)
  return { 'recorded', describe(load_session(prefix, id)) }
end

-- open: makes a session, or resumes it.
--   KEYS  prefix
--   ARGV  session, organization, user, kind, owner, metadata, create (0/1), resume_seconds
--   gives {status, server seconds, microseconds, session, standing, what it was warned of}
local function open(keys, args)
  local prefix = keys[1]
  local id, org, user, kind, owner = args[1], args[2], args[3], args[4], args[5]
  local metadata, create, resume_seconds = args[6], args[7] == '1', tonumber(args[8])
  local now, micros = clock()
  local session = load_session(prefix, id)
  if session and (session.org ~= org or session.user ~= user) then
    return { 'foreign', now, micros }
  end
  if session and session.ended_at
    and (session.reason ~= 'lost' or now - tonumber(session.ended_at) > resume_seconds) then
    return { 'ended', now, micros }
  end
  local cache = new_cache()
  local account, period, figures, member = load_present(cache, prefix, org, user, now)
  if not account then return { coldness(cache, prefix, org, user), now, micros } end
  if not session and not create then return { 'absent', now, micros } end
  local present = standing(account, period, figures, member)
  if not session or session.ended_at then
    if room(account, figures, member) <= 0 then
      return { 'limit_reached', now, micros, {}, present }
    elseif call('ZCARD', prefix .. ':o:' .. org) >= account.terms.most then
      return { 'too_many_sessions', now, micros, {}, present }
    end
  end
  local status = session and 'resumed' or 'created'
  local key = prefix .. ':s:' .. id
  if not session then
    call('HSET', key, 'o', org, 'u', user, 'k', kind, 'g', now, 'c', 0, 'h', -1, 'w', 0,
      'r', string.format('%d', next_revision(nil)))
    if metadata ~= '' then call('SET', prefix .. ':x:' .. id, metadata) end
    call('ZADD', prefix .. ':due', 'LT', now, id)
  elseif session.ended_at then
    call('HDEL', key, 'e', 'y')
    call('HSET', key, 'r', string.format('%d', next_revision(session)))
    call('PERSIST', session.key)
    call('PERSIST', session.bits)
    call('ZADD', prefix .. ':due', 'LT', now, id)
  end
  call('HSET', key, 'n', owner, 't', now)
  call('ZADD', prefix .. ':live', now, id)
  list_live(prefix, org, id, session and session.origin or now)
  return { status, now, micros, describe(load_session(prefix, id)), present,
    call('HGET', key, 'a') or '' }
end

-- note_told: keeps what a session was warned of, for the gateway that has it next.
--   KEYS  prefix
--   ARGV  session, a text
--   gives 1, or 0 when the session is unknown
local function note_told(keys, args)
  local key = keys[1] .. ':s:' .. args[1]
  if call('EXISTS', key) == 0 then return 0 end
  call('HSET', key, 'a', args[2])
  return 1
end

-- close: ends a live session. An operator ends a lost one too, for good.
--   KEYS  prefix
--   ARGV  session, reason, seconds that it has at least
--   gives the session, or an empty array when it is unknown, or lacks some
local function close(keys, args)
  local session = load_session(keys[1], args[1])
  if not session or session.seconds < tonumber(args[3] or '0') then return {} end
  if not session.ended_at then
    end_session(session, args[2], now_seconds())
  elseif session.reason == 'lost' and args[2] == 'admin' then
    call('PERSIST', session.key)
    call('PERSIST', session.bits)
    end_session(session, args[2], now_seconds())
  end
  return describe(session)
end
