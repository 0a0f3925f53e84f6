-- ARGV: 4 the format of who asks, with the oldest that may still read it: "2 1" is the second, which
-- the first can read; 5 the number of shards. Both are written once. Gives those of the store.
--@ include drains
local new = call('SET', P .. 'format', ARGV[4], 'NX')
if new and ARGV[5] ~= '1' then call('SET', P .. 'shards', ARGV[5]) end
return { call('GET', P .. 'format'), call('GET', P .. 'shards') or '1' }
