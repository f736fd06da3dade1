-- Making durable ------------------------------------------------------------------------------

-- A session that was last heard from in the future was so now, at the latest.
local function hear_now(prefix, id, now)
  local key = prefix .. ':s:' .. id
  if call('EXISTS', key) == 1 then call('HSET', key, 't', now) end
  call('ZADD', prefix .. ':live', now, id)
end

-- What is due by a clock that was set back is due now, and who was heard by it was heard now.
local function set_back(prefix, now)
  local far = call('ZRANGEBYSCORE', prefix .. ':due', '(' .. now + FARTHEST_SECONDS, '+inf',
    'LIMIT', 0, SWEEP_BATCH)
  for _, id in ipairs(far) do call('ZADD', prefix .. ':due', now, id) end
  local ahead = call('ZRANGEBYSCORE', prefix .. ':live', '(' .. now + AHEAD_SECONDS, '+inf',
    'LIMIT', 0, SWEEP_BATCH)
  for _, id in ipairs(ahead) do hear_now(prefix, id, now) end
end

local function sweep_lost(prefix, now, lost_after)
  local quiet = call('ZRANGEBYSCORE', prefix .. ':live', '-inf', now - lost_after - 1, 'LIMIT', 0,
    SWEEP_BATCH)
  for _, id in ipairs(quiet) do
    local session = load_session(prefix, id)
    if not session or session.ended_at then
      call('ZREM', prefix .. ':live', id)
    elseif now - session.seen > lost_after then
      end_session(session, 'lost', now)
    elseif session.seen > now + AHEAD_SECONDS then
      hear_now(prefix, id, now)
    else
      call('ZADD', prefix .. ':live', session.seen, id)
      -- It is listed already, unless an older revision of this library opened it.
      list_live(prefix, session.org, id, session.origin)
    end
  end
end

