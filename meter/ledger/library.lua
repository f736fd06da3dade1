#!lua name=minute_meter_v1

-- The ledger's server functions. A session is a bitmap of its counted seconds; the account's
-- figures move only when a bit does. Every function takes the time from the server.
--
-- KEYS are partitions' prefixes ("mm:{07}"); all other names are made here, under the prefix:
--   :s:<session>      hash    o organization, u user, k kind, g origin, c seconds counted, h highest
--                             counted, t last sign of life, n owner, r revision, w revision that is
--                             durable, e ended at, y end reason
--   :b:<session>      bitmap  bit n: second n is counted
--   :d:<session>      bitmap  bit m: minute m since the origin's holds seconds that are not durable
--   :x:<session>      string  metadata, until it is durable
--   :live             zset    live sessions by a lower bound of their last sign of life
--   :due              zset    sessions with something to make durable, by when
--   :aside            hash    sessions that Postgres refused, and why
--   :lease            string  the flusher that has this partition
--   :c:<org>          hash    p periods' bounds, l limit, l|<user> a member's limit
--   :u:<start>:<org>  hash    o used by the organization, m|<user> by a member, in that period

-- While a library loads, neither `redis.call` nor `math` is there to be made a local of.
local function call(...) return redis.call(...) end
local function floor(x) return x - x % 1 end
local function min(a, b) if a < b then return a end return b end
local function max(a, b) if a > b then return a end return b end

local USAGE_KEPT_SECONDS = 7 * 86400
local CONFIG_KEPT_SECONDS = 40 * 86400
local SWEEP_BATCH = 200

local function clock() -- replaced by tests that need a clock of their own
  local t = call('TIME')
  return tonumber(t[1]), tonumber(t[2])
end

local function now_seconds()
  local seconds = clock()
  return seconds
end

-- Accounts ------------------------------------------------------------------------------------

