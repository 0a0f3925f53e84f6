-- ARGV: 4 permit, 5 lease. Gives 1, or 0 when it has lapsed.
--@ include drains
local until_ = call('ZSCORE', P .. 'permits', 'g' .. ARGV[4])
if not until_ or tonumber(until_) <= NOW * TICKS then return 0 end
call('ZADD', P .. 'permits', ticks(NOW + tonumber(ARGV[5])), 'g' .. ARGV[4])
return 1
