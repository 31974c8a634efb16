import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { until } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'
import { type Opened, type Rig, startRig, tcpService } from './rig.ts'

const MIB = 1_048_576
/**
 * What windows, SSH's own, and sockets' buffers may take of a stream that nobody reads, in bytes; and more than that. Of a
 * connection the kernel holds up to 36 MiB.
 */
const BUFFERS = 44 * MIB
const HELD = 48 * MIB

const hasCode = (code: string) => (error: unknown) => {
  assert.equal((error as TunnelError).code, code, String(error))
  return true
}

function exec(rig: Rig, command: string, input?: Uint8Array, end = true): Opened {
  return rig.open({ kind: 'exec', exec: { command } }, input, end)
}

test('a TCP stream carries bytes both ways and passes each half close on', async (t) => {
  const rig = await startRig(t)
  const order: string[] = []
  const target = await tcpService(t, (socket) => {
    socket.on('data', (bytes) => socket.write(bytes))
    socket.on('end', () => {
      order.push('client ended')
      socket.end('and after')
    })
  })
  const opened = rig.open({ kind: 'tcp', target })
  await opened.accepted
  const payload = randomBytes(8 * 1_048_576)
  await opened.send(payload)
  opened.stream.end()
  await opened.closed
  assert.deepEqual(order, ['client ended'])
  assert.ok(opened.bytes.equals(Buffer.concat([payload, Buffer.from('and after')])))
})

test('a service that ends first is heard to its end', async (t) => {
  const rig = await startRig(t)
  const target = await tcpService(t, (socket) => socket.end('goodbye'))
  const opened = rig.open({ kind: 'tcp', target })
  await opened.ended
  assert.equal(opened.text, 'goodbye')
  opened.stream.end()
  await opened.closed
  await rig.settled()
})

test('bytes that came with OPEN reach the service', async (t) => {
  const rig = await startRig(t)
  const target = await tcpService(t, (socket) => socket.pipe(socket))
  const opened = rig.open({ kind: 'tcp', target }, Buffer.from('early'), true)
  await opened.closed
  assert.equal(opened.text, 'early')
})

/** As much as `HELD` goes to a service that reads, and back, while another stream may not get on: it would have, in that time. */
async function passBy(t: TestContext, rig: Rig): Promise<void> {
  const eachWay = HELD / 2
  const other = rig.open({ kind: 'tcp', target: await tcpService(t, (socket) => socket.pipe(socket)) })
  await other.accepted
  await other.send(Buffer.alloc(eachWay))
  other.stream.end()
  await other.closed
  assert.equal(other.bytes.length, eachWay)
}

test('a slow TCP reader stops the service, and nobody else', async (t) => {
  const rig = await startRig(t)
  let writtenBytes = 0
  const target = await tcpService(t, async (socket) => {
    const chunk = Buffer.alloc(65_536)
    while (writtenBytes < HELD) {
      writtenBytes += chunk.length
      if (!socket.write(chunk)) await once(socket, 'drain')
    }
    socket.end()
  })
  const opened = rig.open({ kind: 'tcp', target })
  opened.hold = true
  await opened.until(() => opened.heldBytes >= 262_000)
  const [served] = rig.app.forward.streamsOf('ada')
  await passBy(t, rig)
  assert.ok(writtenBytes < BUFFERS, `the service could write ${writtenBytes} bytes`)
  assert.ok(served!.heldBytes < MIB, `the proxy keeps ${served?.heldBytes} bytes`)
  opened.take()
  await opened.ended
  assert.equal(opened.bytes.length, HELD)
})

test('a slow reader of a command stops it, and nobody else', async (t) => {
  const rig = await startRig(t)
  const opened = exec(rig, `head -c ${HELD} /dev/zero`)
  opened.hold = true
  await opened.until(() => opened.heldBytes >= 262_000)
  const [served] = rig.app.forward.streamsOf('ada')
  await passBy(t, rig)
  assert.ok(served!.heldBytes < MIB, `the proxy keeps ${served?.heldBytes} bytes`)
  opened.take()
  await opened.closed
  assert.equal(opened.bytes.length, HELD)
  assert.deepEqual(opened.events, [{ exit: { code: 0 } }])
})

