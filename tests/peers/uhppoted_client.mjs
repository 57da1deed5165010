#!/usr/bin/env node
// Drives the simulator with an independent client: the `uhppoted` package of npm (0.7.2), which
// knows UDP alone and not every function.
//
//     npm install --no-save --prefix target/peer-npm uhppoted@0.7.2
//     node tests/peers/uhppoted_client.mjs --sim target/debug/postern-sim
//
// Starts the simulator by itself, with a board whose small log overflowed before anyone could
// connect, one that misbehaves and one whose index wraps. What a board says about its events is
// compared with the simulator's ledger. Prints a line for each check, then `N passed, M failed`;
// exit code 0 where nothing failed. `--modules DIR` names another place than target/peer-npm.

import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, parseArgs } from 'node:util'

const HEALTHY = 405419896
const FAULTY = 201020304
const WRAPPING = 201020306
const PRELOAD = 100
// 64 are full; each 16 after that drop the 16 oldest: at the 65th, 81st and 97th event.
const OLDEST = 3 * 16 + 1
// The index of the first event of the wrapping board, and the highest that there is: 95 events, then
// numbers 1 to 5.
const FIRST = 4294967200
const LAST = 4294967294
const NEWEST = 0xffffffff

const CONFIG = `
seed = 7
ledger = "ledger.jsonl"
discovery = "127.255.255.255:0"
[defaults]
capacity = 64
chunk = 16
zone = "UTC"
preload = ${PRELOAD}
cards = [8165537]
[[controller]]
serial = ${HEALTHY}
[[controller]]
serial = ${FAULTY}
preload = 64
[[controller]]
serial = ${WRAPPING}
first_index = ${FIRST}
firmware = "6.62"
`

// How long a client waits: for what will come, and for what will not.
const PATIENT = 2500
const SHORT = 250

let passed = 0
let failed = 0

function check (name, got, wanted) {
  if (isDeepStrictEqual(got, wanted)) {
    passed += 1
    console.log(`ok    ${name}`)
  } else {
    failed += 1
    console.log(`FAIL  ${name}: got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`)
  }
}

// The message of the error that a call ends with; empty where it succeeds.
async function failure (call) {
  try {
    await call()
    return ''
  } catch (error) {
    return error.message
  }
}

// Record bytes: index, type, granted, door, direction, card, time, reason.
function fields (raw) {
  const digits = raw.toString('hex', 12, 19)
  const time = digits.replace(/^(....)(..)(..)(..)(..)(..)$/, '$1-$2-$3 $4:$5:$6')
  const [index, card] = [raw.readUInt32LE(0), raw.readUInt32LE(8)]
  return [index, raw[4], raw[5] === 1, raw[6], raw[7], card, time, raw[19]]
}

// The same fields, from an event that the client decoded.
const of = ({ index, type, granted, door, direction, card, timestamp, reason }) =>
  [index, type.code, granted, door, direction.code, card, timestamp, reason.code]

// A running simulator.
class Simulator {
  async start (program) {
    this.folder = mkdtempSync(join(tmpdir(), 'postern-peer-'))
    const config = join(this.folder, 'sim.toml')
    writeFileSync(config, CONFIG)
    const stdio = ['ignore', 'pipe', 'inherit']
    this.process = spawn(resolve(program), ['run', '--json', '-c', config], { stdio })
    const [line] = await once(createInterface(this.process.stdout), 'line')
    this.ready = JSON.parse(line)
    return this
  }

  // The fields of an event in the ledger.
  event (serial, index, life = 0) {
    const lines = readFileSync(this.ready.ledger, 'utf8').trimEnd().split('\n')
    const line = lines.map((line) => JSON.parse(line)).find((line) =>
      line.controller === `uhppote-${serial}` && line.life === life && line.index === index)
    return line && fields(Buffer.from(line.raw, 'hex'))
  }

  // Asks the control API for something; answers with its reply.
  async post (serial, what, body = {}) {
    const url = `http://${this.ready.api}/controllers/${serial}/${what}`
    const reply = await fetch(url, { method: 'POST', body: JSON.stringify(body) })
    if (!reply.ok) {
      throw new Error(`${what}: ${await reply.text()}`)
    }
    return reply.json()
  }

  async stop () {
    this.process.kill('SIGTERM')
    const [code] = await once(this.process, 'exit')
    rmSync(this.folder, { recursive: true })
    check('simulator: stops cleanly', code, 0)
  }
}