-- Minutes with seconds that are not durable, as a flat array: minute, first byte's index, bytes. With
-- `is_wanted`, those for which it gives true.
local function dirty_minutes(session, is_wanted)
  local out, marks = {}, session.dirty
  for at = 1, #marks do
    local byte = string.byte(marks, at)
    for bit = 0, 7 do
      local minute = session.first_minute + (at - 1) * 8 + bit
      if has(byte, weight_of(bit)) and (not is_wanted or is_wanted(minute)) then
        local from = floor(max(minute * 60 - session.origin, 0) / 8)
        out[#out + 1] = minute
        out[#out + 1] = from
        out[#out + 1] = call('GETRANGE', session.bits, from,
          floor((minute * 60 + 59 - session.origin) / 8))
      end
    end
  end
  return out
end

-- Those that are to be written now: minutes that are over, and those of a clock that was set back.
local function due_minutes(session, now, flush_after)
  return dirty_minutes(session, function(minute)
    local at = due_at(minute, flush_after)
    return session.ended_at or at <= now or at > now + FARTHEST_SECONDS
  end)
end

-- collect: what of a partition is to be made durable. Removes nothing.
--   KEYS  prefix
--   ARGV  flusher, lease in ms, most sessions, lost_after, flush_after, and the flusher's own time:
--         while that is far off, it can't be said who was silent for long ("-": it isn't compared)
--   gives {"leased"} when another flusher has it, or {"mine", more (0/1), then a session:
--         id, session, row due (0/1), metadata, minutes}
local function collect(keys, args)
  local prefix, flusher = keys[1], args[1]
  local most, lost_after, flush_after = tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
  local holder = call('GET', prefix .. ':lease')
  if holder and holder ~= flusher then return { 'leased' } end
  call('SET', prefix .. ':lease', flusher, 'PX', args[2])
  local now = now_seconds()
  local theirs = tonumber(args[6])
  set_back(prefix, now)
  if not theirs or math.abs(theirs - now) < APART_SECONDS then
    sweep_lost(prefix, now, lost_after)
  end
  local ids = call('ZRANGEBYSCORE', prefix .. ':due', '-inf', now, 'LIMIT', 0, most)
  local reply = { 'mine', #ids == most and 1 or 0 }
  for _, id in ipairs(ids) do
    local session = load_session(prefix, id)
    if not session then
      call('ZREM', prefix .. ':due', id)
    else
      local row_due = session.revision ~= session.durable
      reply[#reply + 1] = id
      reply[#reply + 1] = describe(session)
      reply[#reply + 1] = row_due and 1 or 0
      reply[#reply + 1] = row_due and call('GET', session.extra) or ''
      reply[#reply + 1] = due_minutes(session, now, flush_after)
    end
  end
  return reply
end

-- Bit i of a minute's mask, given as its low and its high 30 bits.
local function in_mask(low, high, i)
  if i < 30 then return floor(low / 2 ^ i) % 2 == 1 end
  return floor(high / 2 ^ (i - 30)) % 2 == 1
end

-- Counts a second that Postgres has and the bitmap lost (a failover to a replica that was behind),
-- limit or not: it is billed.
local function regain(cache, session, n)
  call('SETBIT', session.bits, n, 1)
  session.seconds, session.highest = session.seconds + 1, max(session.highest, n)
  session.regained = true
  local account = load_account(cache, session.prefix, session.org, session.user)
  local period = account and period_at(account, session.origin + n)
  if not period then return end
  local figures, member = figures_of(account, period, session.user)
  move(figures, member, 1)
end

-- Whether Postgres' mask of a minute holds all that is counted of it; what only Postgres has is
-- regained.
local function reconcile(cache, session, minute, low, high)
  local start, all_durable = minute * 60 - session.origin, true
  local from = floor(max(start, 0) / 8)
  local bytes = call('GETRANGE', session.bits, from, floor((start + 59) / 8))
  for n = max(start, 0), start + 59 do
    local counted = has(string.byte(bytes, floor(n / 8) - from + 1) or 0, weight_of(n))
    local written = in_mask(low, high, n - start)
    if counted and not written then all_durable = false end
    if written and not counted then regain(cache, session, n) end
  end
  return all_durable
end

-- A minute before the session's first one would be of another origin: nothing here to let go of.
local function settle_minute(cache, session, minute, low, high)
  if minute >= session.first_minute and reconcile(cache, session, minute, low, high) then
    session.cleared = mark(session, minute, false) or session.cleared
  end
end

local function settle_row(session, revision)
  if string.format('%d', session.revision) ~= revision then return end
  session.durable = session.revision
  call('HSET', session.key, 'w', revision)
  call('DEL', session.extra)
end

local function reschedule(session, now, bounds)
  local due = session.prefix .. ':due'
  local minute = lowest_dirty(session)
  if session.revision ~= session.durable or (minute and session.ended_at) then
    call('ZADD', due, now, session.id)
  elseif minute then
    call('ZADD', due, max(due_at(minute, bounds.flush_after), now + 1), session.id)
  else
    call('ZREM', due, session.id)
    if session.ended_at then
      call('EXPIRE', session.key, bounds.kept)
      call('EXPIRE', session.bits, bounds.kept)
    end
  end
end

-- settle: Postgres has committed these.
--   KEYS  prefix
--   ARGV  flush_after, seconds an ended session is kept; then a session: id, revision, number of
--         minutes, then a minute: minute, mask's low 30 bits, its high 30 bits
--   gives how many sessions were known
local function settle(keys, args)
  local now = now_seconds()
  local bounds = { flush_after = tonumber(args[1]), kept = tonumber(args[2]) }
  local cache, known, at = new_cache(), 0, 3
  while at <= #args do
    local id, revision, minutes = args[at], args[at + 1], tonumber(args[at + 2])
    local session = load_session(keys[1], id)
    at = at + 3
    if session then
      known = known + 1
      for row = at, at + 3 * minutes - 3, 3 do
        settle_minute(cache, session, tonumber(args[row]), tonumber(args[row + 1]),
          tonumber(args[row + 2]))
      end
      if session.regained or session.cleared then
        if not lowest_dirty(session) then session.dirty = '' end
        call('HSET', session.key, 'c', session.seconds, 'h', session.highest, 'd', session.dirty)
      end
      settle_row(session, revision)
      call('HDEL', keys[1] .. ':aside', id)
      reschedule(session, now, bounds)
    end
    at = at + 3 * minutes
  end
  save(cache)
  return known
end

-- set_aside: Postgres refused a session's rows; they wait here, and are tried again later.
--   KEYS  prefix
--   ARGV  session, why, seconds until the next try
--   gives 1, or 0 when nothing of the session is due (any more)
local function set_aside(keys, args)
  if not call('ZSCORE', keys[1] .. ':due', args[1]) then return 0 end
  call('HSET', keys[1] .. ':aside', args[1], args[2])
  call('ZADD', keys[1] .. ':due', now_seconds() + tonumber(args[3]), args[1])
  return 1
end

-- release: gives a partition's lease back.
--   KEYS  prefix
--   ARGV  flusher
local function release(keys, args)
  if call('GET', keys[1] .. ':lease') ~= args[1] then return 0 end
  return call('DEL', keys[1] .. ':lease')
end

-- muster: a flusher says that it is at work, and learns who else is.
--   KEYS  the prefix of one partition, the same for all
--   ARGV  flusher, ms that this holds for (0: it stops working)
--   gives the flushers at work
local function muster(keys, args)
  local roll, seconds, micros = keys[1] .. ':flushers', clock()
  local now_ms = seconds * 1000 + floor(micros / 1000)
  -- Nobody's holds for so long: those are of a clock that was set back, and the living come again.
  call('ZREMRANGEBYSCORE', roll, '(' .. now_ms + FARTHEST_SECONDS * 1000, '+inf')
  call('ZADD', roll, now_ms + tonumber(args[2]), args[1])
  call('ZREMRANGEBYSCORE', roll, '-inf', now_ms)
  return call('ZRANGE', roll, 0, -1)
end

-- backlog:
--   KEYS  prefix
--   gives {sessions due, when the oldest was due (0: none), set aside, live sessions}
local function backlog(keys)
  local prefix, now = keys[1], now_seconds()
  local oldest = call('ZRANGEBYSCORE', prefix .. ':due', '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
  return { call('ZCOUNT', prefix .. ':due', '-inf', now), tonumber(oldest[2] or '0'),
    call('HLEN', prefix .. ':aside'), call('ZCARD', prefix .. ':live') }
end
