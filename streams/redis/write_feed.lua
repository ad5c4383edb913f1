-- One feed, the lists of its arms, and the info of each, changed together or not at all.
-- KEYS: of the feed, and of each of its arms, the list, its info, and where a whole list is built
--       (exists only while this runs); tombstone:{f}.
-- ARGV: token, mode (whole | change | shrink), expected version, now_ms, version to exceed, the
--       experiment ('' for none), number of arms that ended, arms..., then of each list: expected
--       size, size afterwards, number of removed members, members..., number of entries, score,
--       member, ..., number of the words of its info, field, value, ...
-- Returns {status, version}: 1 written, 2 of some list only members were removed (`shrink`, or there
-- is no memory for more), 0 Redis does not hold what the change is about, below 0 a newer owner has
-- the feed: minus its token.
--
-- When Redis is out of memory it refuses ZADD and HSET, but no longer once a script has written
-- something.  So what may take memory comes first, and ZREM first only where no list grows.
local mode, now_ms = ARGV[2], tonumber(ARGV[4])
local lists, at, is_moved = {}, 8 + tonumber(ARGV[7]), mode ~= 'change'
for i = 1, #KEYS - 1, 3 do
  local list = {feed = KEYS[i], info = KEYS[i + 1], copy = KEYS[i + 2]}
  list.held, list.size = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  list.removed = at + 3
  list.removed_last = at + 2 + tonumber(ARGV[at + 2])
  list.entries = list.removed_last + 2
  list.entries_last = list.entries - 1 + 2 * tonumber(ARGV[list.entries - 1])
  list.fields = list.entries_last + 2
  at = list.fields + tonumber(ARGV[list.fields - 1])
  list.fields_last = at - 1
  list.before = redis.call('ZCARD', list.feed)
  list.is_moved = list.removed_last >= list.removed or list.entries_last >= list.entries
  is_moved = is_moved or list.is_moved
  lists[#lists + 1] = list
end
local tombstone, feed, info = KEYS[#KEYS], lists[1].feed, lists[1].info

local held = redis.call('HMGET', info, 'owner', 'version', 'experiment')
local buried = redis.call('GET', tombstone)
local exists, experiment = held[1], held[3]
if buried and not exists then
  held = {string.match(buried, '^(%d+) (%d+)$')}
end
local version = tonumber(held[2] or 0)
if held[1] and tonumber(held[1]) > tonumber(ARGV[1]) then
  return {-tonumber(held[1]), version}
end
if mode == 'change' then
  local expected = exists and version == tonumber(ARGV[3])
  for i, list in ipairs(lists) do
    expected = expected and list.before == list.held
    expected = expected and (i == 1 or redis.call('EXISTS', list.info) == 1)
  end
  if not expected then
    return {0, version}
  end
end

local function in_chunks(call, command, key, list, first, last)
  for i = first, last, 1000 do
    local reply = call(command, key, unpack(list, i, math.min(i + 999, last)))
    if type(reply) == 'table' and reply.err then
      return reply
    end
  end
end

local function add(call, key, list)
  return in_chunks(call, 'ZADD', key, ARGV, list.entries, list.entries_last)
end

-- Build the list beside the old one, then put it in its place; returns the error, if any.
local function replace(list)
  if redis.call('EXISTS', list.copy) == 1 then
    redis.call('DEL', list.copy)
  end
  if list.size == 0 then
    redis.call('DEL', list.feed)
    return nil
  end
  local failed = add(redis.pcall, list.copy, list)
  if failed then
    redis.call('DEL', list.copy)
    return failed
  end
  redis.call('RENAME', list.copy, list.feed)
end

local function leaving(list)
  local kept, gone = {}, {}
  for i = list.entries + 1, list.entries_last, 2 do
    kept[ARGV[i]] = true
  end
  for _, member in ipairs(redis.call('ZRANGE', list.feed, 0, -1)) do
    if not kept[member] then
      gone[#gone + 1] = member
    end
  end
  return gone
end

-- Once Redis was out of memory, lists that are alike stay so: none of them grows.
local refusal, is_written = nil, false

-- Remove, then add unless the list grows by that; returns its status.
local function write_in_place(list, gone, first, last)
  if last < first and list.size > list.before then
    return 2
  end
  is_written = true
  redis.call('ZREM', list.feed, '')  -- no post; Redis lets pass what follows any write
  in_chunks(redis.call, 'ZREM', list.feed, gone, first, last)
  if list.size > list.before then
    return 2
  end
  add(redis.call, list.feed, list)
  return 1
end

-- Returns the status of the list, or an error that is not for lack of memory.
local function write(list)
  local failed = nil
  if not refusal and mode == 'whole' then
    failed = replace(list)
    is_written = is_written or not failed
  elseif not refusal and mode == 'change' and list.size > list.before then
    failed = add(redis.pcall, list.feed, list)
    if not failed then
      is_written = true
      in_chunks(redis.call, 'ZREM', list.feed, ARGV, list.removed, list.removed_last)
    end
  else
    failed = refusal or 'in place'
  end
  if not failed then
    return 1
  end
  if failed ~= 'in place' then
    if not string.find(failed.err, 'OOM', 1, true) then
      return failed
    end
    refusal = failed
    if mode == 'whole' then
      local gone = leaving(list)
      return write_in_place(list, gone, 1, #gone)
    end
  end
  local status = write_in_place(list, ARGV, list.removed, list.removed_last)
  return mode == 'shrink' and 2 or status
end

local status = 1
for _, grows in ipairs({true, false}) do
  for i, list in ipairs(lists) do
    if (list.size > list.before) == grows then
      list.status = 1
      if i == 1 or mode == 'whole' or list.is_moved then
        list.status = write(list)
        if type(list.status) == 'table' then
          return list.status
        end
      end
      status = math.max(status, list.status)
    end
  end
end
if refusal and not is_written then
  return refusal
end

-- By name: whoever removed the info took with it what ran in the feed.
for i = 8, 7 + tonumber(ARGV[7]) do
  local key = feed .. ':arm:' .. ARGV[i]
  redis.call('DEL', key, key .. ':info')
end
if status == 2 and not exists then
  return {2, version}  -- without an info there is no feed, as far as readers can tell
end
if is_moved then
  version = math.max(version + 1, now_ms, tonumber(ARGV[5]) + 1)
end
for i, list in ipairs(lists) do
  if i == 1 or status == 1 or redis.call('EXISTS', list.info) == 1 then
    local fields = {'owner', ARGV[1], 'size', redis.call('ZCARD', list.feed)}
    if exists ~= ARGV[1] then
      fields[#fields + 1] = 'owned_since_ms'
      fields[#fields + 1] = ARGV[4]
    end
    if list.status == 1 then
      for j = list.fields, list.fields_last do
        fields[#fields + 1] = ARGV[j]
      end
    end
    if is_moved then
      fields[#fields + 1] = 'version'
      fields[#fields + 1] = string.format('%.0f', version)
      fields[#fields + 1] = 'written_at_ms'
      fields[#fields + 1] = ARGV[4]
    end
    redis.call('HSET', list.info, unpack(fields))
    redis.call('HSETNX', list.info, 'fresh_until_ms', ARGV[4])
  end
end
if mode == 'whole' and (experiment or '') ~= ARGV[6] then
  -- Settings that were made anew do not name what ran before.
  local is_known, running = pcall(cjson.decode, experiment or '')
  local written = {}
  for _, list in ipairs(lists) do
    written[list.feed] = true
  end
  for _, arm in ipairs(is_known and running.arms or {}) do
    local key = feed .. ':arm:' .. running.name .. '.' .. arm.name
    if not written[key] then
      redis.call('DEL', key, key .. ':info')
    end
  end
  if ARGV[6] ~= '' and status == 1 then
    redis.call('HSET', info, 'experiment', ARGV[6])
  else
    redis.call('HDEL', info, 'experiment')
  end
end
if buried then
  redis.call('DEL', tombstone)
end
return {status, version}
