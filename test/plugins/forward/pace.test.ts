import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { resolveSettings } from '../../../client/settings.ts'
import { listenTcp, startProxy } from '../../support/proxy.ts'

const RATE = 8_000_000
const BYTES = 16_000_000
const WINDOW = 262_144

/** Adds the digest of what has come over a connection when it has ended. */
function digestInto(digests: Set<string>, socket: Socket): void {
  const hash = createHash('sha256')
  socket.on('data', (chunk: Buffer) => hash.update(chunk)).once('end', () => digests.add(hash.digest('hex')))
}

test('the bytes of a user go at the rate of the tier, relayed or ended here, and none is lost', async (t) => {
  /** Of the agent too, which asks for host keys now and then. */
  const digests = new Set<string>()
  const sink = await listenTcp(t, (socket) => {
    digestInto(digests, socket)
    socket.once('end', () => socket.end())
  })
  const [host = '', port] = sink.split(':')
  const set = [`rateLimit.tiers.enterprise.bytesPerSecond=${RATE}`, `streams.maxWindowBytes=${WINDOW}`]
  const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGH4fsbVrzkeNuP3xmAnvGxgsJBvaPkULbGNiBJEPqrA'
  const machine = { host, port: Number(port), user: 'me', hostKey, owners: ['alice'] }
  const proxy = await startProxy(t, { set, machines: { rack: machine } })
  const settings = resolveSettings({}, 'default', { streams: { maxWindowBytes: WINDOW } })
  await proxy.startAgent('home', 'alice', sink, { settings })
  const tunnel = await proxy.connect('alice')
  const other = await proxy.connect('bob')
  const payload = randomBytes(BYTES)
  const wanted = createHash('sha256').update(payload).digest('hex')
  for (const name of ['home', 'rack']) {
    const stream = await tunnel.open({ machine: name, kind: 'ssh' })
    const sinceMs = performance.now()
    stream.end(payload)
    stream.resume()
    await once(stream, 'end')
    assert.ok(digests.delete(wanted), name)
    const seconds = (performance.now() - sinceMs) / 1_000
    // A second's worth may have been saved up, and what the windows hold is not waited for.
    assert.ok(BYTES - RATE - 2 * WINDOW <= RATE * seconds, `${name}: ${seconds} s`)
  }
  // Of nobody else.
  await other.disconnect()
})
