import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { REPLY, SocksReader, type SocksStep, socksReply } from '../../../cli/forwarding/socks-protocol.ts'

const text = (value: string) => [...Buffer.from(value)]
const PORT = [0x1f, 0x90]
const GREETING = [5, 1, 0]

/** Everything that follows from `bytes`, given in pieces of `size`, up to a request, a refusal or the end of the bytes. */
function steps(bytes: number[], size = bytes.length): SocksStep[] {
  const reader = new SocksReader()
  const told: SocksStep[] = []
  for (let at = 0; at < bytes.length; at += size) {
    reader.add(Buffer.from(bytes.slice(at, at + size)))
    for (;;) {
      const step = reader.next()
      if (step.kind === 'wait') break
      told.push(step)
      if (step.kind !== 'reply') return told
    }
  }
  return told
}

const REQUESTS: [name: string, bytes: number[], version: 4 | 5, host: string][] = [
  ['5, IPv4', [...GREETING, 5, 1, 0, 1, 10, 0, 0, 7, ...PORT], 5, '10.0.0.7'],
  ['5, a name', [5, 2, 2, 0, 5, 1, 0, 3, 7, ...text('db.home'), ...PORT], 5, 'db.home'],
  ['5, IPv6', [...GREETING, 5, 1, 0, 4, 0xfd, 0, ...Array(13).fill(0), 7, ...PORT], 5, 'fd00:0:0:0:0:0:0:7'],
  ['4, IPv4', [4, 1, ...PORT, 10, 0, 0, 7, ...text('me'), 0], 4, '10.0.0.7'],
  ['4a, a name', [4, 1, ...PORT, 0, 0, 0, 1, 0, ...text('db.home'), 0], 4, 'db.home'],
]

test('a request is read whole or byte by byte, whether or not the client waits for the first answer', () => {
  for (const [name, bytes, version, host] of REQUESTS) {
    for (const size of [bytes.length, 1, 3]) {
      const told = steps(bytes, size)
      const last = told.pop()
      assert.ok(last?.kind === 'request', name)
      assert.deepEqual(last.request, { version, host, port: 8080 }, name)
      assert.equal(last.rest.length, 0)
      assert.deepEqual(told, version === 5 ? [{ kind: 'reply', reply: Buffer.from([5, 0]) }] : [], name)
    }
  }
})

test("what comes behind a request is the connection's own", () => {
  for (const [name, bytes] of REQUESTS) {
    const last = steps([...bytes, ...text('hello')]).pop()
    assert.equal(last?.kind === 'request' && String(last.rest), 'hello', name)
  }
})

test('what is not carried is refused with the reply that says so', () => {
  const refusals: [bytes: number[], reply: Buffer | undefined, reason: RegExp][] = [
    [[5, 1, 2], Buffer.from([5, 0xff]), /password/],
    [[5, 0], Buffer.from([5, 0xff]), /password/],
    [[...GREETING, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0], socksReply(5, REPLY.commandUnknown), /command 2/],
    [[...GREETING, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0], socksReply(5, REPLY.commandUnknown), /command 3/],
    [[...GREETING, 5, 1, 0, 9, 0], socksReply(5, REPLY.addressUnknown), /type of address 9/],
    [[4, 2, ...PORT, 1, 2, 3, 4, 0], socksReply(4, REPLY.commandUnknown), /command 2/],
    [[4, 1, ...PORT, 1, 2, 3, 4, ...Array(300).fill(65)], socksReply(4, REPLY.failed), /too long/],
    [[4, 1, ...PORT, 0, 0, 0, 1, 0, ...Array(300).fill(65)], socksReply(4, REPLY.failed), /too long/],
    [text('GET / HTTP/1.1\r\n'), undefined, /speaks HTTP/],
    [text('CONNECT a:443 HTTP/1.1\r\n'), undefined, /speaks HTTP/],
    [[0x16, 3, 1], undefined, /another protocol/],
  ]
  for (const [bytes, reply, reason] of refusals) {
    const last = steps(bytes).pop()
    assert.ok(last?.kind === 'refused', String(bytes))
    assert.deepEqual(last.reply, reply)
    assert.match(last.reason, reason)
  }
})

test('whatever comes, in whichever pieces, is a request, a refusal or a wait for few bytes', () => {
  const start = fc.constantFrom<number[][]>([], GREETING, [...GREETING, 5, 1, 0], [4, 1])
  const input = fc.tuple(
    start,
    fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 700 }),
    fc.integer({ min: 1, max: 64 }),
  )
  fc.assert(
    fc.property(input, ([head, tail, size]) => {
      const bytes = [...head, ...tail]
      const last = steps(bytes, size).pop()
      const isSettled = last?.kind === 'request' || last?.kind === 'refused'
      assert.ok(isSettled || bytes.length <= 257 + 262, `${bytes.length} bytes are waited with`)
      assert.deepEqual(steps(bytes).pop()?.kind, last?.kind)
    }),
    { numRuns: 300 },
  )
})
