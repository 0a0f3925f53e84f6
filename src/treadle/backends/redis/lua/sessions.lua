-- Sessions of foremen.
--
--   s:<nonce in hex>  hash: name, info, opened, until, request (the last claim)
--   sa:<nonce in hex> what the last claim was answered, in msgpack: its hints and its jobs
--   sessions          sorted set: nonce in hex -> until when it is present
--@ include outage
local HOLDER, LAST_REQUEST, PRESENT = nil, 0, NONE
local FORGET = 86400

local function find_session(name)
  local values = call('HMGET', P .. 's:' .. name, 'name', 'request', 'until')
  HOLDER, LAST_REQUEST = values[1], tonumber(values[2] or 0)
  PRESENT = tonumber(values[3] or 0)
  return HOLDER
end

local function renew_session(name, lease)
  if PRESENT <= NOW then spared_until() end
  if NOW + lease > PRESENT then
    PRESENT = NOW + lease
    call('HSET', P .. 's:' .. name, 'until', format('%.17g', PRESENT))
    call('ZADD', P .. 'sessions', PRESENT, name)
  end
end

local function drop_session(name)
  call('DEL', P .. 's:' .. name, P .. 'sa:' .. name)
  call('ZREM', P .. 'sessions', name)
end

local function keep_answer(name, request, hints, ids)
  call('HSET', P .. 's:' .. name, 'request', whole(request))
  call('SET', P .. 'sa:' .. name, cmsgpack.pack(hints, ids))
end

local function last_answer(name)
  local stored = call('GET', P .. 'sa:' .. name)
  if not stored then return { 0, 0, '' }, {} end
  return cmsgpack.unpack(stored)
end
