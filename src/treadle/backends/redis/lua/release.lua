-- ARGV: 4 id of a permit.
--@ include drains
--@ include advance
local holds = call('HGET', P .. 'g:' .. ARGV[4], 'holds')
if holds then drop_grant(ARGV[4], cmsgpack.unpack(holds)) end
done()
return 1
