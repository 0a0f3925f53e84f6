-- ARGV: 4 the format of who asks. The format of the store is written once, with the oldest that may
-- still read it: "2 1" is the second, which the first can read. Gives it.
--@ include drains
call('SET', P .. 'format', ARGV[4] .. ' ' .. ARGV[4], 'NX')
return call('GET', P .. 'format')
