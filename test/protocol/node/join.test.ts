import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { Join, LINGER_MS } from '../../../protocol/node/join.ts'
import type { ByteStream } from '../../../protocol/stream/byte-stream.ts'
import type { StreamHandlers } from '../../../protocol/stream/event-buffer.ts'

/** A stream whose every event the test plays itself. */
class PlayedStream {
  handlers: StreamHandlers = {}
  readonly written: string[] = []
  ended = false
  error: TunnelError | undefined
  consumedBytes = 0

  handle(handlers: StreamHandlers): void {
    this.handlers = handlers
  }
  write(bytes: Uint8Array): boolean {
    this.written.push(Buffer.from(bytes).toString())
    return true
  }
  consumed(byteCount: number): void {
    this.consumedBytes += byteCount
  }
  end(): void {
    this.ended = true
  }
  reset(error: TunnelError): void {
    this.error = error
    this.handlers.closed?.(error)
  }
}

/** A far side that takes a byte more only when it is told to. */
function slowFar(): { far: Duplex; taken: string[]; take(): void } {
  const taken: string[] = []
  let go: (() => void) | undefined
  const far = new Duplex({
    read() {},
    writableHighWaterMark: 1,
    write(chunk: Buffer, _encoding, callback) {
      go = () => {
        taken.push(chunk.toString())
        callback()
      }
    },
  })
  return { far, taken, take: () => go?.() }
}

const END = {
  failed: (cause: Error) => new TunnelError('AGENT_LOST', 'lost', { hop: 'link', cause }),
  unread: () => new TunnelError('CONNECT_REFUSED', 'unread', { hop: 'link' }),
}

function joined(far: Duplex): { stream: PlayedStream; join: Join; over: (TunnelError | undefined)[] } {
  const stream = new PlayedStream()
  const over: (TunnelError | undefined)[] = []
  const join = new Join(stream as unknown as ByteStream, { closed: (error) => void over.push(error) })
  join.attach(far, END)
  return { stream, join, over }
}

test('the last bytes of a stream that ends in order are written before the far side is closed', async () => {
  const { far, taken, take } = slowFar()
  const { stream, over } = joined(far)
  stream.handlers.data?.(Buffer.from('one'))
  stream.handlers.data?.(Buffer.from('two'))
  stream.handlers.ended?.()
  stream.handlers.closed?.(undefined)
  assert.deepEqual([far.destroyed, over], [false, []])
  take()
  take()
  await once(far, 'close')
  assert.deepEqual([taken, over], [['one', 'two'], [undefined]])
})

test('a far side that takes nothing of them any more is closed after a while', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { far } = slowFar()
  const { stream, over } = joined(far)
  stream.handlers.data?.(Buffer.from('one'))
  stream.handlers.ended?.()
  stream.handlers.closed?.(undefined)
  t.mock.timers.tick(LINGER_MS - 1)
  assert.equal(far.destroyed, false)
  t.mock.timers.tick(1)
  assert.deepEqual([far.destroyed, over], [true, [undefined]])
})

test('an error ends both sides at once', async () => {
  const first = slowFar()
  const one = joined(first.far)
  one.stream.handlers.data?.(Buffer.from('one'))
  one.stream.reset(new TunnelError('ABORTED', 'enough', { hop: 'link' }))
  assert.equal(first.far.destroyed, true)
  assert.equal(one.over[0]?.code, 'ABORTED')

  const second = slowFar()
  const two = joined(second.far)
  const closed = new Promise((resolve) => second.far.once('close', resolve))
  second.far.destroy(new Error('ECONNRESET'))
  await closed
  assert.equal(two.stream.error?.code, 'AGENT_LOST')
})

test('a far side that has closed ends the stream in order, and resets an opener that goes on sending', async (t) => {
  const { far } = slowFar()
  const { stream } = joined(far)
  t.mock.timers.enable({ apis: ['setTimeout'] })
  far.push('bye')
  far.push(null)
  far.destroy()
  await once(far, 'close')
  assert.deepEqual([stream.ended, stream.error], [true, undefined])
  stream.handlers.data?.(Buffer.from('late'))
  assert.equal(stream.consumedBytes, 4)
  t.mock.timers.tick(LINGER_MS)
  assert.equal(stream.error?.code, 'CONNECT_REFUSED')
})
