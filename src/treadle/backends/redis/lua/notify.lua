-- Telling those who wait, in other processes too, by messages at the end of a script:
--
--   PUBLISH <prefix>wake  msgpack [claim, rooms, queues], for foremen and who waits for room
--     claim   1 when there may be something to claim, else 0
--     rooms   [name of a queue with a job less, …], once for each job
--     queues  [name of a queue that has a job more to claim, …]
--   PUBLISH <prefix>changed  for who waits for a job: 1 when it ended or is gone, else 0; length of its
--     id, id; and its record, when it ended and all is there, so that who waits for its result need not ask
--
-- Who waits says so in the store, in the script that finds nothing to wait no longer for:
--
--   idle     (string) somebody waits for something to claim; gone once that was told, so that busy
--            foremen are told nothing. Whoever is woken looks again, and finds nothing sets it again
--   watched  (sorted set) job id -> until when somebody waits for any change of it
--   ends     (sorted set) the same, of who waits for its end
--   roomy    (string, with a TTL) somebody waits for room in a queue
--
-- A message may be lost; who waits looks again every few seconds.
--@ include base
local WATCH = 60
local TOLD = { claim = 0, changes = {}, rooms = {}, queues = {} }
local WAITS = {}

-- Whether anybody waits for such a thing.
local function anyone(name)
  local said = WAITS[name]
  if said == nil then
    said = call('EXISTS', P .. name) == 1
    WAITS[name] = said
  end
  return said
end

-- There may be something to claim; where it is a job, in this queue.
local function stirred(queue)
  TOLD.claim = 1
  if queue then TOLD.queues[queue] = true end
end

-- The record is that of a job that ended, when there is nothing to be said of it beside that.
local function changed(id, ended, record)
  local told = anyone('watched') and call('ZSCORE', P .. 'watched', id)
  if ended then
    if told then call('ZREM', P .. 'watched', id) end
    told = anyone('ends') and call('ZREM', P .. 'ends', id) == 1 or told
  end
  if told then
    TOLD.changes[#TOLD.changes + 1] = string.char(ended and 1 or 0, #id) .. id .. (record or '')
  end
end

local function freed(queue)
  if anyone('roomy') then TOLD.rooms[#TOLD.rooms + 1] = queue end
end

local function tell()
  if TOLD.claim == 1 then TOLD.claim = call('DEL', P .. 'idle') end
  if TOLD.claim == 1 or #TOLD.rooms > 0 then
    local queues = {}
    for queue in pairs(TOLD.queues) do queues[#queues + 1] = queue end
    call('PUBLISH', P .. 'wake', cmsgpack.pack({ TOLD.claim, TOLD.rooms, queues }))
  end
  for _, change in ipairs(TOLD.changes) do call('PUBLISH', P .. 'changed', change) end
end
