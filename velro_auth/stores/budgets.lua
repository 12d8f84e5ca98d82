-- The budgets' logs: one script, so that a burst from many processes is counted exactly.
--
-- The arithmetic is that of guards/budgets.py, line by line. A log is a sorted set: number of the unit → when it was
-- taken. Numbers travel as %.17g text, which loses nothing. Time is Redis's own unless a test passes one: one clock for
-- all gateways. Keys expire, but only to free memory.
--
-- One server holds all logs in one slot; a cluster holds those of an account, of each network and of the service in
-- several, and stores/budgets.py calls this for each.
--
-- KEYS: the logs of this slot.
-- ARGV: 1 take, give_back or used, 2 the time or nothing, 3 the number of the unit, 4 per log its windows, as JSON:
--   [[count, window_s], ...].
--   take returns {0|1 taken, number of the log with the longest wait, that wait}.
--   used returns per log how many units each window counts, and the wait.
local windows = cjson.decode(ARGV[4])
local unit = ARGV[3]
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local INSTANT = 0.000001

local function text(number) return string.format('%.17g', number) end

local function longest_s(index)
  local longest = 0
  for _, window in ipairs(windows[index]) do longest = math.max(longest, window[2]) end
  return longest
end

-- Leave no entry that no window counts any more; entries of the future count as of now.
local function make_current(index)
  local key = KEYS[index]
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', key) end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - longest_s(index) + INSTANT))
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. text(now), '+inf')) do
    redis.call('ZADD', key, text(now), member)
  end
end

local function used(key, window)
  return redis.call('ZCOUNT', key, '(' .. text(now - window[2] + INSTANT), '+inf')
end

local function wait_s(index)
  local key, longest = KEYS[index], 0
  for _, window in ipairs(windows[index]) do
    if used(key, window) >= window[1] then
      local taken_at = tonumber(redis.call('ZRANGE', key, -window[1], -window[1], 'WITHSCORES')[2])
      longest = math.max(longest, INSTANT, taken_at + window[2] - now)
    end
  end
  return longest
end

local function take()
  local longest_index, longest = 0, 0
  for index in ipairs(KEYS) do
    make_current(index)
    local wait = wait_s(index)
    if wait > longest then longest_index, longest = index, wait end
  end
  if longest > 0 then return {0, longest_index, text(longest)} end
  for index, key in ipairs(KEYS) do
    redis.call('ZADD', key, text(now), unit)
    redis.call('PEXPIRE', key, math.ceil(longest_s(index) * 1000))
  end
  return {1, 0, '0'}
end

local function give_back()
  for _, key in ipairs(KEYS) do
    if redis.call('TYPE', key).ok == 'zset' then redis.call('ZREM', key, unit) end
  end
  return 1
end

local function show()
  local found = {}
  for index, key in ipairs(KEYS) do
    make_current(index)
    local counts = {}
    for number, window in ipairs(windows[index]) do counts[number] = used(key, window) end
    found[index] = {text(wait_s(index)), unpack(counts)}
  end
  return found
end

if ARGV[1] == 'take' then return take() end
if ARGV[1] == 'give_back' then return give_back() end
return show()