test('a service that reads nothing stops the writer of its TCP stream, and nobody else', async (t) => {
  const rig = await startRig(t)
  let service: Socket | undefined
  let readBytes = 0
  const target = await tcpService(t, (socket) => {
    service = socket.on('end', () => socket.end())
  })
  const opened = rig.open({ kind: 'tcp', target })
  await opened.accepted
  const sent = opened.send(Buffer.alloc(HELD))
  await passBy(t, rig)
  const { sentOffset } = opened.stream
  assert.ok(sentOffset < BUFFERS, `the proxy took ${sentOffset} bytes`)
  service?.on('data', ({ length }) => {
    readBytes += length
  })
  await sent
  opened.stream.end()
  await opened.closed
  assert.equal(readBytes, HELD)
})

test('a command that reads nothing stops the writer of its input, and nobody else', async (t) => {
  const rig = await startRig(t)
  const fifo = join(await tempFolder(t), 'go')
  const opened = exec(rig, `mkfifo ${fifo}; echo ready; read line <${fifo}; wc -c`, undefined, false)
  await opened.until(() => opened.text === 'ready\n')
  const sent = opened.send(Buffer.alloc(HELD))
  await passBy(t, rig)
  const { sentOffset } = opened.stream
  assert.ok(sentOffset < BUFFERS, `the proxy took ${sentOffset} bytes`)
  await exec(rig, `echo go >${fifo}`).closed
  await sent
  opened.stream.end()
  await opened.closed
  assert.equal(opened.text.trim(), `ready\n${HELD}`)
})

test('a client that resets its TCP stream closes the connection to the service', async (t) => {
  const rig = await startRig(t)
  const gone = new Promise<void>((resolve) => {
    tcpService(t, (socket) => {
      socket.write('hi')
      socket.on('end', () => socket.end()).on('close', () => resolve())
    }).then((target) => {
      const opened = rig.open({ kind: 'tcp', target })
      void opened
        .until(() => opened.text === 'hi')
        .then(() => opened.stream.reset(new TunnelError('ABORTED', 'enough', { hop: 'proxy' })))
    }, assert.ifError)
  })
  await gone
  await rig.settled()
})

test('a refused, a missing and a malformed target, and an unknown machine, have their codes', async (t) => {
  const rig = await startRig(t)
  await assert.rejects(rig.open({ kind: 'tcp', target: '127.0.0.1:1' }).closed, hasCode('CONNECT_REFUSED'))
  await assert.rejects(rig.open({ kind: 'tcp' }).closed, hasCode('FRAME_INVALID'))
  await assert.rejects(rig.open({ kind: 'tcp', target: '127.0.0.1:99999' }).closed, hasCode('FRAME_INVALID'))
  const elsewhere = rig.opener.open({ kind: 'tcp', machine: 'elsewhere', target: '127.0.0.1:1' })
  const closed = new Promise<TunnelError | undefined>((resolve) => elsewhere.handle({ closed: resolve }))
  assert.equal((await closed)?.code, 'MACHINE_UNKNOWN')
  await rig.settled()
})

test('a cut SSH connection ends a TCP stream with an error and never with an end', async (t) => {
  const rig = await startRig(t)
  const target = await tcpService(t, (socket) => void socket.write('begun'))
  const opened = rig.open({ kind: 'tcp', target })
  await opened.until(() => opened.text === 'begun')
  rig.sockets[0]?.destroy()
  await assert.rejects(opened.closed, hasCode('AGENT_LOST'))
})

test('a command keeps stdout and stderr apart and passes its status on', async (t) => {
  const rig = await startRig(t)
  const opened = exec(rig, 'cat; echo oops >&2; exit 7', Buffer.from('in'))
  await opened.closed
  assert.equal(opened.text, 'in')
  assert.equal(Buffer.concat(opened.aux).toString(), 'oops\n')
  assert.deepEqual(opened.events, [{ exit: { code: 7 } }])
})

test('megabytes on stdout and stderr at once all arrive', async (t) => {
  const rig = await startRig(t)
  const opened = exec(rig, 'head -c 9000000 /dev/zero & head -c 7000000 /dev/zero >&2; wait')
  await opened.closed
  assert.equal(opened.bytes.length, 9_000_000)
  assert.equal(Buffer.concat(opened.aux).length, 7_000_000)
  assert.deepEqual(opened.events, [{ exit: { code: 0 } }])
})

test('the signal that ended a command is told', async (t) => {
  const rig = await startRig(t)
  const opened = exec(rig, 'kill -TERM $$')
  await opened.closed
  assert.deepEqual(opened.events, [{ exit: { signal: 'TERM' } }])
})

