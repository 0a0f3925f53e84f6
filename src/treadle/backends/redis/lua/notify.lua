-- Telling those who wait, in other processes too, by one message at the end of a script:
--
--   PUBLISH <prefix>wake  msgpack [claim, jobs, rooms]
--     claim  1 when there may be something to claim, else 0
--     jobs   [[id, 1 when it ended or is gone], …]
--     rooms  [name of a queue with a job less, …], once for each job
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
local TOLD = { claim = 0, jobs = {}, rooms = {} }
local WATCHED = call('EXISTS', P .. 'watched') == 1
local ROOMY = call('EXISTS', P .. 'roomy') == 1

-- The id as people write it; names.py says how it is stored.
local function text_of(id)
  if string.byte(id) == 0 then return sub(id, 2) end
  local digits = string.gsub(id, '.', function(one) return format('%02x', string.byte(one)) end)
  return sub(digits, 1, 8) .. '-' .. sub(digits, 9, 12) .. '-' .. sub(digits, 13, 16) .. '-'
    .. sub(digits, 17, 20) .. '-' .. sub(digits, 21)
end

local function stirred()
  TOLD.claim = 1
end

local function changed(id, ended)
  if not WATCHED then return end
  local until_ = call('ZSCORE', P .. 'watched', id)
  if not until_ then return end
  TOLD.jobs[#TOLD.jobs + 1] = { text_of(id), ended and 1 or 0 }
  if ended then call('ZREM', P .. 'watched', id) end
end

local function freed(queue)
  if ROOMY then TOLD.rooms[#TOLD.rooms + 1] = queue end
end

local function tell()
  if TOLD.claim == 1 then TOLD.claim = call('DEL', P .. 'idle') end
  if TOLD.claim == 1 or #TOLD.jobs > 0 or #TOLD.rooms > 0 then
    call('PUBLISH', P .. 'wake', cmsgpack.pack({ TOLD.claim, TOLD.jobs, TOLD.rooms }))
  end
end
