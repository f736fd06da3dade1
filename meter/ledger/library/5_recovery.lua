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

-- give_back: counts what a gateway had of a session that may have ended since, or had counted once,
-- where that was lost. An ended session takes what was before its end, and stays ended.
--   KEYS  prefix
--   ARGV  future, late, longest, flush_after, session, ranges and origin as in count
--   gives what count gives of a live session; or {"absent"}
local function give_back(keys, args)
  local prefix, id, now = keys[1], args[5], now_seconds()
  local session, cache = numbered_from(load_counting(prefix, id), args[7]), new_cache()
  if not session then return { 'absent' } end
  local ended_at = tonumber(session.ended_at)
  local future = tonumber(args[1])
  if ended_at then future = min(future, ended_at - now) end
  local reply = count_session(cache, session, args[6], { now = now, future = future,
    late = tonumber(args[2]), longest = tonumber(args[3]), flush_after = tonumber(args[4]) })
  save(cache)
  if ended_at then
    call('ZREM', prefix .. ':live', id)
    if tonumber(reply[1]) and reply[1] > 0 then
      call('PERSIST', session.key)
      call('PERSIST', session.bits)
      due_at_once(session, now)
    end
  end
  return reply
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
