-- What Postgres says of accounts -----------------------------------------------------------------

-- Whether limits of this version are older than those the organization was told.
local function are_outdated(prefix, org, version)
  local told = call('GET', prefix .. ':v:' .. org)
  return told and tonumber(version) < tonumber(told)
end

-- The key of an account's figures in the period of a time, and the period; nil when it isn't known.
local function figures_at(cache, prefix, org, bounds, time)
  local period = period_at({ periods = load_periods(cache, bounds) }, time)
  return period and prefix .. ':u:' .. period.name .. ':' .. org, period
end

-- Sets an account's periods. The present one starts elsewhere than before where the account got
-- another cycle before Postgres had anything of it: then all that was counted is in it still.
local function set_periods(prefix, org, bounds)
  local config, now, cache = prefix .. ':c:' .. org, now_seconds(), new_cache()
  local old_bounds = call('HGET', config, 'p')
  call('HSET', config, 'p', bounds)
  if not old_bounds or old_bounds == bounds then return end
  local old = figures_at(cache, prefix, org, old_bounds, now)
  local new, period = figures_at(cache, prefix, org, bounds, now)
  if not old or not new or old == new then return end
  local counted = call('HGETALL', old)
  for at = 1, #counted, 2 do
    local field, seconds = counted[at], tonumber(counted[at + 1])
    local is_counted = field == 'o' or string.sub(field, 1, 2) == 'm|'
    if is_counted and seconds > tonumber(call('HGET', new, field) or '-1') then
      call('HSET', new, field, seconds)
    end
  end
  call('EXPIREAT', new, period.stop + USAGE_KEPT_SECONDS)
end

-- What was adjusted by hand is as it is told: nothing is added here.
local function adjust(key, field, seconds)
  if seconds ~= '0' then
    call('HSET', key, field, seconds)
  else
    call('HDEL', key, field)
  end
end

-- seed: an account's figures, each set if absent; its limits. Where the organization's figures were
-- absent, its live sessions come with them, as both are of one snapshot. Does nothing when its
-- limits are outdated, or the live sessions are needed and weren't read: the account stays cold.
--   KEYS  prefix
--   ARGV  organization, user, limit, member's limit, terms, limits' version, live sessions were read
--         (0/1), number of periods, then a period: start, end, counted, member's counted, adjusted,
--         member's adjusted; then sessions as put_session takes them
--   gives how many sessions were put back
local function seed(keys, args)
  local prefix, org, user, periods = keys[1], args[1], args[2], tonumber(args[8])
  local config, bounds = prefix .. ':c:' .. org, {}
  local was_cold = call('EXISTS', config) == 0
  if are_outdated(prefix, org, args[6]) or (was_cold and args[7] == '0') then return 0 end
  for at = 9, 9 + 6 * periods - 6, 6 do bounds[#bounds + 1] = args[at] .. '-' .. args[at + 1] end
  set_periods(prefix, org, table.concat(bounds, ','))
  for at = 9, 9 + 6 * periods - 6, 6 do
    local key = prefix .. ':u:' .. args[at] .. ':' .. org
    call('HSETNX', key, 'o', args[at + 2])
    call('HSETNX', key, 'm|' .. user, args[at + 3])
    adjust(key, 'a', args[at + 4])
    adjust(key, 'a|' .. user, args[at + 5])
    call('EXPIREAT', key, tonumber(args[at + 1]) + USAGE_KEPT_SECONDS)
  end
  call('HSET', config, 'l', args[3], 't', args[5], 'l|' .. user, args[4])
  call('EXPIRE', config, CONFIG_KEPT_SECONDS)
  if not was_cold then return 0 end
  return put_live(prefix, args, 9 + 6 * periods)
end

-- set_limits: an organization's present limit, terms and periods, and its members' limits, where it
-- is known. One that isn't will be seeded with them, or with newer ones.
--   KEYS  prefix
--   ARGV  organization, version, limit, terms, periods' bounds (empty: as they are), number of
--         adjusted figures, then such a figure: its period's start, user (empty: the
--         organization's), seconds; then a member with a limit: user, limit
--   gives 1, or 0 when newer ones were told already
local function set_limits(keys, args)
  local prefix, org = keys[1], args[1]
  if are_outdated(prefix, org, args[2]) then return 0 end
  call('SET', prefix .. ':v:' .. org, args[2], 'EX', LIMITS_VERSION_KEPT_SECONDS)
  local config, limits = prefix .. ':c:' .. org, {}
  local adjusted = tonumber(args[6])
  for at = 7 + 3 * adjusted, #args, 2 do limits['l|' .. args[at]] = args[at + 1] end
  for _, field in ipairs(call('HKEYS', config)) do
    if field == 'l' then
      call('HSET', config, 'l', args[3], 't', args[4])
      if args[5] ~= '' then set_periods(prefix, org, args[5]) end
    elseif string.sub(field, 1, 2) == 'l|' then
      call('HSET', config, field, limits[field] or '-1')
    end
  end
  for at = 7, 7 + 3 * adjusted - 3, 3 do
    local key, user = prefix .. ':u:' .. args[at] .. ':' .. org, args[at + 1]
    local suffix = user == '' and '' or '|' .. user
    -- A cold figure is seeded with what is adjusted, or with something newer.
    if call('HEXISTS', key, user == '' and 'o' or 'm' .. suffix) == 1 then
      adjust(key, 'a' .. suffix, args[at + 2])
    end
  end
  return 1
end

-- correct: moves figures of a period by what an audit found them to be off.
--   KEYS  prefix
--   ARGV  organization, period's start, then a figure: user (empty: the organization's), seconds to
--         add
--   gives how many figures were there
local function correct(keys, args)
  local key, known = keys[1] .. ':u:' .. args[2] .. ':' .. args[1], 0
  for at = 3, #args, 2 do
    local field = args[at] == '' and 'o' or 'm|' .. args[at]
    if call('HEXISTS', key, field) == 1 then
      call('HINCRBY', key, field, args[at + 1])
      known = known + 1
    end
  end
  return known
end
