-- A copy of a rule, with the number of letters that the first shard had posted by then in the last
-- argument: an older copy than the one that is here changes nothing.
--
--   stamps  hash: cell of a rule -> that number
--@ include drains
if tonumber(call('HGET', P .. 'stamps', ARGV[6]) or 0) > tonumber(ARGV[#ARGV]) then return '0' end
call('HSET', P .. 'stamps', ARGV[6], ARGV[#ARGV])
