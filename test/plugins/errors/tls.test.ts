import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import Fastify from 'fastify'
import errors, { answerClientError } from '../../../plugins/errors/index.ts'
import { makeCertificate } from '../../support/certificate.ts'
import { until } from '../../support/proxy.ts'
import { requireSystem } from '../../support/system.ts'
import { registerAuth, registerGround } from '../ground.ts'

test('a TLS handshake that does not come to its end, or is none, ends its connection and is not answered', {
  skip: requireSystem('openssl'),
}, async (t) => {
  const made = await makeCertificate(t)
  assert.ok(made)
  const files = { cert: readFileSync(made.certFile), key: readFileSync(made.keyFile) }
  const app = Fastify({ https: { ...files, handshakeTimeout: 100 }, clientErrorHandler: answerClientError })
  t.after(() => app.close())
  await registerGround(t, app)
  await registerAuth(app)
  await app.register(errors)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  // Nothing, half a record, and what is not TLS.
  for (const bytes of ['', '\x16\x03\x01\x02\x00\x01', 'GET / HTTP/1.1\r\n\r\n']) {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    t.after(() => socket.destroy())
    let came = 0
    socket
      .on('error', () => {})
      .on('data', (chunk) => {
        came += chunk.length
      })
    socket.write(bytes, 'latin1')
    await Promise.race([once(socket, 'end'), once(socket, 'close')])
    // A TLS alert at most.
    assert.ok(came < 20, `${came} bytes came`)
  }
  const count = () => new Promise<number>((resolve) => app.server.getConnections((_, n) => resolve(n)))
  await until(async () => (await count()) === 0)
})
