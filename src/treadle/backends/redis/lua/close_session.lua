-- ARGV: 4 nonce, 5 its name in hex, 6 the instant at which to go on through the leases, 7 how many
-- of that instant were looked at. Gives back the leases that it has among the next 2000; gives the
-- instant and the number to go on with, or nothing.
--@ include drains
--@ include leases
--@ include sessions
local PAGE = 2000
local from, passed = ARGV[6], tonumber(ARGV[7])
drop_session(ARGV[5])
local leased = call('ZRANGEBYSCORE', P .. 'leased', from, '+inf', 'WITHSCORES', 'LIMIT', passed, PAGE)
for i = 1, #leased, 2 do
  local nonce = call('GETRANGE', P .. 'j:' .. leased[i], 26, 33)
  local J = nonce == ARGV[4] and load(leased[i])
  if leased[i + 1] ~= from then
    from, passed = leased[i + 1], 0
  end
  if J and J.state == RUNNING then lose(J, true) else passed = passed + 1 end
end
fail_dependants(50)
done()
return with_fates(#leased == 2 * PAGE and { from, tostring(passed) } or {})
