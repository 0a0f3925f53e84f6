-- ARGV: 4 id of a ticket.
--@ include drains
--@ include advance
local lines = call('HGET', P .. 'x:' .. ARGV[4], 'lines')
if lines then drop_place(ARGV[4], cmsgpack.unpack(lines)) end
done()
return 1
