#!lua name=minute_meter_v1

-- The ledger's server functions. A session is a bitmap of its counted seconds; the account's
-- figures move only when a bit does. Every function takes the time from the server.
--
-- KEYS are partitions' prefixes ("mm:{07}"); all other names are made here, under the prefix:
--   :s:<session>      hash    o organization, u user, k kind, g origin, c seconds counted, h highest
--                             counted, t last sign of life, n owner, r revision, w revision that is
--                             durable, e ended at, y end reason, d minutes with seconds that are not
--                             durable (a bitmap too, bit m for minute m since the origin's)
--   :b:<session>      bitmap  bit n: second n is counted
--   :x:<session>      string  metadata, until it is durable
--   :live             zset    live sessions by a lower bound of their last sign of life
--   :o:<org>          zset    an organization's live sessions by their origin
--   :due              zset    sessions with something to make durable, by when
--   :aside            hash    sessions that Postgres refused, and why
--   :lease            string  the flusher that has this partition
--   :flushers         zset    of one partition: the flushers at work, by when that lapses, in ms
--   :c:<org>          hash    p periods' bounds, l limit, l|<user> a member's limit
--   :v:<org>          string  the version of the limits it was told last, for a while
--   :u:<start>:<org>  hash    o used by the organization, m|<user> by a member, in that period

-- While a library loads, neither `redis.call` nor `math` is there to be made a local of.
local function call(...) return redis.call(...) end
local function floor(x) return x - x % 1 end
local function min(a, b) if a < b then return a end return b end
local function max(a, b) if a > b then return a end return b end
local function length(first, last) return last - first + 1 end

-- Bit n of a byte, a bitmap's lowest bit being a byte's highest (as in SETBIT).
local function weight_of(n) return 2 ^ (7 - n % 8) end
local function has(byte, weight) return floor(byte / weight) % 2 == 1 end

local USAGE_KEPT_SECONDS = 7 * 86400
local CONFIG_KEPT_SECONDS = 40 * 86400
local RESTORED_KEPT_SECONDS = 3600
-- Longer than it takes from reading limits in Postgres to writing them here.
local LIMITS_VERSION_KEPT_SECONDS = 300
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

-- "start-end,start-end" as periods. Most accounts of a batch have the same ones: parsed once.
local function load_periods(cache, text)
  local periods = cache.periods[text]
  if periods then return periods end
  periods = {}
  for first, last in string.gmatch(text, '(%d+)-(%d+)') do
    periods[#periods + 1] = { name = first, start = tonumber(first), stop = tonumber(last) }
  end
  cache.periods[text] = periods
  return periods
end

local function new_cache()
  return { accounts = {}, periods = {} }
end

-- The account as this call sees it: read once, written once by `save`. nil when it is cold.
local function load_account(cache, prefix, org, user)
  local id = prefix .. ':c:' .. org
  local account = cache.accounts[id]
  if account then return account end
  local config = call('HMGET', id, 'p', 'l', 'l|' .. user)
  if not config[1] then return nil end
  account = { prefix = prefix, org = org, config = id, limit = tonumber(config[2]), figures = {},
              periods = load_periods(cache, config[1]),
              limits = { [user] = tonumber(config[3]) } }
  cache.accounts[id] = account
  return account
end

local function period_at(account, second)
  for _, period in ipairs(account.periods) do
    if second >= period.start and second < period.stop then return period end
  end
  return nil
end

local function load_figures(account, period, field)
  local key = account.prefix .. ':u:' .. period.name .. ':' .. account.org
  local values = call('HMGET', key, 'o', field)
  local figures = { key = key, used = tonumber(values[1]), members = {} }
  account.figures[period] = figures
  return figures, values[2]
end

local function limit_of(account, user)
  local limit = account.limits[user]
  if limit then return limit end
  limit = tonumber(call('HGET', account.config, 'l|' .. user))
  account.limits[user] = limit
  return limit
end

-- The organization's figures in a period, {used=}, and the member's, {used=, limit=}. Each of them
-- is nil when cold.
local function figures_of(account, period, user)
  local figures, used = account.figures[period], nil
  local member = figures and figures.members[user]
  if member then return figures, member end
  local field = 'm|' .. user
  if figures then
    used = call('HGET', figures.key, field)
  else
    figures, used = load_figures(account, period, field)
  end
  member = { field = field, used = tonumber(used), limit = limit_of(account, user) }
  figures.members[user] = member
  return figures, member
end

-- The same; nil when one is cold.
local function hot_figures(account, period, user)
  local figures, member = figures_of(account, period, user)
  if figures.used and member.used and member.limit then return figures, member end
  return nil
end

local function room(account, figures, member)
  local left = math.huge
  if account.limit >= 0 then left = account.limit - figures.used end
  if member.limit >= 0 then left = min(left, member.limit - member.used) end
  return max(left, 0)
end

-- Adds to the figures that are there. (A cold one is seeded later, and then has it all.)
local function move(figures, member, seconds)
  if seconds == 0 then return end
  if figures.used then figures.used, figures.moved = figures.used + seconds, true end
  if member.used then member.used, member.moved = member.used + seconds, true end
end

local function save_figures(figures)
  local fields = {}
  if figures.moved then fields = { 'o', figures.used } end
  for _, member in pairs(figures.members) do
    if member.moved then
      fields[#fields + 1] = member.field
      fields[#fields + 1] = member.used
    end
  end
  if #fields > 0 then call('HSET', figures.key, unpack(fields)) end
end

local function save(cache)
  for _, account in pairs(cache.accounts) do
    for _, figures in pairs(account.figures) do save_figures(figures) end
  end
end

-- The account, its present period, and the figures in it; nil when one is cold.
local function load_present(cache, prefix, org, user, now)
  local account = load_account(cache, prefix, org, user)
  local period = account and period_at(account, now)
  if not period then return nil end
  local figures, member = hot_figures(account, period, user)
  if not figures then return nil end
  return account, period, figures, member
end

-- What to say of a session whose account is cold: `member_cold` where the organization is known.
local function coldness(cache, prefix, org, user)
  return load_account(cache, prefix, org, user) and 'member_cold' or 'account_cold'
end

-- {period start, period end, used, limit, member used, member limit}
local function standing(account, period, figures, member)
  return { period.start, period.stop, figures.used, account.limit, member.used, member.limit }
end

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

-- What is known of an organization's sessions without asking each.
local function list_live(prefix, org, id, origin)
  call('ZADD', prefix .. ':o:' .. org, origin, id)
end

local function end_session(session, reason, now)
  session.ended_at, session.reason = now, reason
  session.revision = next_revision(session)
  call('HSET', session.key, 'e', now, 'y', reason, 'r', string.format('%d', session.revision))
  call('ZREM', session.prefix .. ':live', session.id)
  call('ZREM', session.prefix .. ':o:' .. session.org, session.id)
  call('ZADD', session.prefix .. ':due', 'LT', now, session.id)
end

local function describe(session)
  return { session.user, session.kind, session.origin, string.format('%d', session.revision),
    session.seconds, session.highest, durable_through(session), session.ended_at or '',
    session.reason or '', session.org }
end

-- Counting ------------------------------------------------------------------------------------

-- Notes that a second is counted now: the session's figures, and its minute as not durable.
local function note_new(session, n, tally)
  tally.new = tally.new + 1
  session.highest = max(session.highest, n)
  local minute = floor((session.origin + n) / 60)
  if minute ~= session.marked then
    session.marked = minute
    if mark(session, minute, true) then
      tally.marked = true
      call('ZADD', session.prefix .. ':due', 'LT', due_at(minute, tally.flush_after), session.id)
    end
  end
end

local function count_one(session, n, left, tally)
  if left > 0 then
    if call('SETBIT', session.bits, n, 1) == 0 then note_new(session, n, tally) end
  elseif call('GETBIT', session.bits, n) == 0 then
    tally.over = tally.over + 1
  end
end

local function count_many(session, first, last, left, tally)
  local from, before, bytes = floor(first / 8), tally.new, {}
  local present = call('GETRANGE', session.bits, from, floor(last / 8))
  for at = from, floor(last / 8) do
    local byte = string.byte(present, at - from + 1) or 0
    for n = max(first, at * 8), min(last, at * 8 + 7) do
      if not has(byte, weight_of(n)) then
        if left > 0 then
          left, byte = left - 1, byte + weight_of(n)
          note_new(session, n, tally)
        else
          tally.over = tally.over + 1
        end
      end
    end
    bytes[#bytes + 1] = string.char(byte)
  end
  if tally.new > before then call('SETRANGE', session.bits, from, table.concat(bytes)) end
end

-- Counts the seconds of a part, all in one period, as far as there is room.
local function count_part(session, account, part, tally)
  local figures, member, first, last = part[1], part[2], part[3], part[4]
  local left, before = room(account, figures, member), tally.new
  if first == last then
    count_one(session, first, left, tally)
  else
    count_many(session, first, last, left, tally)
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
  if first <= last and last >= bounds.longest then
    tally.long = tally.long + length(max(first, bounds.longest), last)
    last = bounds.longest - 1
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
  return { 'counted', tally.new, tally.future, tally.late, tally.over, tally.long, session.seconds,
    session.highest, durable_through(session), session.owner, '', period.start, period.stop,
    figures.used, account.limit, member.used, member.limit }
end

-- count: a batch of heartbeats.
--   KEYS  partitions' prefixes
--   ARGV  future, late, longest, flush_after; then a session: index into KEYS, session id, ranges
--         "a:b,c:d" (inclusive; "a": one second; empty: a sign of life)
--   gives an array a session: {status, new, in future, too late, over limit, over duration,
--         seconds, highest, durable through, owner, end reason, standing: six numbers}
local function count(keys, args)
  local bounds = { now = now_seconds(), future = tonumber(args[1]), late = tonumber(args[2]),
    longest = tonumber(args[3]), flush_after = tonumber(args[4]) }
  local cache, replies = new_cache(), {}
  for at = 5, #args, 3 do
    local prefix, id = keys[tonumber(args[at])], args[at + 1]
    local session = load_counting(prefix, id)
    local reply
    if not session then
      reply = { 'absent' }
    elseif session.ended_at then
      reply = { 'ended', 0, 0, 0, 0, 0, session.seconds, session.highest,
        durable_through(session), session.owner, call('HGET', session.key, 'y') }
    else
      reply = count_session(cache, session, args[at + 2], bounds)
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
  local cache = new_cache()
  local account, period, figures, member = load_present(cache, prefix, org, user, now)
  if not account then return { coldness(cache, prefix, org, user), now, micros } end
  if not session and not create then return { 'absent', now, micros } end
  local present = standing(account, period, figures, member)
  if room(account, figures, member) <= 0 and (not session or session.ended_at) then
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
    call('PERSIST', session.key)
    call('PERSIST', session.bits)
    call('ZADD', prefix .. ':due', 'LT', now, id)
  end
  call('HSET', key, 'n', owner, 't', now)
  call('ZADD', prefix .. ':live', now, id)
  list_live(prefix, org, id, session and session.origin or now)
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
      -- It is listed already, unless an older revision of this library opened it.
      list_live(prefix, session.org, id, session.origin)
    end
  end
end

-- Minutes that are to be written now, as a flat array: minute, first byte's index, bytes.
local function due_minutes(session, now, flush_after)
  local out, marks = {}, session.dirty
  for at = 1, #marks do
    local byte = string.byte(marks, at)
    for bit = 0, 7 do
      local minute = session.first_minute + (at - 1) * 8 + bit
      if has(byte, weight_of(bit))
        and (session.ended_at or due_at(minute, flush_after) <= now) then
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

-- After a loss --------------------------------------------------------------------------------

-- Adds minutes' masks to a session's bitmap, and to its figures what is new in it.
local function put_bits(session, args, at, minutes)
  local present, bytes = call('GET', session.bits) or '', {}
  for index = 1, #present do bytes[index] = string.byte(present, index) end
  for row = at, at + 3 * minutes - 3, 3 do
    local start, low = tonumber(args[row]) * 60 - session.origin, tonumber(args[row + 1])
    local high = tonumber(args[row + 2])
    for n = max(start, 0), start + 59 do
      local index = floor(n / 8) + 1
      while #bytes < index do bytes[#bytes + 1] = 0 end
      if in_mask(low, high, n - start) and not has(bytes[index], weight_of(n)) then
        bytes[index] = bytes[index] + weight_of(n)
        session.seconds, session.highest = session.seconds + 1, max(session.highest, n)
      end
    end
  end
  for index, byte in ipairs(bytes) do bytes[index] = string.char(byte) end
  if #bytes > 0 then call('SET', session.bits, table.concat(bytes), 'KEEPTTL') end
end

-- Puts a session back that isn't there. ARGV from `at`: session, organization, user, kind, origin,
-- durable revision, ended at, reason, metadata, number of minutes, the minutes as in settle. A
-- durable revision of 0 means that Postgres doesn't know the session.
local function put_session(prefix, args, at)
  local id, now, revision, ended_at = args[at], now_seconds(), args[at + 5], args[at + 6]
  local key = prefix .. ':s:' .. id
  local session = { origin = tonumber(args[at + 4]), bits = prefix .. ':b:' .. id, seconds = 0,
    highest = -1 }
  call('DEL', session.bits)
  put_bits(session, args, at + 10, tonumber(args[at + 9]))
  call('HSET', key, 'o', args[at + 1], 'u', args[at + 2], 'k', args[at + 3], 'g', session.origin,
    'c', session.seconds, 'h', session.highest, 't', now, 'n', 0, 'w', revision, 'r', revision)
  if revision == '0' then
    call('HSET', key, 'r', string.format('%d', next_revision(nil)))
    if args[at + 8] ~= '' then call('SET', prefix .. ':x:' .. id, args[at + 8]) end
    call('ZADD', prefix .. ':due', now, id)
  end
  if ended_at ~= '' then
    call('HSET', key, 'e', ended_at, 'y', args[at + 7])
    call('EXPIRE', key, RESTORED_KEPT_SECONDS)
    call('EXPIRE', session.bits, RESTORED_KEPT_SECONDS)
  else
    call('ZADD', prefix .. ':live', now, id)
    list_live(prefix, args[at + 1], id, session.origin)
  end
end

-- restore: puts a session back if it isn't there.
--   KEYS  prefix
--   ARGV  the session, as put_session takes it
--   gives 1 when it was put back
local function restore(keys, args)
  if call('EXISTS', keys[1] .. ':s:' .. args[1]) == 1 then return 0 end
  put_session(keys[1], args, 1)
  return 1
end

-- The sessions that come with a cold account's figures. One that was restored meanwhile, from an
-- older snapshot, gets the seconds it lacks: the figures have them.
local function put_live(prefix, args, at)
  local put = 0
  while at <= #args do
    local minutes = tonumber(args[at + 9])
    local session = load_session(prefix, args[at])
    if session then
      put_bits(session, args, at + 10, minutes)
      call('HSET', session.key, 'c', session.seconds, 'h', session.highest)
    else
      put_session(prefix, args, at)
      put = put + 1
    end
    at = at + 10 + 3 * minutes
  end
  return put
end

-- Whether limits of this version are older than those the organization was told.
local function are_outdated(prefix, org, version)
  local told = call('GET', prefix .. ':v:' .. org)
  return told and tonumber(version) < tonumber(told)
end

-- seed: an account's figures, each set if absent; its limits. Where the organization's figures were
-- absent, its live sessions come with them, as both are of one snapshot. Does nothing when its
-- limits are outdated, or the live sessions are needed and weren't read: the account stays cold.
--   KEYS  prefix
--   ARGV  organization, user, limit, member's limit, limits' version, live sessions were read (0/1),
--         number of periods, then a period: start, end, used, member's used; then sessions as
--         put_session takes them
--   gives how many sessions were put back
local function seed(keys, args)
  local prefix, org, user, periods = keys[1], args[1], args[2], tonumber(args[7])
  local config, bounds = prefix .. ':c:' .. org, {}
  local was_cold = call('EXISTS', config) == 0
  if are_outdated(prefix, org, args[5]) or (was_cold and args[6] == '0') then return 0 end
  for at = 8, 8 + 4 * periods - 4, 4 do
    local key = prefix .. ':u:' .. args[at] .. ':' .. org
    call('HSETNX', key, 'o', args[at + 2])
    call('HSETNX', key, 'm|' .. user, args[at + 3])
    call('EXPIREAT', key, tonumber(args[at + 1]) + USAGE_KEPT_SECONDS)
    bounds[#bounds + 1] = args[at] .. '-' .. args[at + 1]
  end
  call('HSET', config, 'p', table.concat(bounds, ','), 'l', args[3], 'l|' .. user, args[4])
  call('EXPIRE', config, CONFIG_KEPT_SECONDS)
  if not was_cold then return 0 end
  return put_live(prefix, args, 8 + 4 * periods)
end

-- set_limits: an organization's present limit, and its members', where it is known. One that isn't
-- will be seeded with them, or with newer ones.
--   KEYS  prefix
--   ARGV  organization, version, limit; then a member with a limit: user, limit
--   gives 1, or 0 when newer ones were told already
local function set_limits(keys, args)
  local prefix, org = keys[1], args[1]
  if are_outdated(prefix, org, args[2]) then return 0 end
  call('SET', prefix .. ':v:' .. org, args[2], 'EX', LIMITS_VERSION_KEPT_SECONDS)
  local config, limits = prefix .. ':c:' .. org, {}
  for at = 4, #args, 2 do limits['l|' .. args[at]] = args[at + 1] end
  for _, field in ipairs(call('HKEYS', config)) do
    if field == 'l' then
      call('HSET', config, 'l', args[3])
    elseif string.sub(field, 1, 2) == 'l|' then
      call('HSET', config, field, limits[field] or '-1')
    end
  end
  return 1
end

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

redis.register_function('mm1_revision', function() return 3 end)
redis.register_function('mm1_open', open)
redis.register_function('mm1_count', count)
redis.register_function('mm1_close', close)
redis.register_function('mm1_collect', collect)
redis.register_function('mm1_settle', settle)
redis.register_function('mm1_set_aside', set_aside)
redis.register_function('mm1_release', release)
redis.register_function('mm1_muster', muster)
redis.register_function('mm1_backlog', backlog)
redis.register_function('mm1_restore', restore)
redis.register_function('mm1_seed', seed)
redis.register_function('mm1_set_limits', set_limits)
redis.register_function { function_name = 'mm1_look', callback = look, flags = { 'no-writes' } }
