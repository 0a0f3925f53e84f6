-- ARGV: 4 … names of letters that have been delivered.
--@ include drains
for i = 4, #ARGV do
  call('HDEL', P .. 'outbox', ARGV[i])
  call('ZREM', P .. 'out', ARGV[i])
end
return 1
