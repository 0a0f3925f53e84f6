-- ARGV: 4 how many. Gives letters that are due, [name, seconds since it was posted, text, …]; nobody
-- else is given them for a while.
--@ include drains
local AGAIN = 10
local names = call('ZRANGEBYSCORE', P .. 'out', '-inf', format('%d', math.floor(NOW * TICKS)),
  'LIMIT', 0, ARGV[4])
local answer = {}
for _, name in ipairs(names) do
  local letter = call('HGET', P .. 'outbox', name)
  if letter then
    call('ZADD', P .. 'out', ticks(NOW + AGAIN), name)
    answer[#answer + 1] = name
    answer[#answer + 1] = format('%.17g', NOW - unpack_bytes('<d', letter))
    answer[#answer + 1] = sub(letter, 9)
  else
    call('ZREM', P .. 'out', name)
  end
end
return answer