// sshd itself signals nothing for root, as whom tests may run: here ssh2's own server hears the request.
test('a signal from the client is asked of the SSH server', async (t) => {
  const heard: string[] = []
  const rig = await startRig(t, {
    server: (session) => {
      session.on('exec', (accept) => {
        const channel = accept()
        channel.write('ready')
        session.on('signal', (_accept, _reject, { name }) => {
          heard.push(name)
          channel.exit(name, false, '')
          channel.end()
        })
      })
    },
  })
  const opened = exec(rig, 'anything', undefined, false)
  await opened.until(() => opened.text === 'ready')
  opened.stream.event({ signal: 'SIGNONSENSE' })
  opened.stream.event({ signal: 'SIGINT' })
  await opened.until(() => opened.events.length > 0)
  assert.deepEqual(opened.events, [{ exit: { signal: 'INT' } }])
  assert.deepEqual(heard, ['INT'])
})

test('a client that goes away frees the channel', async (t) => {
  const rig = await startRig(t, { pool: { maxPerUser: 1, channelsPerConnection: 1 } })
  const opened = exec(rig, 'echo ready; sleep 60', undefined, false)
  await opened.until(() => opened.text === 'ready\n')
  opened.stream.reset(new TunnelError('ABORTED', 'enough', { hop: 'proxy' }))
  const next = exec(rig, 'echo next')
  await next.closed
  assert.equal(next.text, 'next\n')
})

test('a client that goes away while it waits for a channel leaves no waiter behind', async (t) => {
  const rig = await startRig(t, { pool: { maxPerUser: 1, channelsPerConnection: 1 } })
  const first = exec(rig, 'echo ready; sleep 60', undefined, false)
  await first.until(() => first.text === 'ready\n')
  const second = exec(rig, 'echo never')
  while (rig.app.pool.waiting('ada') === 0) await new Promise(setImmediate)
  second.stream.reset(new TunnelError('ABORTED', 'enough', { hop: 'proxy' }))
  while (rig.app.pool.waiting('ada') > 0) await new Promise(setImmediate)
  first.stream.reset(new TunnelError('ABORTED', 'enough', { hop: 'proxy' }))
  await rig.settled()
})

test('a command that never ends does not hold up the server close', async (t) => {
  const rig = await startRig(t)
  const opened = exec(rig, 'echo ready; sleep 60', undefined, false)
  await opened.until(() => opened.text === 'ready\n')
  await rig.app.close()
  await assert.rejects(opened.closed)
})

test('an SSH connection that is quiet is kept alive as often as pool.keepAliveMs says', async (t) => {
  // A busy sshd answers later than three of these: then its connection is given up, and a new one would be quiet.
  const rig = await startRig(t, { pool: { keepAliveMs: 700 } })
  await exec(rig, 'true').closed
  await until(() => rig.app.pool.states('ada').idle === 1)
  const [socket] = rig.sockets
  for (let count = 0; count < 3; count++) {
    const { bytesWritten } = socket!
    await until(() => socket!.bytesWritten > bytesWritten)
  }
})

test('ten that run one command after the other against a stock sshd all have each of them run', async (t) => {
  const rig = await startRig(t, { pool: { maxPerUser: 1 } })
  let failures = 0
  const worker = async (): Promise<void> => {
    for (let count = 0; count < 10; count++) {
      const { closed, events } = exec(rig, 'true')
      await closed.catch(() => failures++)
      if (!isDeepStrictEqual(events, [{ exit: { code: 0 } }])) failures++
    }
  }
  await Promise.all(Array.from({ length: 10 }, worker))
  assert.equal(failures, 0)
})

test('an sshd that takes two sessions at a time runs six commands that all come at once', async (t) => {
  const rig = await startRig(t, { pool: { maxPerUser: 2 }, config: ['MaxSessions 2'] })
  const all = Array.from({ length: 6 }, () => exec(rig, 'sleep 0.2'))
  await Promise.all(all.map(({ closed }) => closed))
})

test('an sshd that takes no session at all is told as what it is, and soon', async (t) => {
  const rig = await startRig(t, { config: ['MaxSessions 0'] })
  await assert.rejects(exec(rig, 'true').closed, { code: 'CHANNEL_OPEN_FAILED' })
})
