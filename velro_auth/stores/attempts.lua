-- The throttle's counters of one slot: one script, so that a burst from many processes is counted exactly.
--
-- The arithmetic is that of guards/limits.py, line by line. Numbers travel as %.17g text, which loses nothing. Time is
-- Redis's own unless a test passes one: one clock for all gateways. Keys expire, but only to free memory: the numbers in
-- a record decide when it is out of date. One server holds all keys in one slot, a cluster those of the account, of the
-- networks and of the service in three: stores/attempts.py calls this for each, in this order.
--
-- KEYS: the keys of this slot.
-- ARGV: 1 begin, look, recount, settle or knows, 2 the limits as JSON, 3 the network, 4 the time or nothing, 5 what each key is:
--   known, known_network or the name of a scope, 6 names of scopes, separated by commas.
--   begin takes in 6 the scopes of a pair that never logged in, in 7 the failures of its networks in the calls before.
--   It counts the try in all of these scopes, or in none. It returns {0|1 allowed, known, now, failures of all its
--   networks, then per scope its name, its wait, full_until, streak, last}. look does the same and counts nothing,
--   recount counts in any case.
--   settle takes in 6 the scopes that were counted, 7 succeeded, 8 when the try was counted, 9 ... when the try before
--   it was counted, per scope.
--   knows returns {whether the pair logged in before, whether anybody from the network did}.
local settings = cjson.decode(ARGV[2])
local limits = settings.scopes
local network = ARGV[3]
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local ALWAYS_COUNTED = {pair = true, account = true}
local NETWORKS = {network = true, network56 = true, network48 = true}

local function words(list)
  local found = {}
  for word in string.gmatch(list, '%w[%w_]*') do found[#found + 1] = word end
  return found
end

local key_of = {}
for index, name in ipairs(words(ARGV[5])) do key_of[name] = KEYS[index] end
local GIVEN = words(ARGV[6])

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
  local key = key_of[scope]
  repair(key, 'hash')
  local raw = redis.call('HMGET', key, 'full_until', 'streak', 'last')
  return {full_until = number(raw[1]), streak = number(raw[2]), last = number(raw[3])}
end

local function save(scope, record)
  local key, limit = key_of[scope], limits[scope]
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
  if not key_of.known then return false end
  repair(key_of.known, 'zset')
  return number(redis.call('ZSCORE', key_of.known, network)) > now
end

local function begin(is_counted, is_forced)
  local known, failures, is_allowed = is_known(), tonumber(ARGV[7]), true
  local scopes, records, waits = {}, {}, {}
  for _, scope in ipairs(GIVEN) do
    if not known or ALWAYS_COUNTED[scope] then
      scopes[#scopes + 1] = scope
      records[scope] = current(scope)
      if NETWORKS[scope] then failures = failures + records[scope].streak end
    end
  end
  for _, scope in ipairs(scopes) do
    waits[scope] = wait_s(scope, records[scope], failures == 0)
    if waits[scope] > 0 then is_allowed = false end
  end
  local answer = {is_allowed and 1 or 0, known and 1 or 0, text(now), failures}
  for _, scope in ipairs(scopes) do
    local record = records[scope]
    for _, value in ipairs({scope, text(waits[scope]), text(record.full_until), record.streak, text(record.last)}) do
      answer[#answer + 1] = value
    end
    if is_forced or (is_allowed and is_counted) then
      record.full_until = math.max(record.full_until, now) + limits[scope].refill_s
      record.streak, record.last = record.streak + 1, now
      save(scope, record)
    end
  end
  return answer
end

local function remember()
  local until_s, expires_ms = text(now + settings.known_s), math.ceil(settings.known_s * 1000)
  if key_of.known then
    repair(key_of.known, 'zset')
    redis.call('ZADD', key_of.known, until_s, network)
    redis.call('ZREMRANGEBYRANK', key_of.known, 0, -settings.known_networks - 1)
    redis.call('PEXPIRE', key_of.known, expires_ms)
  end
  if key_of.known_network then redis.call('SET', key_of.known_network, until_s, 'PX', expires_ms) end
end

local function settle()
  local counted_at = tonumber(ARGV[8])
  for index, scope in ipairs(GIVEN) do
    local record = load(scope)
    if record.streak > 0 or record.full_until > 0 then
      record.full_until = record.full_until - limits[scope].refill_s
      record.streak = math.max(0, record.streak - 1)
      if record.last == counted_at then record.last = tonumber(ARGV[8 + index]) end
      save(scope, record)
    end
  end
  if ARGV[7] == '1' then
    if key_of.pair then redis.call('DEL', key_of.pair) end
    for _, scope in ipairs({'strangers', 'account'}) do
      if key_of[scope] then
        local record = load(scope)
        record.streak = 0
        save(scope, record)
      end
    end
    remember()
  end
  return 1
end

local function knows()
  local found = 0
  if key_of.known_network then
    repair(key_of.known_network, 'string')
    found = number(redis.call('GET', key_of.known_network))
  end
  return {is_known() and 1 or 0, found > now and 1 or 0}
end

if ARGV[1] == 'begin' then return begin(true) end
if ARGV[1] == 'look' then return begin(false) end
if ARGV[1] == 'recount' then return begin(true, true) end
if ARGV[1] == 'knows' then return knows() end
return settle()
