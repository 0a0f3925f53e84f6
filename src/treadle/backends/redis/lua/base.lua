-- What every script begins with.
--
-- KEYS[1] is the prefix of all keys of the shard, "{namespace.shard}:"; its hash tag puts them
-- into one slot. ARGV[1] is the time of a test's clock, or empty: then it is the server's.
-- Times are seconds since the epoch as doubles, and NONE where there is none.
--
--   seq           counter of arrivals
--   j:<id>        a job, see record.lua        f:<id>  what is known of few jobs (hash)
--   p:<id>        a large payload              r:<id>  a large result
--   a:<id>        attempts that failed (list)  t:<id>  tombstone, see tombs.lua
--   w:<id>        jobs it waits for (set)      d:<id>  jobs that wait for it (sorted by arrival)
--   q:<S>:<queue> jobs of a queue in a state   queues, ready  names of queues with jobs, to claim
--   spare         see outage.lua
--   leased, due, expiring, kept, failed        jobs by an instant
--   u:<key>       holder of a unique key       o:<flow>  jobs of a flow
--   l:<line> …    see lines.lua                s:<nonce>  see sessions.lua
local P = KEYS[1]
local NONE = -math.huge
local call = redis.call
local sub, format, concat = string.sub, string.format, table.concat
local pack, unpack_bytes = struct.pack, struct.unpack
local band = bit.band
local MANUAL = ARGV[1] ~= ''
local NOW
if MANUAL then
  NOW = tonumber(ARGV[1])
else
  local time = call('TIME')
  NOW = time[1] + time[2] / 1e6
end

local function instant(text)
  -- "" is no time, "+3" is in three seconds, "@3" is the third second of 1970.
  if text == '' then return NONE end
  local number = tonumber(sub(text, 2))
  if sub(text, 1, 1) == '+' then return NOW + number end
  return number
end

-- An instant as the score of a sorted set: whole numbers are cheaper for the server than fractions,
-- and none is reached too early.
local TICKS = 2 ^ 20
local function ticks(at)
  return format('%d', math.ceil(at * TICKS))
end

local function whole(number)
  return format('%.0f', number)
end

-- Lua passes some thousands of values to a function, and no more.
local function in_parts(values, use)
  for first = 1, #values, 2000 do use(unpack(values, first, math.min(first + 1999, #values))) end
end
