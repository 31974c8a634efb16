import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { startRig, tcpService } from '../rig.ts'

const BYTES = 6_291_456

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

for (const [how, head] of [
  ['HTTP/1.0, without a length', 'HTTP/1.0 200 OK\r\n\r\n'],
  ['HTTP/1.1 with Connection: close', 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n'],
  ['a length, all its bytes, and then the end', 'HTTP/1.1 200 OK\r\nContent-Length: 6291456\r\n\r\n'],
] as const) {
  test(`an answer of 6 MB that ends with its connection arrives whole, to slow readers too: ${how}`, async (t) => {
    const rig = await startRig(t)
    const payload = randomBytes(BYTES)
    const target = await tcpService(t, (socket) => {
      socket.once('data', () => {
        socket.write(head)
        socket.end(payload)
      })
    })
    for (const rounds of [3, 5, 8, 14]) {
      const opened = rig.open(
        { kind: 'http', target, http: { method: 'GET', path: '/', headers: [] } },
        undefined,
        true,
      )
      let over = false
      void opened.ended.then(() => {
        over = true
      })
      opened.closed.catch(() => {
        over = true
      })
      // Reads a little later than it could, to the end: the answer's last bytes and its end come while it is held up.
      opened.hold = true
      for (let round = 0; !over; round++) {
        await new Promise(setImmediate)
        if (round % rounds !== 0) continue
        opened.stream.consumed(opened.heldBytes)
        opened.heldBytes = 0
      }
      await opened.closed
      assert.equal(sha256(opened.bytes), sha256(payload))
    }
    await rig.settled()
  })
}
