-- ARGV: 4 name of the request, 5 asks of rates, each with what was used of it, in msgpack.
--@ include once
--@ include rates
if answered(ARGV[4]) then return 1 end
for _, pair in ipairs(cmsgpack.unpack(ARGV[5])) do RATE.adjust(pair[1], pair[2]) end
answer_once(ARGV[4], '1')
return 1
