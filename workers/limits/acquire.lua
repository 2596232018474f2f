-- May this call start? Both scopes allow it and both book it, or nothing is booked.
-- Returns '0' (go), '-1' (go, it is booked already), or the seconds after which to ask again.
--
-- KEYS  1 model's state  2 its calls in flight  3 how they began  4 its log
--       5 provider's state  6 its calls in flight  7 its log
-- ARGV  1 call  2 tokens (estimate)  3 lease_s  4 window_s  5 start  6 cap
--       7, 8 model's requests and tokens a window  9, 10, 11 provider's in flight, requests, tokens
--       (0: no limit)  12 now (tests; '': Redis' clock)
--
-- Turns. Who is refused gets the next turn of the scope that frees up last: turns begin when it does and follow
-- each other at the pace at which places come free, PRESSURE times quicker, since who comes late leaves a place
-- unused and who comes early only asks once more. After LAP turns, but 10 to 60 s, they begin anew between the ones
-- that are given, so that nobody sleeps through a limit that has risen. A place that is free when somebody asks is
-- given, whoever's turn it is.

local PRESSURE = 2.5
local LAP = 64
local FIRST_GUESS_S = 1  -- a call's duration before any has ended
-- Past half of the rate calls are spread, twice as close as the rate: a volley now would be a volley, and a
-- pause, in every minute that follows. Of few calls a minute none is a volley.
local SPREAD, SPREAD_FROM = 0.5, 20

local state, calls, begun, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local provider = { state = KEYS[5], calls = KEYS[6], log = KEYS[7] }
local id, tokens, lease_s, window_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local start, cap = tonumber(ARGV[5]), tonumber(ARGV[6])
local now = clock(ARGV[12])

bury(calls, begun, now)
bury(provider.calls, nil, now)
if redis.call('ZSCORE', calls, id) then return '-1' end  -- a copy, or our answer was lost on its way

local learned = redis.call('HMGET', state, 'limit', 'hold', 'duration', 'untried', 'scout')
local limit = math.min(tonumber(learned[1]) or start, cap)
local hold = tonumber(learned[2]) or 0
local duration = tonumber(learned[3]) or FIRST_GUESS_S
local in_flight = redis.call('ZCARD', calls)
-- A limit that has just risen is tried by one call, and the others wait for its answer: so it costs one 429.
local scouts = tonumber(learned[4]) == 1 and in_flight + 1 == limit

-- The scope that frees up last, when, and the pace of its places from then on.
local last, ready, pace = nil, 0, 0
local function refuse(whose, at, every)
  if not last or at > ready then last, ready, pace = whose, at, every end
end

local function check_window(whose, entries, most_requests, most_tokens)
  trim(entries, whose, now - window_s)
  local count = redis.call('ZCARD', entries)
  if most_requests > 0 and count >= most_requests then
    local at = count - most_requests
    local frees = redis.call('ZRANGE', entries, at, at, 'WITHSCORES')
    refuse(whose, tonumber(frees[2]) + window_s, window_s / most_requests)
  elseif most_requests >= SPREAD_FROM and count * 2 >= most_requests then
    local every = window_s / most_requests
    local latest = redis.call('ZRANGE', entries, -1, -1, 'WITHSCORES')
    local at = tonumber(latest[2]) + SPREAD * every
    if at > now then refuse(whose, at, every) end
  end
  local sum = tonumber(redis.call('HGET', whose, 'tokens') or 0)
  if count > 0 and most_tokens > 0 and sum + tokens > most_tokens then
    -- a call above the whole limit goes when it is alone in its window
    local at, every = now, window_s * tokens / most_tokens
    for from = 0, count - 1, 100 do
      local some = redis.call('ZRANGE', entries, from, from + 99, 'WITHSCORES')
      for i = 1, #some, 2 do
        sum, at = sum - tokens_of(some[i]), tonumber(some[i + 1]) + window_s
        if sum + tokens <= most_tokens then return refuse(whose, at, math.min(every, window_s)) end
      end
    end
    refuse(whose, at, math.min(every, window_s))
  end
end

local each_s = duration / limit
local since = now - hold
if since < 0 then
  refuse(state, hold, each_s)
elseif in_flight >= limit or (scouts and learned[5] and redis.call('ZSCORE', calls, learned[5])) then
  refuse(state, now, each_s)
elseif since < RAMP_S and in_flight > since / RAMP_S * (limit - 1) then
  refuse(state, hold + in_flight / (limit - 1) * RAMP_S, each_s)
end
check_window(state, log, tonumber(ARGV[7]), tonumber(ARGV[8]))
local most, requests, most_tokens = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local provider_counts = most + requests + most_tokens > 0
if provider_counts then
  if most > 0 and redis.call('ZCARD', provider.calls) >= most then
    refuse(provider.state, now, duration / most)
  end
  check_window(provider.state, provider.log, requests, most_tokens)
end

if last then
  local from, gap = math.max(ready, now), pace / PRESSURE
  local turn = math.max(tonumber(redis.call('HGET', last, 'turn') or 0), from) + gap
  local lap_s = math.min(math.max(LAP * gap, 10), 60)
  if turn > from + lap_s then turn = from + (turn - from) % lap_s + 0.382 * gap end
  redis.call('HSET', last, 'turn', text(turn))
  redis.call('EXPIRE', last, KEEP_S)
  return text(math.max(turn - now, 0.001))
end

local function book(whose, flight, entries)
  redis.call('ZADD', flight, text(now + lease_s), id)
  redis.call('ZADD', entries, text(now), member(tokens, id))
  redis.call('HINCRBY', whose, 'tokens', tokens)
  for _, key in ipairs({ whose, flight, entries }) do
    redis.call('EXPIRE', key, math.max(KEEP_S, math.ceil(lease_s)))
  end
end
book(state, calls, log)
redis.call('HSET', begun, id, string.format('%.6f %d %d', now, in_flight + 1, tokens))
redis.call('EXPIRE', begun, math.max(KEEP_S, math.ceil(lease_s)))
redis.call('HSET', state, 'limit', limit, 'cap', cap)
if scouts then redis.call('HSET', state, 'scout', id) end
if provider_counts then book(provider.state, provider.calls, provider.log) end
return '0'
