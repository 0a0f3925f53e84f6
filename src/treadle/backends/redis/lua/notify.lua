-- Telling those who wait, in other processes too, by messages at the end of a script:
--
--   PUBLISH <prefix>wake  msgpack [claim, jobs, rooms, queues]
--     claim   1 when there may be something to claim, else 0
--     jobs    [[id, 1 when it ended or is gone], …]
--     rooms   [name of a queue with a job less, …], once for each job
--     queues  [name of a queue that has a job more to claim, …]
--   PUBLISH <prefix>ended  length of the id, id, record: a job that ended, all of which is there, so
--     that who waits for its result need not ask
--
-- Who waits says so in the store, in the script that finds nothing to wait no longer for:
--
--   idle     (string) somebody waits for something to claim; gone once that was told, so that busy
--            foremen are told nothing. Whoever is woken looks again, and finds nothing sets it again
--   watched  (sorted set) job id -> until when somebody waits for a change of it
--   roomy    (string, with a TTL) somebody waits for room in a queue
--
-- A message may be lost; who waits looks again every few seconds.
--@ include base
local TOLD = { claim = 0, jobs = {}, rooms = {}, queues = {}, ended = {} }
local WATCHED = call('EXISTS', P .. 'watched') == 1
local ROOMY = call('EXISTS', P .. 'roomy') == 1

-- The id as people write it; names.py says how it is stored.
local function text_of(id)
  if string.byte(id) == 0 then return sub(id, 2) end
  local pattern = string.gsub('4-2-2-2-6', '%d', function(bytes) return string.rep('%02x', bytes) end)
  return format(pattern, string.byte(id, 1, 16))
end

-- There may be something to claim; where it is a job, in this queue.
local function stirred(queue)
  TOLD.claim = 1
  if queue then TOLD.queues[queue] = true end
end

-- The record is that of a job that ended, when there is nothing to be said of it beside that.
local function changed(id, ended, record)
  if not WATCHED then return end
  local until_ = call('ZSCORE', P .. 'watched', id)
  if not until_ then return end
  if record then
    TOLD.ended[#TOLD.ended + 1] = string.char(#id) .. id .. record
  else
    TOLD.jobs[#TOLD.jobs + 1] = { text_of(id), ended and 1 or 0 }
  end
  if ended then call('ZREM', P .. 'watched', id) end
end

local function freed(queue)
  if ROOMY then TOLD.rooms[#TOLD.rooms + 1] = queue end
end

local function tell()
  if TOLD.claim == 1 then TOLD.claim = call('DEL', P .. 'idle') end
  if TOLD.claim == 1 or #TOLD.jobs > 0 or #TOLD.rooms > 0 then
    local queues = {}
    for queue in pairs(TOLD.queues) do queues[#queues + 1] = queue end
    call('PUBLISH', P .. 'wake', cmsgpack.pack({ TOLD.claim, TOLD.jobs, TOLD.rooms, queues }))
  end
  for _, job in ipairs(TOLD.ended) do call('PUBLISH', P .. 'ended', job) end
end
