-- ARGV: 4 name of the session in hex, 5 lease, 6 number of leases, and for each: id, token, "1"
-- when it has started, note or "". Gives a letter for each: h(eld), l(ost), c(ancel).
--@ include drains
--@ include leases
--@ include sessions
local LEASE, NUMBER = tonumber(ARGV[5]), tonumber(ARGV[6])
local UNTIL, TOKEN = NOW + LEASE, '<I4c8'
local UNTIL_TICKS = ticks(UNTIL)
local ANSWERS, RENEWED = {}, {}

local function report(J, started, note)
  if started and not J.reported then
    J.reported = true
    no_expiry(J)
    J.version = J.version + 1
    touch(J)
    changed(J.id, false)
  end
  if note ~= '' then
    set_fact(J, 'note', note)
    J.version = J.version + 1
    touch(J)
    changed(J.id, false)
  end
end

local function extend(J, started, note)
  report(J, started, note)
  if LEASE > 0 then
    J.until_ = UNTIL
    touch(J)
    RENEWED[#RENEWED + 1] = UNTIL_TICKS
    RENEWED[#RENEWED + 1] = J.id
  else
    lose(J, false)
  end
end

if LEASE > 0 and find_session(ARGV[4]) then renew_session(ARGV[4], LEASE) end
for i = 1, NUMBER do
  local at = 3 + 4 * i
  local J = load(ARGV[at])
  if J and J.state == RUNNING and pack(TOKEN, J.fence, J.nonce) == ARGV[at + 1] then
    ANSWERS[i] = J.cancel and 'c' or 'h'
    extend(J, ARGV[at + 2] == '1', ARGV[at + 3])
  else
    ANSWERS[i] = 'l'
  end
end
in_parts(RENEWED, function(...) call('ZADD', P .. 'leased', ...) end)
if LEASE <= 0 then fail_dependants(50) end
done()
return with_fates(concat(ANSWERS))
