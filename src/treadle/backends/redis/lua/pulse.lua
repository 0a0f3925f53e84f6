-- Whether the data are those of a moment ago. ARGV: 1 the epoch to begin with.
--
--   epoch  written once; another one, or none, is a store that was emptied or replaced
--   beats  goes up with every pulse; a number that somebody has seen before is an older copy
local P = KEYS[1]
-- A server without memory refuses a script that begins with a write that needs some.
redis.call('DEL', P .. 'none')
redis.call('SET', P .. 'epoch', ARGV[1], 'NX')
return { redis.call('GET', P .. 'epoch'), redis.call('INCR', P .. 'beats') }