// The client; itself it waits for what will come, and knows where each board is.
function connect (uhppoted, ready, listen) {
  const boards = ready.controllers.map(({ serial, address }) => ({ deviceId: serial, address }))
  const calls = (timeout, known) => {
    const ctx = {
      config: new uhppoted.Config('peer', '127.0.0.1', ready.discovery, listen, timeout, known)
    }
    const names = Object.keys(uhppoted).filter((name) => !['Config', 'addDevice'].includes(name))
    return Object.fromEntries(names.map((name) => [name, uhppoted[name].bind(null, ctx)]))
  }
  return { ...calls(PATIENT, boards), impatient: calls(SHORT, boards), broadcast: calls(SHORT, []) }
}

async function checkDiscovery (client, sim) {
  const found = await client.broadcast.getDevices()
  const serials = (list) => list.sort((a, b) => a - b)
  const wanted = serials([HEALTHY, FAULTY, WRAPPING])
  check('broadcast get-devices: every board', serials(found.map((reply) => reply.deviceId)), wanted)
  const one = await client.broadcast.getTime(HEALTHY)
  check('broadcast get-time: one board alone', one.deviceId, HEALTHY)
  const { device } = await client.getDevice(HEALTHY)
  check('get-device', device, {
    serialNumber: HEALTHY,
    address: '127.0.0.1',
    netmask: '255.255.255.0',
    gateway: '0.0.0.0',
    MAC: '00:66:19:2a:37:78',
    version: '0892',
    date: '2018-11-05'
  })
}

const seconds = (shown) => Date.parse(`${shown.replace(' ', 'T')}Z`) / 1000

async function checkClock (client) {
  const shown = await client.getTime(HEALTHY)
  const now = new Date().toISOString().slice(0, 19)
  check('get-time: right', Math.abs(seconds(shown.datetime) - seconds(now)) < 5, true)
  const wanted = '2022-08-23 09:49:03'
  check('set-time: echo', (await client.setTime(HEALTHY, wanted)).datetime, wanted)
  const gone = seconds((await client.getTime(HEALTHY)).datetime) - seconds(wanted)
  check('get-time: goes on from what was set', gone >= 0 && gone < 5, true)
}

async function readAll (client, serial, indices) {
  const read = []
  for (const index of indices) {
    read.push(of((await client.getEvent(serial, index)).event))
  }
  return read
}

const range = (first, last) => Array.from({ length: last - first + 1 }, (_, n) => first + n)

async function checkLog (client, sim) {
  const ends = { deviceId: HEALTHY, first: OLDEST, last: PRELOAD }
  check('get-events: both ends', await client.getEvents(HEALTHY), ends)
  const indices = range(OLDEST, PRELOAD)
  const read = await readAll(client, HEALTHY, [...indices, NEWEST])
  const wanted = [...indices, PRELOAD].map((index) => sim.event(HEALTHY, index))
  check(`get-event: all ${indices.length} stored and the newest are those of the ledger`, read, wanted)
  const past = await failure(() => client.getEvent(HEALTHY, PRELOAD + 1))
  check('get-event: past the newest', past, `${HEALTHY}:${PRELOAD + 1}  event does not exist`)
  for (const index of [1, OLDEST - 1]) {
    const gone = await failure(() => client.getEvent(HEALTHY, index))
    check(`get-event: overwritten ${index}`, gone, `${HEALTHY}:${index}  event overwritten`)
  }

  const { state } = await client.getStatus(HEALTHY)
  check('get-status: newest event', of(state.event), sim.event(HEALTHY, PRELOAD))
  const shut = { 1: false, 2: false, 3: false, 4: false }
  check('get-status: doors and buttons', [state.doors, state.buttons], [shut, shut])
  check('get-status: date', state.system.date, '2022-08-23')

  check('get-event-index: at first', (await client.getEventIndex(HEALTHY)).index, 0)
  check('set-event-index: changed', (await client.setEventIndex(HEALTHY, 77)).updated, true)
  check('get-event-index: as set', (await client.getEventIndex(HEALTHY)).index, 77)
  check('set-event-index: the same', (await client.setEventIndex(HEALTHY, 77)).updated, false)
}

