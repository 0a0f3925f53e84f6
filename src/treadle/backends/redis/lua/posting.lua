-- Letters to other shards, posted in the step that they are about. The last argument is their number,
-- and before it stand for each: a job and its token, "" for both when it is posted anyhow, else only
-- while the job is held by that token; the name of the letter; its text.
--
--   outbox  hash: name of a letter -> when it was posted, and its text; sharded/letters.py has what
--           they say
--   out     sorted set: names of letters by the instant from which anybody forwards them; who posts
--           one does so at once
--   outseq  goes up with every letter
--@ include drains
do
  local LATER, FENCE_AT = 10, 23

  local function held(id, token)
    local record = call('GET', P .. 'j:' .. id)
    return record and string.byte(record) == 3 and sub(record, FENCE_AT, FENCE_AT + 11) == token
  end

  local number = tonumber(ARGV[#ARGV])
  for i = #ARGV - 4 * number, #ARGV - 1, 4 do
    if ARGV[i] == '' or held(ARGV[i], ARGV[i + 1]) then
      call('INCR', P .. 'outseq')
      call('HSET', P .. 'outbox', ARGV[i + 2], pack('<d', NOW) .. ARGV[i + 3])
      call('ZADD', P .. 'out', ticks(NOW + LATER), ARGV[i + 2])
    end
  end
end
