-- What both scripts begin with. Times are seconds of Redis' own clock; a test may give its own.

local KEEP_S = 86400   -- a day without a call, and all of a scope is forgotten
local RAMP_S = 1       -- after a hold, calls are let in one by one over this long

local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- A number as text: Lua's own form would round a time to 0.1 ms and more.
local function text(number)
  return string.format('%.6f', number)
end

-- Calls whose lease is over: their process died, their places are free.
local function bury(calls, begun, now)
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', calls, '-inf', now)) do
    redis.call('ZREM', calls, dead)
    if begun then redis.call('HDEL', begun, dead) end
  end
end

-- The log holds one member "tokens id" for each call of the last window, by its time; `state` their sum.
local function member(tokens, id)
  return string.format('%d %s', tokens, id)
end

local function tokens_of(entry)
  return tonumber(string.match(entry, '^%d+'))
end

local function trim(log, state, until_s)
  local old = redis.call('ZRANGEBYSCORE', log, '-inf', until_s)
  local gone = 0
  for _, entry in ipairs(old) do gone = gone + tokens_of(entry) end
  if #old > 0 then
    redis.call('ZREMRANGEBYSCORE', log, '-inf', until_s)
    redis.call('HINCRBY', state, 'tokens', -gone)
  end
end
