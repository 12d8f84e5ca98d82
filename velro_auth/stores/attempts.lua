-- The throttle's counters: one script, so that a burst from many processes is counted exactly.
--
-- The arithmetic is that of guards/limits.py, line by line. Numbers travel as %.17g text, which loses nothing. Time is
-- Redis's own unless a test passes one: one clock for all gateways. Keys expire, but only to free memory: the numbers in
-- a record decide when it is out of date.
--
-- KEYS: known, then the scopes in the order of limits.STRANGER, then known_network.
-- ARGV: 1 begin, settle or knows, 2 the limits as JSON, 3 the network, 4 the time or nothing, 5 the numbers of scopes.
--   begin takes in 5 the scopes of a pair that never logged in. It returns {0|1 allowed, known, now, scope with the
--   longest wait, that wait, the same two among the limits that are not shared, failures of the network,
--   full_until, streak and last of the pair, last of each scope ...}.
--   settle takes in 5 the scopes that were counted, 6 succeeded, 7 when the try was counted, 8 ... when the try before
--   it was counted, per scope.
--   knows returns whether the pair, and whether anybody from the network, logged in before.
local settings = cjson.decode(ARGV[2])
local limits = settings.scopes
local network = ARGV[3]
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local PAIR, STRANGERS, NETWORK, NETWORK56, NETWORK48, SERVICE, ACCOUNT = 1, 2, 3, 4, 5, 6, 7
local KNOWN = {PAIR, ACCOUNT}
local SHARED = {[NETWORK56] = true, [NETWORK48] = true, [SERVICE] = true}

local GIVEN = {}
for scope in string.gmatch(ARGV[5], '%d+') do GIVEN[#GIVEN + 1] = tonumber(scope) end

local function text(number) return string.format('%.17g', number) end

local function number(value)
  local parsed = tonumber(value) or 0
  if parsed ~= parsed or parsed == math.huge or parsed < 0 then return 0 end
  return parsed
end

-- A key of ours with a value of another type is useless: delete it.
local function repair(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end

local function load(scope)
  local key = KEYS[scope + 1]
  repair(key, 'hash')
  local raw = redis.call('HMGET', key, 'full_until', 'streak', 'last')
  return {full_until = number(raw[1]), streak = number(raw[2]), last = number(raw[3])}
end

local function save(scope, record)
  local key, limit = KEYS[scope + 1], limits[scope]
  if record.streak == 0 and record.full_until <= now then
    redis.call('DEL', key)
    return
  end
  redis.call('HSET', key, 'full_until', text(record.full_until), 'streak', record.streak, 'last', text(record.last))
  redis.call('PEXPIRE', key, math.ceil(math.max(limit.forget_s, limit.burst * limit.refill_s) * 1000))
end

local function current(scope)
  local limit, record = limits[scope], load(scope)
  local latest = now + limit.burst * limit.refill_s
  local is_from_the_future = record.last > now or record.full_until > latest
  record.last = math.min(record.last, now)
  record.full_until = math.min(record.full_until, latest)
  if now - record.last >= limit.forget_s then record.streak = 0 end
  -- Kept, or the wait would start again at each try until the clock has caught up.
  if is_from_the_future then save(scope, record) end
  return record
end

local function failures_of(scope, records)
  return records[scope] and records[scope].streak or 0
end

local function wait_s(scope, record, is_fresh)
  local limit = limits[scope]
  local burst = limit.burst
  if not is_fresh and limit.burst_after_failure > 0 then burst = limit.burst_after_failure end
  local wait = record.full_until - (burst - 1) * limit.refill_s - now
  if record.streak >= limit.stop_at then
    wait = math.max(wait, record.last + limit.forget_s - now)
  elseif record.streak >= limit.free then
    local delay = limit.first_delay_s * 2 ^ math.min(record.streak - limit.free, 60)
    wait = math.max(wait, record.last + math.min(limit.longest_delay_s, delay) - now)
  end
  if wait > 0.000001 then return wait end
  return 0
end

local function is_known()
  repair(KEYS[1], 'zset')
  return number(redis.call('ZSCORE', KEYS[1], network)) > now
end

local function begin()
  local known = is_known()
  local scopes = known and KNOWN or GIVEN
  local records, longest_scope, longest, longest_own_scope, longest_own = {}, 0, 0, 0, 0
  for _, scope in ipairs(scopes) do records[scope] = current(scope) end
  local failures = failures_of(NETWORK, records)
  local is_fresh = failures + failures_of(NETWORK56, records) + failures_of(NETWORK48, records) == 0
  for _, scope in ipairs(scopes) do
    local wait = wait_s(scope, records[scope], is_fresh)
    if wait > longest then longest_scope, longest = scope, wait end
    if wait > longest_own and not SHARED[scope] then longest_own_scope, longest_own = scope, wait end
  end
  local previous = {}
  for index, scope in ipairs(scopes) do
    local record = records[scope]
    previous[index] = text(record.last)
    if longest == 0 then
      record.full_until = math.max(record.full_until, now) + limits[scope].refill_s
      record.streak, record.last = record.streak + 1, now
      save(scope, record)
    end
  end
  local pair = records[PAIR]
  return {longest == 0 and 1 or 0, known and 1 or 0, text(now), longest_scope, text(longest),
          longest_own_scope, text(longest_own), failures,
          text(pair.full_until), pair.streak, text(pair.last), unpack(previous)}
end

local function remember()
  repair(KEYS[1], 'zset')
  redis.call('ZADD', KEYS[1], text(now + settings.known_s), network)
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -settings.known_networks - 1)
  redis.call('PEXPIRE', KEYS[1], math.ceil(settings.known_s * 1000))
  redis.call('SET', KEYS[#KEYS], text(now + settings.known_s), 'PX', math.ceil(settings.known_s * 1000))
end

local function settle()
  local succeeded, counted_at = ARGV[6] == '1', tonumber(ARGV[7])
  for index, scope in ipairs(GIVEN) do
    local record = load(scope)
    if record.streak > 0 or record.full_until > 0 then
      record.full_until = record.full_until - limits[scope].refill_s
      record.streak = math.max(0, record.streak - 1)
      if record.last == counted_at then record.last = tonumber(ARGV[7 + index]) end
      save(scope, record)
    end
  end
  if succeeded then
    redis.call('DEL', KEYS[PAIR + 1])
    for _, scope in ipairs({STRANGERS, ACCOUNT}) do
      local record = load(scope)
      record.streak = 0
      save(scope, record)
    end
    remember()
  end
  return 1
end

if ARGV[1] == 'begin' then return begin() end
if ARGV[1] == 'knows' then
  repair(KEYS[#KEYS], 'string')
  return {is_known() and 1 or 0, number(redis.call('GET', KEYS[#KEYS])) > now and 1 or 0}
end
return settle()