-- The account as this call sees it: read once, written once by `save`. nil when it is cold.
local function load_account(cache, prefix, org)
  local id = prefix .. ':c:' .. org
  local account = cache[id]
  if account then return account end
  local config = call('HMGET', id, 'p', 'l')
  if not config[1] then return nil end
  account = { prefix = prefix, org = org, config = id, limit = tonumber(config[2]), periods = {},
              members = {} }
  for first, last in string.gmatch(config[1], '(%d+)-(%d+)') do
    account.periods[#account.periods + 1] = { start = tonumber(first), stop = tonumber(last) }
  end
  cache[id] = account
  return account
end

local function period_at(account, second)
  for _, period in ipairs(account.periods) do
    if second >= period.start and second < period.stop then return period end
  end
  return nil
end

-- A member's figures in a period, {used=, limit=}, with the organization's in `period.used`.
-- nil when either is cold.
local function load_member(account, period, user)
  period.members = period.members or {}
  local member = period.members[user]
  if member then return member end
  period.key = period.key or (account.prefix .. ':u:' .. period.start .. ':' .. account.org)
  local figures = call('HMGET', period.key, 'o', 'm|' .. user)
  if not (figures[1] and figures[2]) then return nil end
  if not account.members[user] then
    account.members[user] = tonumber(call('HGET', account.config, 'l|' .. user) or '-1')
  end
  period.used = period.used or tonumber(figures[1])
  member = { used = tonumber(figures[2]), limit = account.members[user] }
  period.members[user] = member
  return member
end

local function room(account, period, member)
  local left = math.huge
  if account.limit >= 0 then left = account.limit - period.used end
  if member.limit >= 0 then left = min(left, member.limit - member.used) end
  return max(left, 0)
end

local function move(period, member, seconds)
  if seconds == 0 then return end
  period.used = period.used + seconds
  member.used = member.used + seconds
  period.moved, member.moved = true, true
end

local function save(cache)
  for _, account in pairs(cache) do
    for _, period in ipairs(account.periods) do
      if period.moved then
        local fields = { 'o', period.used }
        for user, member in pairs(period.members) do
          if member.moved then
            fields[#fields + 1] = 'm|' .. user
            fields[#fields + 1] = member.used
          end
        end
        call('HSET', period.key, unpack(fields))
      end
    end
  end
end

-- {period start, period end, used, limit, member used, member limit} as of now; nil when cold.
local function standing(cache, prefix, org, user, now)
  local account = load_account(cache, prefix, org)
  local period = account and period_at(account, now)
  local member = period and load_member(account, period, user)
  if not member then return nil end
  return { period.start, period.stop, period.used, account.limit, member.used, member.limit },
    room(account, period, member)
end

-- Sessions ------------------------------------------------------------------------------------

local FIELDS = { 'o', 'u', 'k', 'g', 'c', 'h', 't', 'n', 'r', 'w', 'e', 'y' }

local function load_session(prefix, id)
  local values = call('HMGET', prefix .. ':s:' .. id, unpack(FIELDS))
  if not values[1] then return nil end
  return {
    id = id, prefix = prefix, key = prefix .. ':s:' .. id, bits = prefix .. ':b:' .. id,
    dirty = prefix .. ':d:' .. id, extra = prefix .. ':x:' .. id,
    org = values[1], user = values[2], kind = values[3], origin = tonumber(values[4]),
    seconds = tonumber(values[5]), highest = tonumber(values[6]), seen = tonumber(values[7]),
    owner = tonumber(values[8]), revision = tonumber(values[9]), durable = tonumber(values[10]),
    ended_at = values[11], reason = values[12],
    first_minute = floor(tonumber(values[4]) / 60),
  }
end

local function lowest_dirty(session)
  local position = call('BITPOS', session.dirty, 1)
  if position < 0 then return nil end
  return session.first_minute + position
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

local function end_session(session, reason, now)
  session.ended_at, session.reason = now, reason
  session.revision = next_revision(session)
  call('HSET', session.key, 'e', now, 'y', reason, 'r', string.format('%d', session.revision))
  call('ZREM', session.prefix .. ':live', session.id)
  call('ZADD', session.prefix .. ':due', 'LT', now, session.id)
end

local function describe(session)
  return { session.user, session.kind, session.origin, string.format('%d', session.revision),
    session.seconds, session.highest, durable_through(session), session.ended_at or '',
    session.reason or '', session.org }
end

-- Counting ------------------------------------------------------------------------------------

-- Calls visit(n, counted) for n from first to last, reading the bitmap by bytes.
local function each_bit(session, first, last, visit)
  local from = floor(first / 8)
  local bytes = call('GETRANGE', session.bits, from, floor(last / 8))
  for at = from, floor(last / 8) do
    local byte = string.byte(bytes, at - from + 1) or 0
    for n = max(first, at * 8), min(last, at * 8 + 7) do
      visit(n, floor(byte / 2 ^ (7 - n % 8)) % 2 == 1)
    end
  end
end

local function set_second(session, n, tally)
  call('SETBIT', session.bits, n, 1)
  tally.new = tally.new + 1
  session.highest = max(session.highest, n)
  tally.minutes[floor((session.origin + n) / 60)] = true
end

-- Counts the seconds from first to last, all in one period, as far as there is room.
local function count_within(session, account, period, member, first, last, tally)
  local left = room(account, period, member)
  local before = tally.new
  each_bit(session, first, last, function(n, counted)
    if counted then return end
    if left <= 0 then
      tally.over = tally.over + 1
      return
    end
    left = left - 1
    set_second(session, n, tally)
  end)
  move(period, member, tally.new - before)
end

local function mark_dirty(session, minutes, flush_after)
  for minute in pairs(minutes) do
    if call('SETBIT', session.dirty, minute - session.first_minute, 1) == 0 then
      call('ZADD', session.prefix .. ':due', 'LT', due_at(minute, flush_after), session.id)
    end
  end
end

-- Splits [first, last] at the periods' bounds: {{period, member, first, last}, …}, or nil when a
-- part is in a period whose figures are cold. Nothing is written before this has succeeded.
local function split(account, session, first, last, parts)
  while first <= last do
    local period = period_at(account, session.origin + first)
    local member = period and load_member(account, period, session.user)
    if not member then return nil end
    local stop = min(last, period.stop - 1 - session.origin)
    parts[#parts + 1] = { period, member, first, stop }
    first = stop + 1
  end
  return parts
end

-- Takes the seconds of "a-b,c-d" that the clock allows; the others go into the tally.
local function admit(session, spec, bounds, now, tally, accepted)
  local low = max(0, now - bounds.late - session.origin)
  local high = now + bounds.future - session.origin
  for a, b in string.gmatch(spec, '(-?%d+):(-?%d+)') do
    local first, last = tonumber(a), tonumber(b)
    if first < low then
      tally.late = tally.late + min(last, low - 1) - first + 1
      first = low
    end
    if last > high then
      tally.future = tally.future + last - max(first, high + 1) + 1
      last = high
    end
    if last >= bounds.longest then
      tally.long = tally.long + max(0, last - max(first, bounds.longest) + 1)
      last = bounds.longest - 1
    end
    if first <= last then accepted[#accepted + 1] = { first, last } end
  end
end

local function count_session(cache, session, spec, bounds, now)
  local present = standing(cache, session.prefix, session.org, session.user, now)
  if not present then return { 'account_cold' } end
  local account = load_account(cache, session.prefix, session.org)
  local tally = { new = 0, future = 0, late = 0, over = 0, long = 0, minutes = {} }
  local accepted, parts = {}, {}
  admit(session, spec, bounds, now, tally, accepted)
  for _, range in ipairs(accepted) do
    if not split(account, session, range[1], range[2], parts) then return { 'account_cold' } end
  end
  for _, part in ipairs(parts) do
    count_within(session, account, part[1], part[2], part[3], part[4], tally)
  end
  if tally.new > 0 then
    mark_dirty(session, tally.minutes, bounds.flush_after)
    session.seconds = session.seconds + tally.new
    call('HSET', session.key, 'c', session.seconds, 'h', session.highest, 't', now)
  else
    call('HSET', session.key, 't', now)
  end
  present = standing(cache, session.prefix, session.org, session.user, now)
  return { 'counted', tally.new, tally.future, tally.late, tally.over, tally.long, session.seconds,
    session.highest, durable_through(session), session.owner, '', unpack(present) }
end

-- count: a batch of heartbeats.
--   KEYS  partitions' prefixes
--   ARGV  future, late, longest, flush_after; then a session: index into KEYS, session id, ranges
--         "a:b,c:d" (inclusive; empty: a sign of life)
--   gives an array a session: {status, new, in future, too late, over limit, over duration,
--         seconds, highest, durable through, owner, end reason, standing: six numbers}
local function count(keys, args)
  local now = now_seconds()
  local bounds = { future = tonumber(args[1]), late = tonumber(args[2]),
    longest = tonumber(args[3]), flush_after = tonumber(args[4]) }
  local cache, replies = {}, {}
  for at = 5, #args, 3 do
    local session = load_session(keys[tonumber(args[at])], args[at + 1])
    local reply
    if not session then
      reply = { 'absent' }
    elseif session.ended_at then
      reply = { 'ended', 0, 0, 0, 0, 0, session.seconds, session.highest,
        durable_through(session), session.owner, session.reason }
    else
      reply = count_session(cache, session, args[at + 2], bounds, now)
    end
    replies[#replies + 1] = reply
  end
  save(cache)
  return replies
end

-- open: makes a session, or resumes it.
--   KEYS  prefix
--   ARGV  session, organization, user, kind, owner, metadata, create (0/1), resume_seconds
--   gives {status, server seconds, microseconds, session, standing}
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
  local present, left = standing({}, prefix, org, user, now)
  if not present then return { 'account_cold', now, micros } end
  if not session and not create then return { 'absent', now, micros } end
  if left <= 0 and (not session or session.ended_at) then
    return { 'limit_reached', now, micros, {}, present }
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
    for _, name in ipairs({ session.key, session.bits, session.dirty, session.extra }) do
      call('PERSIST', name)
    end
    call('ZADD', prefix .. ':due', 'LT', now, id)
  end
  call('HSET', key, 'n', owner, 't', now)
  call('ZADD', prefix .. ':live', now, id)
  return { status, now, micros, describe(load_session(prefix, id)), present }
end

-- close: ends a live session.
--   KEYS  prefix
--   ARGV  session, reason
--   gives the session, or an empty array when it is unknown
local function close(keys, args)
  local session = load_session(keys[1], args[1])
  if not session then return {} end
  if not session.ended_at then end_session(session, args[2], now_seconds()) end
  return describe(session)
end

-- Making durable ------------------------------------------------------------------------------

local function sweep_lost(prefix, now, lost_after)
  local quiet = call('ZRANGEBYSCORE', prefix .. ':live', '-inf', now - lost_after - 1, 'LIMIT', 0,
    SWEEP_BATCH)
  for _, id in ipairs(quiet) do
    local session = load_session(prefix, id)
    if not session or session.ended_at then
      call('ZREM', prefix .. ':live', id)
    elseif now - session.seen > lost_after then
      end_session(session, 'lost', now)
    else
      call('ZADD', prefix .. ':live', session.seen, id)
    end
  end
end

-- Minutes that are to be written now, as a flat array: minute, first byte's index, bytes.
local function due_minutes(session, now, flush_after)
  local out = {}
  local marks = call('GET', session.dirty) or ''
  for at = 1, #marks do
    local byte = string.byte(marks, at)
    for bit = 0, 7 do
      local minute = session.first_minute + (at - 1) * 8 + bit
      if floor(byte / 2 ^ (7 - bit)) % 2 == 1
        and (session.ended_at or due_at(minute, flush_after) <= now) then
        local first = max(minute * 60 - session.origin, 0)
        local from = floor(first / 8)
        out[#out + 1] = minute
        out[#out + 1] = from
        out[#out + 1] = call('GETRANGE', session.bits, from,
          floor((minute * 60 + 59 - session.origin) / 8))
      end
    end
  end
  return out
end

-- collect: what of a partition is to be made durable. Removes nothing.
--   KEYS  prefix
--   ARGV  flusher, lease in ms, most sessions, lost_after, flush_after
--   gives {"leased"} when another flusher has it, or {"mine", more (0/1), then a session:
--         id, session, row due (0/1), metadata, minutes}
local function collect(keys, args)
  local prefix, flusher = keys[1], args[1]
  local most, lost_after, flush_after = tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
  local holder = call('GET', prefix .. ':lease')
  if holder and holder ~= flusher then return { 'leased' } end
  call('SET', prefix .. ':lease', flusher, 'PX', args[2])
  local now = now_seconds()
  sweep_lost(prefix, now, lost_after)
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

-- Whether Postgres' mask of a minute holds all that is counted of it. What Postgres has and the
-- bitmap lost (a failover to a replica that was behind) is counted again, limit or not: it is billed.
local function reconcile(cache, session, minute, low, high)
  local account = load_account(cache, session.prefix, session.org)
  local all_durable, regained = true, { new = 0, minutes = {} }
  local first = minute * 60 - session.origin
  each_bit(session, max(first, 0), first + 59, function(n, counted)
    local i = n - first
    local half, shift = low, i
    if i >= 30 then half, shift = high, i - 30 end
    local written = floor(half / 2 ^ shift) % 2 == 1
    if counted and not written then all_durable = false end
    if written and not counted then
      local period = account and period_at(account, session.origin + n)
      local member = period and load_member(account, period, session.user)
      if member then
        set_second(session, n, regained)
        move(period, member, 1)
      end
    end
  end)
  session.seconds = session.seconds + regained.new
  return all_durable, regained.new
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
      for _, name in ipairs({ session.key, session.bits, session.dirty }) do
        call('EXPIRE', name, bounds.kept)
      end
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
  local cache, known, at = {}, 0, 3
  while at <= #args do
    local id, revision, minutes = args[at], args[at + 1], tonumber(args[at + 2])
    local session = load_session(keys[1], id)
    at = at + 3
    if session then
      known = known + 1
      local regained = 0
      for row = at, at + 3 * minutes - 3, 3 do
        local minute = tonumber(args[row])
        local durable, again = reconcile(cache, session, minute, tonumber(args[row + 1]),
          tonumber(args[row + 2]))
        regained = regained + again
        if durable then call('SETBIT', session.dirty, minute - session.first_minute, 0) end
      end
      if regained > 0 then
        call('HSET', session.key, 'c', session.seconds, 'h', session.highest)
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
local function set_aside(keys, args)
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

-- backlog:
--   KEYS  prefix
--   gives {sessions due, when the oldest was due (0: none), set aside, live sessions}
local function backlog(keys)
  local prefix, now = keys[1], now_seconds()
  local oldest = call('ZRANGEBYSCORE', prefix .. ':due', '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
  return { call('ZCOUNT', prefix .. ':due', '-inf', now), tonumber(oldest[2] or '0'),
    call('HLEN', prefix .. ':aside'), call('ZCARD', prefix .. ':live') }
end

-- After a loss --------------------------------------------------------------------------------

local function put_bits(session, args, at, minutes)
  for row = at, at + 3 * minutes - 3, 3 do
    local minute, low, high = tonumber(args[row]), tonumber(args[row + 1]), tonumber(args[row + 2])
    for i = 0, 59 do
      local n = minute * 60 + i - session.origin
      local half, shift = low, i
      if i >= 30 then half, shift = high, i - 30 end
      if n >= 0 and floor(half / 2 ^ shift) % 2 == 1 then
        call('SETBIT', session.bits, n, 1)
        session.seconds = session.seconds + 1
        session.highest = max(session.highest, n)
      end
    end
  end
end

-- Puts a session back if it isn't there. ARGV from `at`: session, organization, user, kind, origin,
-- durable revision, ended at, reason, metadata, number of minutes, the minutes as in settle. A
-- durable revision of 0 means that Postgres doesn't know the session. Gives (the next index, done).
local function put_session(prefix, args, at)
  local id, minutes = args[at], tonumber(args[at + 9])
  local following = at + 10 + 3 * minutes
  local key = prefix .. ':s:' .. id
  if call('EXISTS', key) == 1 then return following, 0 end
  local now, revision, ended_at = now_seconds(), args[at + 5], args[at + 6]
  local session = { origin = tonumber(args[at + 4]), bits = prefix .. ':b:' .. id, seconds = 0,
    highest = -1 }
  put_bits(session, args, at + 10, minutes)
  call('HSET', key, 'o', args[at + 1], 'u', args[at + 2], 'k', args[at + 3], 'g', session.origin,
    'c', session.seconds, 'h', session.highest, 't', now, 'n', 0, 'w', revision)
  if revision == '0' then
    call('HSET', key, 'r', string.format('%d', next_revision(nil)))
    if args[at + 8] ~= '' then call('SET', prefix .. ':x:' .. id, args[at + 8]) end
    call('ZADD', prefix .. ':due', now, id)
  else
    call('HSET', key, 'r', revision)
  end
  if ended_at ~= '' then
    call('HSET', key, 'e', ended_at, 'y', args[at + 7])
    call('EXPIRE', key, 3600)
    call('EXPIRE', session.bits, 3600)
  else
    call('ZADD', prefix .. ':live', now, id)
  end
  return following, 1
end

-- restore: puts a session back if it isn't there.
--   KEYS  prefix
--   ARGV  the session, as put_session takes it
--   gives 1 when it was put back
local function restore(keys, args)
  local _, done = put_session(keys[1], args, 1)
  return done
end

-- seed: an account's figures, each set if absent; its limits. Where the organization's figures were
-- absent, its live sessions come with them, as both are of one snapshot.
--   KEYS  prefix
--   ARGV  organization, user, limit, member's limit, number of periods, then a period: start, end,
--         used, member's used; then sessions as put_session takes them
--   gives how many sessions were put back
local function seed(keys, args)
  local prefix, org, user, periods = keys[1], args[1], args[2], tonumber(args[5])
  local bounds, was_cold = {}, call('EXISTS', prefix .. ':c:' .. org) == 0
  for at = 6, 6 + 4 * periods - 4, 4 do
    local key = prefix .. ':u:' .. args[at] .. ':' .. org
    call('HSETNX', key, 'o', args[at + 2])
    call('HSETNX', key, 'm|' .. user, args[at + 3])
    call('EXPIREAT', key, tonumber(args[at + 1]) + USAGE_KEPT_SECONDS)
    bounds[#bounds + 1] = args[at] .. '-' .. args[at + 1]
  end
  local config = prefix .. ':c:' .. org
  call('HSET', config, 'p', table.concat(bounds, ','), 'l', args[3], 'l|' .. user, args[4])
  call('EXPIRE', config, CONFIG_KEPT_SECONDS)
  local put, at = 0, 6 + 4 * periods
  while was_cold and at <= #args do
    local done
    at, done = put_session(prefix, args, at)
    put = put + done
  end
  return put
end

redis.register_function('mm1_revision', function() return 1 end)
redis.register_function('mm1_open', open)
redis.register_function('mm1_count', count)
redis.register_function('mm1_close', close)
redis.register_function('mm1_collect', collect)
redis.register_function('mm1_settle', settle)
redis.register_function('mm1_set_aside', set_aside)
redis.register_function('mm1_release', release)
redis.register_function('mm1_backlog', backlog)
redis.register_function('mm1_restore', restore)
redis.register_function('mm1_seed', seed)
