"""The Lua side of the sandbox: what scripts may use of Lua, and how an instrument's tables look to them.

Lua is 5.1, the nearest to that of the instruments. Left out is whatever reaches the machine (os, io, package, require,
dofile, loadfile), the inside of Lua (debug, getfenv, setfenv, newproxy, string.dump, bytecode), threads of its own
(coroutine, in which the counting of instructions would not hold), and Python. What can be made to work for ever within
one call, where no instructions are counted, is refused: patterns that would backtrack for long, strings that are
repeated to no end, positions far off a table.

Instrument objects never get into a script's hands: it has tables of Lua's own whose metatables cannot be seen, and
functions of Lua's own. What Python refuses comes back as a result, never as an exception.
"""

PRELUDE = r"""
local host, every, memory = ...
local type, tostring, select, error, pcall, pairs = type, tostring, select, error, pcall, pairs
local setmetatable, getmetatable, loadstring, setfenv = setmetatable, getmetatable, loadstring, setfenv
local unpack, sethook, concat, insert = unpack, debug.sethook, table.concat, table.insert
local rep, byte, gsub, find, collectgarbage = string.rep, string.byte, string.gsub, string.find, collectgarbage
local get, set, call, write, number, check, stopped = host()

local function settle(ok, ...)
  if ok then return ... end
  error((...), 0)
end

-- Instrument tables and functions ------------------------------------------------------------------------------

local handles = setmetatable({}, {__mode = "k"})

local function given(...)
  local count, list = select("#", ...), {...}
  for place = 1, count do
    if handles[list[place]] then list[place] = handles[list[place]] end
  end
  return unpack(list, 1, count)
end

local function proxy(handle)
  local table = {}
  handles[table] = handle
  return setmetatable(table, {
    __index = function(_, key) return settle(get(handle, key)) end,
    __newindex = function(_, key, value) settle(set(handle, key, handles[value] or value)) end,
    __metatable = false,
  })
end

local function method(handle)
  return function(...) return settle(call(handle, given(...))) end
end

-- What there is of Lua ------------------------------------------------------------------------------------------

local function copy(from, without)
  local to = {}
  for name, value in pairs(from) do
    if name ~= without then to[name] = value end
  end
  return to
end

local env = {
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, rawequal = rawequal, rawget = rawget,
  rawset = rawset, select = select, setmetatable = setmetatable, getmetatable = getmetatable, tonumber = tonumber,
  tostring = tostring, type = type, unpack = unpack, _VERSION = _VERSION,
  math = copy(math), string = copy(string, "dump"), table = copy(table),
}
env._G = env

local function bounded(subject, pattern)
  if type(subject) ~= "string" or type(pattern) ~= "string" then return end
  local _, repetitions = gsub(pattern, "[%*%+%-%?]", "")
  if (#subject + 1) ^ (repetitions + 1) > 1e9 then error("pattern takes too long on so long a string", 3) end
end

for _, name in pairs({"match", "gmatch", "gfind", "gsub"}) do
  local plain = string[name]
  env.string[name] = plain and function(subject, pattern, ...)
    bounded(subject, pattern)
    return plain(subject, pattern, ...)
  end
end

function env.string.find(subject, pattern, init, plain)
  if not plain then bounded(subject, pattern) end
  return find(subject, pattern, init, plain)
end

function env.string.rep(text, count)
  if type(text) == "string" and type(count) == "number" then
    if text == "" then return "" end
    if #text * count > 2 ^ 24 then error("resulting string too large", 2) end
  end
  return rep(text, count)
end

function env.table.insert(list, ...)
  local position = (...)
  if select("#", ...) == 2 and type(list) == "table" and type(position) == "number" then
    if position < 1 or position > #list + 1 then error("position out of bounds", 2) end
  end
  return insert(list, ...)
end

getmetatable("").__index = env.string
getmetatable("").__metatable = false

function env.collectgarbage(what)
  return what == "count" and collectgarbage("count") or 0
end

-- A script that has to end cannot keep itself alive by catching what ends it.
local function unless_stopped(ok, ...)
  if not ok and stopped() then error(stopped(), 0) end
  return ok, ...
end

function env.pcall(f, ...) return unless_stopped(pcall(f, ...)) end

-- Lua's own calls the handler where the error is, and in the hook that ends a script nothing is counted.
local function handled(handler, ok, ...)
  if ok then return ok, ... end
  return ok, handler((...))
end

function env.xpcall(f, handler) return handled(handler, unless_stopped(pcall(f))) end

function env.print(...)
  local words = {}
  for place = 1, select("#", ...) do
    local value = (select(place, ...))
    words[place] = type(value) == "number" and settle(number(value)) or tostring(value)
  end
  settle(write(concat(words, "\t")))
end

-- Scripts -------------------------------------------------------------------------------------------------------

local function compile(text, name)
  if type(text) ~= "string" or byte(text) == 27 then return nil, "TSP:1: a script is text" end
  local chunk, problem = loadstring(text, name)
  if chunk then setfenv(chunk, env) end
  return chunk, problem
end

function env.loadstring(text, name)
  return compile(text, type(name) == "string" and byte(name) ~= 27 and name or "=TSP")
end

env.script = {user = {scripts = {}}}

local function new_script(text, name)
  local chunk, problem = compile(text, "=TSP")
  if not chunk then return nil, problem end
  local script = setmetatable({name = name, source = text, run = chunk, save = function() end}, {__call = chunk})
  if name == "" then
    env.script.anonymous, env.script.run = script, chunk
  else
    env[name], env.script.user.scripts[name] = script, script
  end
  return script
end

function env.script.new(text, name)
  local script, problem = new_script(text, type(name) == "string" and name or "")
  if not script then error(problem, 0) end
  return script
end

function env.script.delete(name)
  env[name], env.script.user.scripts[name] = nil, nil
end

-- Running -------------------------------------------------------------------------------------------------------

local function shown(problem)
  return type(problem) == "string" and problem or "(error object is a " .. type(problem) .. " value)"
end

local function look()
  if collectgarbage("count") > memory then collectgarbage() end
  if check(every, collectgarbage("count") * 2 > memory) then error(stopped(), 0) end
end

local function watched(chunk)
  sethook(look, "", every)
  local ok, problem = pcall(chunk)
  sethook()
  return ok and "" or "runtime", ok and "" or shown(problem)
end

local function run(text)
  local chunk, problem = compile(text, "=TSP")
  if not chunk then return "syntax", shown(problem) end
  return watched(chunk)
end

local function load_script(text, name, at_once)
  local script, problem = new_script(text, name)
  if not script then return "syntax", shown(problem) end
  if at_once then return watched(script.run) end
  return "", ""
end

local function define(name, value) env[name] = value end

return proxy, method, run, load_script, define, function() collectgarbage() end
"""
