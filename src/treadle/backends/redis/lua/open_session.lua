-- ARGV: 4 nonce in hex, 5 name, 6 info in msgpack, 7 seconds of presence. Gives the time.
--@ include drains
--@ include sessions
for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'sessions', '-inf', NOW - FORGET, 'LIMIT', 0, 100)) do
  drop_session(name)
end
spared_until()
local until_ = NOW + tonumber(ARGV[7])
call('HSET', P .. 's:' .. ARGV[4], 'name', ARGV[5], 'info', ARGV[6], 'opened', format('%.17g', NOW),
  'until', format('%.17g', until_), 'request', '0')
call('ZADD', P .. 'sessions', until_, ARGV[4])
return format('%.17g', NOW)