async function checkCards (client) {
  check('get-cards: at first', (await client.getCards(HEALTHY)).cards, 1)
  const doors = { 1: false, 2: true, 3: 29, 4: false }
  const put = await client.putCard(HEALTHY, 8165538, '2022-01-01', '2022-12-31', doors)
  check('put-card', put.stored, true)
  const wanted = { number: 8165538, valid: { from: '2022-01-01', to: '2022-12-31' }, doors }
  check('get-card', (await client.getCard(HEALTHY, 8165538)).card, wanted)
  check('get-card-by-index', (await client.getCardByIndex(HEALTHY, 2)).card, wanted)
  check('get-card: unknown', (await client.getCard(HEALTHY, 1)).card.number, 0)
  check('delete-card', (await client.deleteCard(HEALTHY, 8165538)).deleted, true)
  check('delete-card: twice', (await client.deleteCard(HEALTHY, 8165538)).deleted, false)
  const deleted = await client.getCardByIndex(HEALTHY, 2)
  check('get-card-by-index: deleted', deleted.card.number, 0xffffffff)
  check('get-card-by-index: past the end', (await client.getCardByIndex(HEALTHY, 3)).card.number, 0)
  check('delete-cards', (await client.deleteCards(HEALTHY)).deleted, true)
  check('get-cards: none left', (await client.getCards(HEALTHY)).cards, 0)

  const door = { door: 3, delay: 10, control: { value: 2, state: 'normally closed' } }
  const set = await client.setDoorControl(HEALTHY, 3, 10, 'normally closed')
  check('set-door-control', set.doorControlState, door)
  check('get-door-control', (await client.getDoorControl(HEALTHY, 3)).doorControlState, door)
}

// Events that were pushed to the client's own listener, in order.
class Listener {
  constructor (client) {
    this.events = []
    this.socket = client.listen((event) => this.events.push(event), (error) => { throw error })
  }

