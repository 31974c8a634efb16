import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { startProxy } from '../../support/proxy.ts'

const END = '0\r\n\r\n'
const pieces = (text: string, bytes: number): string =>
  Array.from({ length: Math.ceil(text.length / bytes) }, (_, index) => {
    const piece = text.slice(index * bytes, (index + 1) * bytes)
    return `${piece.length.toString(16)}\r\n${piece}\r\n`
  }).join('')
const headOf = (line: string, ...fields: string[]): string =>
  [`${line} HTTP/1.1`, 'host: a', 'content-type: application/json', ...fields, '', ''].join('\r\n')

/** Sends all of it and then `more` for as long as the connection takes it; resolves with what was answered when it ends. */
function said(t: TestContext, port: number, all: string, more?: string | Buffer): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  let text = ''
  const goOn = (): void => {
    if (more === undefined || socket.destroyed || socket.writableEnded) return
    socket.write(more, () => setImmediate(goOn))
  }
  socket.write(all, goOn)
  socket.on('error', () => {})
  socket.on('data', (bytes: Buffer) => {
    text += String(bytes)
  })
  socket.on('end', () => socket.destroy())
  return new Promise((resolve) => socket.once('close', () => resolve(text)))
}

const refresh = (text: string, bytes: number): string =>
  headOf('POST /api/tunnel/auth/refresh', 'transfer-encoding: chunked', 'connection: close') +
  pieces(text, bytes) +
  END

test('a body that comes byte by byte is refused, and its connection ends', async (t) => {
  const { port } = await startProxy(t)
  const body = JSON.stringify({ refreshToken: 'x'.repeat(5_000) })
  assert.match(await said(t, port, refresh(body, 1)), /^HTTP\/1\.1 400 .*too many small pieces/s)
  // Few small ones are in order, and many of a fair size: what is said of them is what is said of the whole.
  for (const [text, bytes] of [
    ['{"refreshToken":"x"}', 1],
    [body, 64],
  ] as const)
    assert.match(await said(t, port, refresh(text, bytes)), /^HTTP\/1\.1 401 /)
})

for (const connection of ['close', 'keep-alive'])
  test(`who sends a body that is too long reads so, with connection: ${connection}`, async (t) => {
    const { port } = await startProxy(t)
    const bytes = 50_000_000
    const head = headOf(
      'POST /api/tunnel/auth/refresh',
      `content-length: ${bytes}`,
      `connection: ${connection}`,
    )
    const text = await said(t, port, head, Buffer.alloc(65_536, 'x'))
    assert.match(text, /^HTTP\/1\.1 413 .*too large/s)
  })

for (const line of ['GET /api/tunnel/health', 'POST /none', 'POST /%zz', 'POST /api/tunnel/policy/check'])
  test(`a connection with an endless body ends behind the answer to ${line}`, async (t) => {
    const { port } = await startProxy(t)
    const text = await said(t, port, headOf(line, 'transfer-encoding: chunked'), pieces('x'.repeat(999), 333))
    assert.match(text, /^HTTP\/1\.1 [2-4]\d\d /)
  })
