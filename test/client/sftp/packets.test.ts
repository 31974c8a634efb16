import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import { attributes, Fields, PacketReader, packet, uint32, uint64 } from '../../../client/sftp/packets.ts'
import { SftpSession } from '../../../client/sftp/session.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import type { StreamDuplex } from '../../../protocol/node/duplex.ts'

const MACHINE = 'home'
const VERSION = Buffer.from([0, 0, 0, 5, 2, 0, 0, 0, 3])

/** The bytes of every packet in `chunks`. */
function read(chunks: readonly Buffer[]): Buffer[] {
  const found: Buffer[] = []
  const reader = new PacketReader((fields) => {
    const bytes: number[] = []
    while (!fields.isAtEnd) bytes.push(fields.byte())
    found.push(Buffer.from(bytes))
  })
  for (const chunk of chunks) reader.take(chunk)
  return found
}

test('packets come out as they went in, however their bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 0, maxLength: 9_000 }), { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 5_000 }), { maxLength: 40 }),
      (payloads, cuts) => {
        const bytes = Buffer.concat(payloads.flatMap((payload) => packet(6, [{ raw: Buffer.from(payload) }])))
        const chunks: Buffer[] = []
        let at = 0
        for (const cut of cuts) {
          chunks.push(bytes.subarray(at, at + cut))
          at += cut
        }
        chunks.push(bytes.subarray(at))
        assert.deepEqual(
          read(chunks),
          payloads.map((payload) => Buffer.from([6, ...payload])),
        )
      },
    ),
    { numRuns: 100 },
  )
})

test('fields are read as they were written', () => {
  const times = { accessed: 7, modified: 8 }
  const written = [
    uint64(2 ** 50),
    'ü\nz',
    Buffer.from([1, 2]),
    attributes({ size: 5, mode: 0o644, ...times }),
  ]
  const fields = new Fields(Buffer.concat(packet(9, written)).subarray(4))
  assert.equal(fields.byte(), 9)
  assert.equal(fields.uint64(), 2 ** 50)
  assert.equal(fields.bytes().toString(), 'ü\nz')
  assert.deepEqual([...fields.bytes()], [1, 2])
  assert.deepEqual(fields.attributes(), { size: 5, mode: 0o644, ...times })
  assert.ok(fields.isAtEnd)
})

test('whatever bytes come, reading them ends, and fails with FRAME_INVALID alone', () => {
  const ways = ['byte', 'uint32', 'uint64', 'bytes', 'attributes'] as const
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.constantFrom(...ways)), (bytes, order) => {
      try {
        read([Buffer.from(bytes)])
        const fields = new Fields(Buffer.from(bytes))
        for (const way of order) fields[way]()
      } catch (error) {
        assert.ok(error instanceof TunnelError && error.code === 'FRAME_INVALID', String(error))
      }
    }),
    { numRuns: 500 },
  )
})

/** A server that answers each packet with what `answer` makes of its type and its id. */
function server(answer: (type: number, id: number) => Buffer | undefined): StreamDuplex {
  let duplex: Duplex
  const reader = new PacketReader((fields) => {
    const type = fields.byte()
    const bytes = type === 1 ? VERSION : answer(type, fields.uint32())
    if (bytes !== undefined) duplex.push(bytes)
  })
  duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      reader.take(chunk)
      done()
    },
  })
  return duplex as unknown as StreamDuplex
}

const STATUS_OK = (id: number): Buffer => Buffer.concat(packet(101, [uint32(id), uint32(0), 'ok', '']))

const BAD_ANSWERS: [name: string, answer: (type: number, id: number) => Buffer][] = [
  ['with an id that was never asked', (_type, id) => STATUS_OK(id + 1)],
  ['with another packet', (_type, id) => Buffer.concat(packet(105, [uint32(id), uint32(0)]))],
  ['with a status where there is an answer', (_type, id) => STATUS_OK(id)],
  ['with a packet that is too short', (_type, id) => Buffer.concat(packet(102, [uint32(id)]))],
  ['with a length that nobody can have', () => Buffer.from([0xff, 0xff, 0xff, 0xff, 0])],
  ['with an empty packet', () => Buffer.alloc(4)],
  ['with its version again', () => VERSION],
  [
    'with a name list without end',
    (_t, id) => Buffer.concat(packet(104, [uint32(id), uint32(0xff_ff_ff_ff)])),
  ],
]

for (const [name, answer] of BAD_ANSWERS) {
  test(`a server that answers ${name} fails the request, and nothing else`, async () => {
    const session = await SftpSession.begin(server(answer), MACHINE)
    const waiting = [session.list('/a'), session.open('/a', 1), session.realPath('.')]
    for (const request of waiting)
      await assert.rejects(request, (error: TunnelError) => {
        assert.ok(['FRAME_INVALID', 'FILE_FAILED'].includes(error.code), error.message)
        return true
      })
    session.close()
  })
}

test('text in place of a packet is named for what it mostly is', async () => {
  const stream = server(() => undefined)
  const begun = SftpSession.begin(stream, MACHINE)
  begun.catch(() => {})
  const talkative = new Duplex({
    read() {
      this.push('Welcome!\n')
    },
    write: (_chunk, _encoding, done) => done(),
  })
  await assert.rejects(SftpSession.begin(talkative as unknown as StreamDuplex, MACHINE), {
    code: 'FRAME_INVALID',
    message: /sends text \("Welc"…\): a start-up file of the shell there must print nothing/,
  })
  ;(await begun).close()
})

test('a session that ends fails all that waits, with one reason', async () => {
  const stream = server(() => undefined)
  const session = await SftpSession.begin(stream, MACHINE)
  const waiting = [session.stat('/a'), session.list('/b')]
  const failures = Promise.allSettled(waiting)
  stream.push(null)
  stream.resume()
  await once(stream, 'close').catch(() => {})
  for (const result of await failures) {
    assert.equal(result.status, 'rejected')
    assert.equal((result as PromiseRejectedResult).reason.code, 'AGENT_LOST')
  }
  assert.equal(session.lost?.code, 'AGENT_LOST')
  await assert.rejects(session.stat('/a'), { code: 'AGENT_LOST' })
})
