-- Commands of ARGV that the account may not carry out on a key, or a channel, of the namespace.
-- Servers before 7.0 cannot say, and are not asked.
local lacking = {}
if redis.acl_check_cmd then
  for _, command in ipairs(ARGV) do
    if not redis.acl_check_cmd(command, KEYS[1] .. 'x', KEYS[1] .. 'x') then
      lacking[#lacking + 1] = command
    end
  end
end
return lacking
