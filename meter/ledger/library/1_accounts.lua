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

-- "overage;most sessions;longest session;grace;grace counts (0/1);…": what a plan says beyond its
-- limit. The rest is for gateways. -1: unlimited; an empty text: the defaults.
local function load_terms(cache, text)
  local terms = cache.terms[text]
  if terms then return terms end
  local overage, most, longest, grace, counts =
    string.match(text, '^(-?%d+);(-?%d+);(-?%d+);(-?%d+);(%d)')
  local function bound(value, default)
    value = tonumber(value or default)
    return value < 0 and math.huge or value
  end
  terms = { text = text, overage = bound(overage, 0), most = bound(most, -1),
            longest = bound(longest, -1), grace = counts == '1' and tonumber(grace) or 0 }
  cache.terms[text] = terms
  return terms
end

local function new_cache()
  return { accounts = {}, periods = {}, terms = {} }
end

-- The account as this call sees it: read once, written once by `save`. nil when it is cold.
local function load_account(cache, prefix, org, user)
  local id = prefix .. ':c:' .. org
  local account = cache.accounts[id]
  if account then return account end
  local config = call('HMGET', id, 'p', 'l', 't', 'l|' .. user)
  if not config[1] then return nil end
  account = { prefix = prefix, org = org, config = id, limit = tonumber(config[2]), figures = {},
              periods = load_periods(cache, config[1]), terms = load_terms(cache, config[3] or ''),
              limits = { [user] = tonumber(config[4]) } }
  cache.accounts[id] = account
  return account
end

local function period_at(account, second)
  for _, period in ipairs(account.periods) do
    if second >= period.start and second < period.stop then return period end
  end
  return nil
end

local function load_figures(account, period, user)
  local key = account.prefix .. ':u:' .. period.name .. ':' .. account.org
  local values = call('HMGET', key, 'o', 'a', 'm|' .. user, 'a|' .. user)
  local figures = { key = key, counted = tonumber(values[1]), adjusted = tonumber(values[2] or '0'),
    members = {} }
  account.figures[period] = figures
  return figures, values[3], values[4]
end

local function limit_of(account, user)
  local limit = account.limits[user]
  if limit then return limit end
  limit = tonumber(call('HGET', account.config, 'l|' .. user))
  account.limits[user] = limit
  return limit
end

-- The organization's figures in a period, {counted=, adjusted=}, and the member's, {counted=,
-- adjusted=, limit=}. What is counted, and a limit, is nil when cold.
local function figures_of(account, period, user)
  local figures, counted, adjusted = account.figures[period], nil, nil
  local member = figures and figures.members[user]
  if member then return figures, member end
  if figures then
    local values = call('HMGET', figures.key, 'm|' .. user, 'a|' .. user)
    counted, adjusted = values[1], values[2]
  else
    figures, counted, adjusted = load_figures(account, period, user)
  end
  member = { field = 'm|' .. user, counted = tonumber(counted),
    adjusted = tonumber(adjusted or '0'), limit = limit_of(account, user) }
  figures.members[user] = member
  return figures, member
end

local function used_of(figures)
  return figures.counted + figures.adjusted
end

-- The same; nil when one is cold.
local function hot_figures(account, period, user)
  local figures, member = figures_of(account, period, user)
  if figures.counted and member.counted and member.limit then return figures, member end
  return nil
end

-- Seconds that still fit: a plan's overage is past the organization's limit, never past a member's.
local function room(account, figures, member)
  local left = math.huge
  if account.limit >= 0 then left = account.limit + account.terms.overage - used_of(figures) end
  if member.limit >= 0 then left = min(left, member.limit - used_of(member)) end
  return max(left, 0)
end

-- Adds to the figures that are there. (A cold one is seeded later, and then has it all.)
local function move(figures, member, seconds)
  if seconds == 0 then return end
  if figures.counted then figures.counted, figures.moved = figures.counted + seconds, true end
  if member.counted then member.counted, member.moved = member.counted + seconds, true end
end

local function save_figures(figures)
  local fields = {}
  if figures.moved then fields = { 'o', figures.counted } end
  for _, member in pairs(figures.members) do
    if member.moved then
      fields[#fields + 1] = member.field
      fields[#fields + 1] = member.counted
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

-- {period start, period end, used, limit, member used, member limit, terms}
local function standing(account, period, figures, member)
  return { period.start, period.stop, used_of(figures), account.limit, used_of(member), member.limit,
    account.terms.text }
end
