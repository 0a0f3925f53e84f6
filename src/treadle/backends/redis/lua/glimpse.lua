-- ARGV: 4 id, 5 version that was seen, 6 "1" when only its end counts. Gives [1, the job as in
-- shown.lua] when it has come to that, [1] when there is no such job; else [0, the instant at which
-- time alone changes it or ""], and says that somebody waits.
--@ include drains
--@ include shown
local ID, VERSION, ENDED = ARGV[4], tonumber(ARGV[5]), ARGV[6] == '1'

local function next_change(J)
  if J.state == RUNNING then return J.until_ end
  local at = J.expires ~= NONE and J.expires or math.huge
  if J.state == SCHEDULED then at = math.min(at, J.due) end
  return at
end

advance()
local J = load(ID)
local reached = not J or (ENDED and is_final(J.state)) or (not ENDED and J.version > VERSION)
local answer = { 1 }
if J and reached then
  answer[2] = shown(J)
elseif not reached then
  local at = next_change(J)
  answer = { 0, at < math.huge and format('%.17g', at - NOW) or '' }
  local waiting = P .. (ENDED and 'ends' or 'watched')
  call('ZREMRANGEBYSCORE', waiting, '-inf', NOW)
  call('ZADD', waiting, NOW + WATCH, ID)
end
done()
return with_fates(answer)
