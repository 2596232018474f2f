-- A call has ended: its place is free, its tokens are known, and the model's limit learns from it.
--
-- KEYS  as in acquire
-- ARGV  1 call  2 answered, failed, limited or unsent  3 tokens ('': not known)  4 retry_after_s ('': not said)
--       5 window_s  6 now (tests; '': Redis' clock)
--
-- How the limit of calls in flight is learned, between 1 and the cap: additive increase, multiplicative decrease.
--
-- 1. Slow start, until the first 429: each answer to a call that found the model half full raises the limit by
--    one, so it about doubles with each round of answers.
-- 2. Then TRUST answers to calls that began as the last one allowed prove the limit, and raise it by one: about
--    one a round, and only where the model is full. Until the first of them one call alone tries the new limit.
-- 3. A 429 cuts it: to half of what was in flight; or by one only, if the limit had just risen and was not proven
--    yet, for then the rise was wrong and not the rest. A call that began before the last cut does not cut again:
--    one cut an episode. A 429 for a call that was alone is not about how many they are: from 1, slow start.
-- 4. What was in flight at a 429 is the ceiling. Growth ends below it, and it is tried only after PROBE_CALLS answers
--    and PROBE_HOLDS times the last hold, both doubled with each try that failed, up to DOUBTS times: so in the long
--    run a limit that is reached costs one 429 in 120 calls and one second of holding in 20. TRUST answers from the
--    ceiling or above take it away, and growth goes on.
-- 5. A 429's wait holds the model for everybody, and never shortens a longer one; then RAMP_S lets calls in one by
--    one, so that a limit which is still too high costs one more 429 and not a volley.

local TRUST = 3
local PROBE_CALLS = 30
local PROBE_HOLDS = 5
local DOUBTS = 2
local LONGEST_PROBE_WAIT_S = 600
local LATEST = 0.1

local state, calls, begun, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local provider = { state = KEYS[5], calls = KEYS[6], log = KEYS[7] }
local id, outcome, tokens, retry_after_s = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local window_s, now = tonumber(ARGV[5]), clock(ARGV[6])

local record = redis.call('HGET', begun, id)
redis.call('HDEL', begun, id)
redis.call('ZREM', calls, id)
redis.call('ZREM', provider.calls, id)

if outcome == 'limited' and retry_after_s then
  local hold = tonumber(redis.call('HGET', state, 'hold') or 0)
  redis.call('HSET', state, 'hold', text(math.max(hold, now + retry_after_s)))
  redis.call('EXPIRE', state, math.max(KEEP_S, math.ceil(retry_after_s)))
end
if not record then return end  -- its lease was over, or Redis was flushed: nothing is known of it

local began, rank, estimate = string.match(record, '^(%S+) (%d+) (%d+)$')
began, rank, estimate = tonumber(began), tonumber(rank), tonumber(estimate)

-- When it reached the server, at the latest: no answer comes quicker than the quickest ones do. What was held up
-- on its way, by a full machine or a slow database, counts from then. At most LATEST of the window later than it
-- began, so that slow answers do not cost the rate.
local quick = tonumber(redis.call('HGET', state, 'quick') or now - began)
local sent = math.max(began, math.min(now - quick, began + LATEST * window_s))
if outcome == 'answered' then
  local took = now - began
  redis.call('HSET', state, 'quick', text(took < quick and took or quick + (took - quick) / 50))
end

-- The log's entry, as it turned out to be: its tokens and its time.
local function correct(whose, entries)
  -- an entry that has left the window has left the sum as well
  if redis.call('ZREM', entries, member(estimate, id)) == 0 then return end
  local actual = tokens or (outcome == 'limited' and 0) or estimate
  if outcome == 'unsent' then actual = 0 end
  redis.call('HINCRBY', whose, 'tokens', actual - estimate)
  if outcome == 'unsent' then return end
  redis.call('ZADD', entries, text(sent), member(actual, id))
end
correct(state, log)
correct(provider.state, provider.log)

local names = { 'limit', 'cap', 'cut', 'ceiling', 'top', 'over', 'answers', 'doubt', 'probe', 'rose', 'settled', 'duration' }
local s = {}
for i, value in ipairs(redis.call('HMGET', state, unpack(names))) do s[names[i]] = tonumber(value) or 0 end
-- top, over: answers to calls from the limit, from the ceiling (0: none); rose: the last change was a rise
-- settled: slow start is over

local function rise(to)
  s.limit, s.top, s.rose = math.min(to, s.cap), 0, 1
end

local function cut()
  local base = math.min(s.limit, rank)
  local fell_back = s.rose == 1 and s.top < TRUST and s.settled == 1
  local tried_ceiling = s.ceiling > 0 and s.limit >= s.ceiling
  s.doubt = fell_back and tried_ceiling and math.min(s.doubt + 1, DOUBTS) or 0
  s.limit = math.max(fell_back and s.limit - 1 or math.floor(base / 2), 1)
  s.ceiling, s.settled = math.max(s.limit + 1, rank), 1
  if rank == 1 then s.limit, s.ceiling, s.settled = 1, 0, 0 end
  s.cut, s.rose, s.top, s.over, s.answers = now, 0, 0, 0, 0
  local wait_s = PROBE_HOLDS * 2 ^ s.doubt * math.max(retry_after_s or 0, 1)
  s.probe = now + math.min(wait_s, LONGEST_PROBE_WAIT_S)
end

local function learn()
  local took = math.max(now - began, 0.001)
  s.duration = s.duration == 0 and took or s.duration + (took - s.duration) / 10
  if s.ceiling > 0 and rank >= s.ceiling then
    s.over = s.over + 1
    if s.over >= TRUST then s.ceiling, s.over, s.doubt = 0, 0, 0 end
  end
  if began < s.cut then return end
  s.answers = s.answers + 1
  if rank >= s.limit then s.top = s.top + 1 end
  if s.limit >= s.cap then return end
  if s.settled == 0 then
    if rank * 2 >= s.limit then rise(s.limit + 1) end
  elseif s.top >= TRUST then
    local probing = s.limit + 1 == s.ceiling
    local may_probe = s.answers >= PROBE_CALLS * 2 ^ s.doubt and now >= s.probe
    if s.ceiling == 0 or s.limit + 1 < s.ceiling or (probing and may_probe) then rise(s.limit + 1) end
  end
end

if s.limit == 0 then return end  -- flushed meanwhile, and put back: the next call starts to learn
if outcome == 'limited' and began >= s.cut then cut() elseif outcome == 'answered' then learn() else return end
local untried = s.settled == 1 and s.rose == 1 and s.top == 0
local changed = { 'untried', untried and 1 or 0 }
for _, name in ipairs(names) do
  changed[#changed + 1] = name
  changed[#changed + 1] = string.format('%.6f', s[name])
end
redis.call('HSET', state, unpack(changed))
redis.call('EXPIRE', state, KEEP_S)