  async next () {
    const deadline = Date.now() + 5000
    while (this.events.length === 0 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    return this.events.shift()?.state
  }
}

async function checkPushes (client, sim, listener, port) {
  check('set-listener', (await client.setListener(HEALTHY, '127.0.0.1', port)).updated, true)
  const told = { deviceId: HEALTHY, address: '127.0.0.1', port }
  check('get-listener', await client.getListener(HEALTHY), told)
  check('open-door', (await client.openDoor(HEALTHY, 3)).opened, true)
  const wanted = sim.event(HEALTHY, PRELOAD + 1)
  check('open-door: in the log', await readAll(client, HEALTHY, [PRELOAD + 1]), [wanted])
  const pushed = await listener.next()
  check('pushed event', [pushed.serialNumber, of(pushed.event)], [HEALTHY, wanted])
  check('record-special-events', (await client.recordSpecialEvents(HEALTHY, true)).updated, true)
  await client.openDoor(HEALTHY, 2)
  const reasons = []
  for (let n = 0; n < 3; n += 1) {
    reasons.push((await listener.next()).event.reason.code)
  }
  check('pushed events: opened by a host, open, closed', reasons, [0x2c, 0x17, 0x18])

  // This client cannot restore defaults; the board's own button can.
  await sim.post(HEALTHY, 'reset')
  const empty = { deviceId: HEALTHY, first: 0, last: 0 }
  check('restored defaults: empty log', await client.getEvents(HEALTHY), empty)
  check('restored defaults: listener', (await client.getListener(HEALTHY)).port, 0)
  await client.openDoor(HEALTHY, 1)
  const first = await readAll(client, HEALTHY, [NEWEST])
  check('restored defaults: index 1 again', first, [sim.event(HEALTHY, 1, 1)])
}

async function checkFaults (client, sim) {
  const faults = (faults) => sim.post(FAULTY, 'faults', faults)
  const index = async (index) => (await client.getEvent(FAULTY, index)).event.index
  const impatient = (index) => failure(() => client.impatient.getEvent(FAULTY, index))
  for (const [fault, wanted] of [['drop', '2022'], ['reset', '2022'], ['lose', '2011']]) {
    await client.setTime(FAULTY, '2011-01-01 00:00:00')
    await faults({ [fault]: 1 })
    const lost = await failure(() => client.impatient.setTime(FAULTY, '2022-08-23 09:49:03'))
    check(`${fault}: no reply`, lost, 'timeout')
    await faults({})
    const year = (await client.getTime(FAULTY)).datetime.slice(0, 4)
    check(`${fault}: the request was ${fault === 'lose' ? 'not ' : ''}carried out`, year, wanted)
  }

  await faults({ delay_ms: 400 })
  check('delay: too late for the impatient', await impatient(50), 'timeout')
  check('delay: in time for the patient', await index(51), 51)
  await faults({ duplicate: 1 })
  check('duplicate: each answer is the right one', [await index(50), await index(51)], [50, 51])

  await faults({ stale: 1 })
  check('stale: the reply is kept back', await impatient(50), 'timeout')
  await faults({})
  check('stale: and comes instead of the next', await index(51), 50)
  check('stale: once', await index(52), 52)
  await faults({ reorder: 1 })
  check('reorder: the reply is kept back', await impatient(50), 'timeout')
  check('reorder: and comes after the next', await index(51), 51)
  await faults({ foreign: 1 })
  const foreign = await failure(() => client.getEvent(FAULTY, 51))
  check('foreign: another board\'s reply comes first', foreign, `${FAULTY}: no reply`)
  await faults({ elsewhere: true })
  check('elsewhere: a client that looks at no sender is answered', await index(52), 52)
  await faults({})

  await client.setEventIndex(FAULTY, 7)
  await sim.post(FAULTY, 'event-index', { index: 33 })
  check('event-index: moved by a competing host', (await client.getEventIndex(FAULTY)).index, 33)
}

async function checkTraps (client, sim) {
  await sim.post(FAULTY, 'trap', { index: 10, then: { generate: 1 } })
  check('trap: not yet', await readAll(client, FAULTY, [9]), [sim.event(FAULTY, 9)])
  const gone = await failure(() => client.getEvent(FAULTY, 10))
  check('trap: a chunk is overwritten in mid-read', gone, `${FAULTY}:10  event overwritten`)
  const ends = { deviceId: FAULTY, first: 17, last: 65 }
  check('trap: the oldest jumps', await client.getEvents(FAULTY), ends)
  await sim.post(FAULTY, 'trap', { index: 20, then: 'reset' })
  check('trap: not yet', (await client.getEvent(FAULTY, 19)).event.index, 19)
  const empty = await failure(() => client.getEvent(FAULTY, 20))
  check('trap: the log is emptied in mid-read', empty, `${FAULTY}:20  event does not exist`)

  const { life } = await sim.post(FAULTY, 'replace', { preload: PRELOAD })
  const unset = '0000-00-00 00:00:00'
  check('replace: nobody has set its clock', (await client.getTime(FAULTY)).datetime, unset)
  const wanted = [OLDEST, PRELOAD].map((index) => sim.event(FAULTY, index, life))
  check('replace: a log of its own', await readAll(client, FAULTY, [OLDEST, NEWEST]), wanted)
}

async function checkWrap (client, sim, listener, port) {
  const oldest = FIRST + 48
  const indices = [...range(oldest, LAST), ...range(1, 5)]
  const ends = { deviceId: WRAPPING, first: oldest, last: 5 }
  check('wrap: both ends', await client.getEvents(WRAPPING), ends)
  const read = await readAll(client, WRAPPING, [...indices, NEWEST])
  const wanted = [...indices, 5].map((index) => sim.event(WRAPPING, index))
  check(`wrap: all ${indices.length} stored are those of the ledger`, read, wanted)
  const gone = await failure(() => client.getEvent(WRAPPING, oldest - 1))
  check('wrap: overwritten', gone, `${WRAPPING}:${oldest - 1}  event overwritten`)
  const past = await failure(() => client.getEvent(WRAPPING, 6))
  check('wrap: past the newest', past, `${WRAPPING}:6  event does not exist`)
  const { state } = await client.getStatus(WRAPPING)
  check('wrap: get-status', of(state.event), sim.event(WRAPPING, 5))
  await client.setListener(WRAPPING, '127.0.0.1', port)
  await client.openDoor(WRAPPING, 1)
  const pushed = of((await listener.next()).event)
  check('firmware 6.62: pushed event', pushed, sim.event(WRAPPING, 6))
}

// A port that is free now; the client cannot say which one it was given.
async function freePort () {
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  await new Promise((resolve) => socket.close(resolve))
  return port
}

async function main () {
  const usual = fileURLToPath(new URL('../../target/peer-npm', import.meta.url))
  const modules = { type: 'string', default: usual }
  const { values } = parseArgs({ options: { sim: { type: 'string' }, modules } })
  if (!values.sim) {
    throw new Error('--sim PATH is missing: the path of the simulator\'s binary')
  }
  const uhppoted = createRequire(join(resolve(values.modules), 'package.json'))('uhppoted')
  const sim = await new Simulator().start(values.sim)
  try {
    const port = await freePort()
    const client = connect(uhppoted, sim.ready, `127.0.0.1:${port}`)
    const listener = new Listener(client)
    await checkDiscovery(client, sim)
    await checkClock(client)
    await checkLog(client, sim)
    await checkCards(client)
    await checkPushes(client, sim, listener, port)
    await checkFaults(client, sim)
    await checkTraps(client, sim)
    await checkWrap(client, sim, listener, port)
    listener.socket.close()
  } finally {
    await sim.stop()
  }
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed > 0 ? 1 : 0
}

await main()
