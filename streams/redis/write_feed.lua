-- One feed and its info, changed together or not at all.
-- KEYS: feed:{f}, feed:{f}:info, tombstone:{f}, feed:{f}:new (exists only while this runs).
-- ARGV: token, mode (whole | change | shrink), expected version, expected size, size afterwards,
--       now_ms, version to exceed, number of removed members, members..., number of entries,
--       score, member, ..., field, value, ... of the info.
-- Returns {status, version}: 1 written, 2 only members were removed (`shrink`, or there is no
-- memory for more), 0 Redis does not hold what the change is about, below 0 a newer owner has the
-- feed: minus its token.
--
-- When Redis is out of memory it refuses ZADD and HSET, but no longer once a script has written
-- something.  So what may take memory comes first, and ZREM first only where the feed does not grow.
local feed, info, tombstone, copy = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local mode, size, now_ms = ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[6])
local removed_at = 8
local removed_last = removed_at + tonumber(ARGV[removed_at])
local entries_at = removed_last + 1
local entries_last = entries_at + 2 * tonumber(ARGV[entries_at])

local held = redis.call('HMGET', info, 'owner', 'version')
local before = redis.call('ZCARD', feed)
local buried = redis.call('GET', tombstone)
local exists = held[1]
if buried and not exists then
  held = {string.match(buried, '^(%d+) (%d+)$')}
end
local version = tonumber(held[2] or 0)
if held[1] and tonumber(held[1]) > tonumber(ARGV[1]) then
  return {-tonumber(held[1]), version}
end
local expected = version == tonumber(ARGV[3]) and before == tonumber(ARGV[4])
if mode == 'change' and not (exists and expected) then
  return {0, version}
end

local function in_chunks(call, command, key, list, first, last)
  for i = first, last, 1000 do
    local reply = call(command, key, unpack(list, i, math.min(i + 999, last)))
    if type(reply) == 'table' and reply.err then
      return reply
    end
  end
end

local function add(call, key)
  return in_chunks(call, 'ZADD', key, ARGV, entries_at + 1, entries_last)
end

-- Build the feed beside the old one, then put it in its place; returns the error, if any.
local function replace()
  if redis.call('EXISTS', copy) == 1 then
    redis.call('DEL', copy)
  end
  if size == 0 then
    redis.call('DEL', feed)
    return nil
  end
  local failed = add(redis.pcall, copy)
  if failed then
    redis.call('DEL', copy)
    return failed
  end
  redis.call('RENAME', copy, feed)
end

-- Write into the feed, out of memory too: remove, then add unless the feed grows by that.
local function write_in_place(gone, first, last)
  redis.call('ZREM', feed, '')  -- no post; Redis lets pass what follows any write
  in_chunks(redis.call, 'ZREM', feed, gone, first, last)
  if size > before then
    return 2
  end
  add(redis.call, feed)
  return 1
end

local function leaving()
  local kept, gone = {}, {}
  for i = entries_at + 2, entries_last, 2 do
    kept[ARGV[i]] = true
  end
  for _, member in ipairs(redis.call('ZRANGE', feed, 0, -1)) do
    if not kept[member] then
      gone[#gone + 1] = member
    end
  end
  return gone
end

local function is_out_of_memory(failed)
  return string.find(failed.err, 'OOM', 1, true) ~= nil
end

local status = 1
if mode == 'whole' then
  local failed = replace()
  if failed then
    local gone = is_out_of_memory(failed) and leaving() or {}
    if not is_out_of_memory(failed) or (size > before and #gone == 0) then
      return failed
    end
    status = write_in_place(gone, 1, #gone)
  end
elseif mode == 'change' and size > before then
  local failed = add(redis.pcall, feed)
  if not failed then
    in_chunks(redis.call, 'ZREM', feed, ARGV, removed_at + 1, removed_last)
  elseif is_out_of_memory(failed) and removed_last > removed_at then
    status = write_in_place(ARGV, removed_at + 1, removed_last)
  else
    return failed
  end
else
  status = write_in_place(ARGV, removed_at + 1, removed_last)
  status = mode == 'shrink' and 2 or status
end

if status == 2 and not exists then
  return {2, version}  -- without an info there is no feed, as far as readers can tell
end
local fields = {'owner', ARGV[1], 'size', redis.call('ZCARD', feed)}
if exists ~= ARGV[1] then
  fields[#fields + 1] = 'owned_since_ms'
  fields[#fields + 1] = ARGV[6]
end
if status == 1 then
  for i = entries_last + 1, #ARGV do
    fields[#fields + 1] = ARGV[i]
  end
end
if mode ~= 'change' or removed_last > removed_at or entries_last > entries_at then
  version = math.max(version + 1, now_ms, tonumber(ARGV[7]) + 1)
  fields[#fields + 1] = 'version'
  fields[#fields + 1] = string.format('%.0f', version)
  fields[#fields + 1] = 'written_at_ms'
  fields[#fields + 1] = ARGV[6]
end
redis.call('HSET', info, unpack(fields))
redis.call('HSETNX', info, 'fresh_until_ms', ARGV[6])
if buried then
  redis.call('DEL', tombstone)
end
return {status, version}
