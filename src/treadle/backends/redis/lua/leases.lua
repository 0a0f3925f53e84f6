-- The end of a lease without a verdict, and what is written down of attempts.
--
--   leased  jobs by the instant at which their lease lapses
--   a:<id>  list: attempts that failed, the last 20, each in msgpack
--@ include endings
local function value(bytes)
  return bytes ~= '' and bytes or '\192'
end

-- Remember an attempt; the fault is msgpack, or "".
local function remember(J, cause, fault)
  local attempt = '\150' .. cmsgpack.pack(J.tries + J.crashes + 1) .. cmsgpack.pack(cause)
    .. cmsgpack.pack(J.started) .. cmsgpack.pack(NOW) .. cmsgpack.pack(J.holder) .. value(fault)
  call('RPUSH', P .. 'a:' .. J.id, attempt)
  call('LTRIM', P .. 'a:' .. J.id, -20, -1)
  set_fact(J, 'attempts', '1')
end

-- Take the lease from a running job, and what it held with it; a shift follows.
local function end_lease(J)
  J.paid, J.reported = false, false
  local holds = fact(J, 'holds')
  if holds then
    release_units(cmsgpack.unpack(holds))
    set_fact(J, 'holds', nil)
  end
  touch(J)
end

-- A job that goes back without having started may still expire.
local function watch_expiry(J)
  if J.expires ~= NONE then call('ZADD', P .. 'expiring', ticks(J.expires), stamped(J)) end
end

-- End a lease without a verdict.
local function lose(J, closed)
  local started, number, cause = J.reported, J.tries + J.crashes + 1, 'crashed'
  if started then
    remember(J, 'crashed', '')
    J.crashes = J.crashes + 1
  end
  end_lease(J)
  if J.once then
    finish(J, FAILED, cause)
  elseif J.cancel then
    cause = nil
    finish(J, CANCELLED)
  elseif started and J.crashes >= (extra_of(J).m or 3) then
    finish(J, FAILED, cause)
  else
    if started or not closed then J.suspect = true end
    to_queue(J)
    watch_expiry(J)
    if not started then return end
  end
  fated(J, cause, number)
end
