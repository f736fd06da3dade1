-- The ledger's server functions. A session is a bitmap of its counted seconds; the account's
-- figures move only when a bit does. Every function takes the time from the server.
--
-- functions.py puts two lines before this: the library's name, and PREFIX and REVISION.
--
-- KEYS are partitions' prefixes ("mm:{07}"); all other names are made here, under the prefix:
--   :s:<session>      hash    o organization, u user, k kind, g origin, c seconds counted, h highest
--                             counted, t last sign of life, n owner, r revision, w revision that is
--                             durable, e ended at, y end reason, d minutes with seconds that are not
--                             durable (a bitmap too, bit m for minute m since the origin's), f first
--                             second of a grace that counts, a what it was warned of
--   :b:<session>      bitmap  bit n: second n is counted
--   :x:<session>      string  metadata, until it is durable
--   :live             zset    live sessions by a lower bound of their last sign of life
--   :began            zset    live sessions by their origin
--   :o:<org>          zset    an organization's live sessions by their origin
--   :orgs             zset    organizations with live sessions, by how many
--   :due              zset    sessions with something to make durable, by when
--   :aside            hash    sessions that Postgres refused, and why
--   :lease            string  the flusher that has this partition
--   :flushers         zset    of one partition: the flushers at work, by when that lapses, in ms
--   :c:<org>          hash    p periods' bounds, l limit, t terms, l|<user> a member's limit
--   :v:<org>          string  the version of the limits it was told last, for a while
--   :u:<start>:<org>  hash    o counted of the organization, m|<user> of a member, in that period;
--                             a and a|<user> what was adjusted by hand on top, which may be below 0

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
-- Nothing is due further ahead: where it seems so, the clock was set back.
local FARTHEST_SECONDS = 600
-- No session is heard from further ahead than two servers' clocks are apart.
local AHEAD_SECONDS = 5
-- Two machines' clocks are never that far apart: one of them is being set.
local APART_SECONDS = 60

local function clock() -- replaced by tests that need a clock of their own
  local t = call('TIME')
  return tonumber(t[1]), tonumber(t[2])
end

local function now_seconds()
  local seconds = clock()
  return seconds
end
