import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { type QueueStore, TunnelService, type TunnelServiceOptions } from '../../client/index.ts'
import { Shell } from '../../client/shell.ts'
import type { StreamDuplex } from '../../protocol/node/duplex.ts'
import { clientOf, respond, startProxy } from './proxy.ts'

// What plain JavaScript can say and TypeScript cannot.

const invalid = (message: RegExp) => ({ name: 'TunnelError', code: 'CONFIG_INVALID', hop: 'client', message })

const notAsked = () => assert.fail('something was sent')

test('an option that does not exist is named by the constructor, and so is an address that is none', () => {
  const make = (options?: object) => () => new TunnelService(options as TunnelServiceOptions)
  const url = 'http://127.0.0.1:1'
  assert.throws(make(), invalid(/the address of the proxy is missing/))
  assert.throws(make({ url: 5, token: 'x' }), invalid(/"5" is not a valid address/))
  assert.throws(make({ url, tokn: 'x' }), invalid(/^tokn: there is no such option$/))
  assert.throws(make({ url, token: 'x', queue: { dir: '/tmp' } }), invalid(/^queue\.dir: .* settings\.queue/))
  assert.doesNotThrow(make({ url: new URL(url), token: 'x' }))
})

test('a request that cannot be is refused by the client with the name of what is wrong, and nothing is sent', async (t) => {
  const proxy = await startProxy(t, { onStream: notAsked })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const request = { machine: 'home', port: 8080, method: 'POST', body: 'x' }
  const wrong: [object, RegExp][] = [
    [{ machine: undefined }, /^machine: /],
    [{ machine: 5 }, /^machine: /],
    [{ priority: 'urgent' }, /^priority = "urgent": is high, normal or low$/],
    [{ timeoutMs: Number.NaN }, /^timeoutMs = NaN: /],
    [{ timeoutMs: -1 }, /^timeoutMs = -1: /],
    [{ timeoutMs: '5' }, /^timeoutMs = 5: /],
    [{ target: '127.0.0.1' }, /^target = "127\.0\.0\.1": is not host:port$/],
    [{ body: { a: 1 } }, /^body: is not text/],
    [{ body: new URLSearchParams('a=b') }, /^body: is not text/],
    [{ idempotencyKey: 5 }, /^idempotencyKey: /],
    [{ method: 5 }, /^method = 5: /],
  ]
  for (const [mistake, message] of wrong) {
    const asked = { ...request, ...mistake } as typeof request
    await assert.rejects(tunnel.forwardRequest(asked), invalid(message), JSON.stringify(mistake))
    await assert.rejects(tunnel.enqueue(asked).response, invalid(message), JSON.stringify(mistake))
  }
  for (const mistake of [{ priority: 'urgent' }, { timeoutMs: 0 }, { target: ':80' }])
    await assert.rejects(
      tunnel.fetch('http://home/', mistake as object),
      invalid(/^(priority|timeoutMs|target) = /),
    )
})

test('a shell on a terminal that cannot be is refused by the client, and so is such a size later on', async (t) => {
  const proxy = await startProxy(t, { onStream: notAsked })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const wrong: [object, RegExp][] = [
    [{ columns: 'x' }, /^columns = "x": is not a whole number from 1 to 65535$/],
    [{ rows: 0 }, /^rows = 0: /],
    [{ columns: 80.5 }, /^columns = 80.5: /],
    [{ rows: 65_536 }, /^rows = 65536: /],
    [{ term: 'two words' }, /^term = "two words": is not 1 to 64 visible ASCII characters$/],
    [{ term: 5 }, /^term = 5: /],
    [{ env: { 'A=B': 'c' } }, /^env: /],
  ]
  for (const [mistake, message] of wrong)
    await assert.rejects(tunnel.shell('home', mistake), invalid(message), JSON.stringify(mistake))
  const duplex = Object.assign(new PassThrough(), { stream: { event: notAsked } })
  const shell = new Shell(duplex as unknown as StreamDuplex, new PassThrough())
  assert.throws(() => shell.resize({ columns: 80, rows: 'x' as unknown as number }), invalid(/^rows = "x": /))
})

test('a stream or a command that cannot be is refused by the client as well', async (t) => {
  const proxy = await startProxy(t, { onStream: notAsked })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const open = (request: object) => tunnel.open(request as Parameters<typeof tunnel.open>[0])
  await assert.rejects(open({ machine: 'home', kind: 'udp' }), invalid(/^kind = "udp": /))
  await assert.rejects(open({ kind: 'ssh' }), invalid(/^machine: /))
  await assert.rejects(open({ machine: 'home', kind: 'tcp', target: '5432' }), invalid(/^target = "5432": /))
  const exec = tunnel.exec as (...args: unknown[]) => Promise<unknown>
  await assert.rejects(exec.call(tunnel, 'home'), invalid(/^command: it is missing$/))
  await assert.rejects(exec.call(tunnel, 'home', []), invalid(/^command: it is missing$/))
  await assert.rejects(exec.call(tunnel, 'home', 'cat', { stdin: 5 }), invalid(/^stdin: /))
  await assert.rejects(tunnel.sftp(undefined as unknown as string), invalid(/^machine: /))
})

test('a store that is no function, and a key that is none, are named at connect()', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 200) })
  const store = {} as unknown as () => Promise<QueueStore>
  await assert.rejects(clientOf(t, proxy.url, { queue: { store } }).connect(), invalid(/^queue\.store: /))
  const queue = { store: async () => ({}) as QueueStore, encryptionKey: 'secret' as unknown as Uint8Array }
  await assert.rejects(
    clientOf(t, proxy.url, { queue }).connect(),
    invalid(/^queue\.encryptionKey: is neither/),
  )
})

test('a header may be a number, and a body null, as for fetch', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 200) })
  const tunnel = clientOf(t, proxy.url)
  await tunnel.connect()
  const headers = { 'x-count': 5 } as unknown as Record<string, string>
  const body = null as unknown as string
  assert.equal((await tunnel.forwardRequest({ machine: 'home', headers, body })).status, 200)
})
