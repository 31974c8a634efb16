import assert from 'node:assert/strict'
import { once } from 'node:events'
import test from 'node:test'
import { listenTcp } from '../../support/proxy.ts'
import { requireSystem } from '../../support/sshd.ts'
import { Caller, portOf, startGround } from './forwarding.ts'

/** Of the program; it has some 80 files open at once while it is loaded. */
const DESCRIPTORS = 140

test('a flood of connections is held to what there are descriptors for, says so, and ends nothing', {
  skip: requireSystem('sshd', 'sh'),
}, async (t) => {
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const { proxy, start } = await startGround(t, [echo])
  const program = await start(['forward', `0:home:${echo}`], DESCRIPTORS)
  const port = await portOf(program, echo)
  const first = new Caller(t, port)
  await first.ask('before')
  const flood = Array.from({ length: DESCRIPTORS + 60 }, () => new Caller(t, port))
  const ends = await Promise.all(
    flood.map((caller) => Promise.race([caller.over, caller.ask('hello').catch(() => caller.over)])),
  )
  const carried = ends.filter((end) => end === 'hello').length
  assert.ok(carried > 10 && carried < DESCRIPTORS, `${carried} of ${flood.length} are carried`)
  assert.deepEqual([...new Set(ends)].sort(), ['ECONNRESET', 'hello'])
  await program.line(
    /: \d+ local connections are open, and one more was turned away \(client, TOO_MANY_CONNECTIONS\)/,
    'stderr',
  )
  assert.ok(program.stderr.split('\n').length < 20, program.stderr)
  // There is a descriptor left for another link.
  proxy.cut('client')
  assert.equal(await first.ask('after'), 'beforeafter')
  for (const { socket } of flood) socket.destroy()
  assert.equal(await first.ask('again'), 'beforeafteragain')
  const later = new Caller(t, port)
  assert.equal(await later.ask('hello'), 'hello')
})

/** Ways in which a program leaves its connection. */
const LEAVES: Record<string, (caller: Caller) => void> = {
  closes: ({ socket }) => void socket.destroy(),
  'half closes': ({ socket }) => void socket.end(),
  resets: ({ socket }) => void socket.resetAndDestroy(),
  'closes before it has read': ({ socket }) => {
    socket.pause().write('x'.repeat(1_000_000))
    socket.destroySoon()
  },
}

/** Asks a SOCKS proxy for `target`, an IPv4 address and a port (RFC 1928); the answer of 10 bytes is still to come. */
async function askSocks(caller: Caller, target: string): Promise<void> {
  const [host = '', port] = target.split(':')
  caller.socket.write(Buffer.from([5, 1, 0]))
  await caller.read(2)
  const octets = host.split('.').map(Number)
  caller.socket.write(Buffer.from([5, 1, 0, 1, ...octets, Number(port) >> 8, Number(port) & 255]))
}

test('where the link is full of streams connections wait, and are let in as others end, in their order', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const sealed = await listenTcp(t, (socket) => socket.on('error', () => {}).pipe(socket))
  const inspected = await listenTcp(t, (socket) => socket.on('error', () => {}).pipe(socket))
  const { start } = await startGround(t, [sealed], ['streams.maxPerLink=4'])
  for (const [words, target] of [
    [['forward', `0:home:${sealed}`]],
    [['forward', `0:home:${inspected}`]],
    [['socks', 'home', '--sealed', '--listen', '0'], sealed],
  ] as const) {
    const program = await start(words)
    const port = await portOf(program)
    const newcomer = async () => {
      const caller = new Caller(t, port)
      await once(caller.socket, 'connect')
      if (target !== undefined) await askSocks(caller, target)
      const answered = target === undefined ? '' : caller.read(12)
      return { caller, isIn: Promise.resolve(answered).then(() => caller.ask('in')) }
    }
    const callers: Caller[] = []
    for (let count = 0; count < 4; count++) {
      const { caller, isIn } = await newcomer()
      await isIn
      callers.push(caller)
    }
    const waiting: Awaited<ReturnType<typeof newcomer>>[] = []
    while (waiting.length < 8) {
      waiting.push(await newcomer())
      // It stands in the queue when this is answered.
      await callers[3]?.ask('still')
    }
    for (const [index, { caller, isIn }] of waiting.entries()) {
      const leaver = callers.shift()
      if (leaver !== undefined) Object.values(LEAVES)[index % 4]?.(leaver)
      await isIn
      callers.push(caller)
    }
    assert.equal(program.stderr, '', words.join(' '))
    await program.stop()
  }
})
