-- What is called ------------------------------------------------------------------------------

local function register(name, callback)
  redis.register_function(PREFIX .. name, callback)
end

local function register_reading(name, callback)
  redis.register_function { function_name = PREFIX .. name, callback = callback,
    flags = { 'no-writes' } }
end

register('revision', function() return REVISION end)
register('open', open)
register('count', count)
register('record', record)
register('close', close)
register('note_told', note_told)
register('collect', collect)
register('settle', settle)
register('set_aside', set_aside)
register('release', release)
register('muster', muster)
register('backlog', backlog)
register('restore', restore)
register('give_back', give_back)
register('seed', seed)
register('set_limits', set_limits)
register('correct', correct)
register_reading('look', look)
register_reading('rank', rank)
register_reading('peek', peek)
register_reading('find', find)
register_reading('pending', pending)
register_reading('pending_each', pending_each)
