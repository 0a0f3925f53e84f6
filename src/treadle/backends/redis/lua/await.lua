-- ARGV: 4 … pairs of a job and who waits for it: the byte of a shard and an id there. Gives for each the
-- state in which the job ended, "w" when it has not and who waits will be told, "u" when it is unknown.
--@ include drains
--@ include advance
local answers = {}
for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  local J = load(id)
  if J and not is_final(J.state) then
    call('ZADD', P .. 'd:' .. id, whole(NOW * 1000), AWAY .. ARGV[i + 1])
    J.awaited = true
    touch(J)
    answers[#answers + 1] = 'w'
  else
    local tomb = not J and tomb_of(id)
    local state = J and J.state or tomb and (tomb.state == NO_STATE and FAILED or tomb.state)
    answers[#answers + 1] = state and tostring(state) or 'u'
  end
end
done()
return concat(answers)
