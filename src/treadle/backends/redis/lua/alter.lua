-- ARGV: 4 name of the request, 5 change (c(ancel), r(etry), s(chedule), p(riority), d(elete)), 6 its
-- value, 7 … ids, each with the version that was seen. Gives for each: d(one), a(sked), m(oved on since), or the number
-- of the state that forbids it.
--@ include drains
--@ include arrivals
--@ include once
local CHANGE, VALUE = ARGV[5], ARGV[6]

local function retry(J)
  local unique = extra_of(J).u
  if unique then
    local holder = holder_of(unique[1])
    if holder and holder ~= J.id then return false end
    if unique[2] ~= 2 then call('SET', P .. 'u:' .. unique[1], pack('<d', NONE) .. J.id) end
  end
  unindex(J)
  local flow = extra_of(J).o
  J.seq, J.due, J.expires = next_seq(), instant(VALUE), NONE
  if flow then call('ZADD', P .. 'o:' .. flow, J.seq, J.id) end
  J.tries, J.crashes, J.releases, J.aside = 0, 0, 0, NONE
  J.started, J.finished, J.result, J.until_ = NONE, NONE, '', NONE
  J.suspect, J.cancel, J.reported, J.paid, J.lined = false, false, false, false, false
  for _, name in ipairs({ 'reason', 'failed', 'cause', 'fault', 'skipped' }) do set_fact(J, name, nil) end
  know_queue(J.queue)
  count_above(J.queue, 'o:', 1)
  if J.keyed then
    local line = key_line(J)
    line.members = line.members + 1
  end
  arrive(J)
  return true
end

local function reprioritise(J, priority)
  if J.state == QUEUED then
    leave(J)
    unlist(J)
    J.prio = priority
    return to_queue(J)
  end
  local name = J.state == WAITING and fact(J, 'parked')
  J.prio = priority
  if name then
    call('ZADD', P .. 'lw:' .. name, line_place(J), J.id)
    line_of(name)
    slack(name)
  end
  J.version = J.version + 1
  touch(J)
  changed(J.id, false)
end

local function ask_to_stop(J)
  J.cancel, J.version = true, J.version + 1
  touch(J)
  changed(J.id, false)
  return 'a'
end

local function alter(J)
  local refused = tostring(J.state)
  if CHANGE == 'c' then
    if J.state == RUNNING then return ask_to_stop(J) end
    if is_final(J.state) then return refused end
    leave(J)
    finish(J, CANCELLED)
  elseif CHANGE == 'r' then
    if (J.state ~= FAILED and J.state ~= CANCELLED) or not retry(J) then return refused end
  elseif CHANGE == 's' then
    if J.state >= RUNNING then return refused end
    reschedule(J, instant(VALUE))
  elseif CHANGE == 'p' then
    if J.state >= RUNNING then return refused end
    reprioritise(J, tonumber(VALUE))
  else
    if J.state == RUNNING then return refused end
    if is_final(J.state) then remove(J, true) else withdraw(J) end
  end
  return 'd'
end

local before = answered(ARGV[4])
if before then return before end
local answers = {}
for i = 7, #ARGV, 2 do
  local J = load(ARGV[i])
  if J and whole(J.version) == ARGV[i + 1] then
    answers[#answers + 1] = alter(J)
    fail_dependants(ADVANCE)
  else
    answers[#answers + 1] = 'm'
  end
end
if SEQ then call('SET', P .. 'seq', whole(SEQ)) end
done()
return with_fates(answer_once(ARGV[4], concat(answers)))
