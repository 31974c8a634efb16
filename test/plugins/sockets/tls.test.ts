import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { copyFile, readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { type AddressInfo, connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { loadSettings } from '../../../config/index.ts'
import { buildServer } from '../../../server.ts'
import { isolated, startTunnel, tunnel } from '../../cli/tunnel.ts'
import { type Certificate, makeCertificate } from '../../support/certificate.ts'
import { until } from '../../support/proxy.ts'
import { requireSystem } from '../../support/system.ts'
import { tempFolder } from '../../support/tree.ts'

const skip = requireSystem('openssl')

async function startTls(t: TestContext, set: string[] = []) {
  const [one, other] = (await Promise.all([makeCertificate(t), makeCertificate(t)])) as [
    Certificate,
    Certificate,
  ]
  const folder = await tempFolder(t, 'tls')
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  await copyFile(one.certFile, files.cert)
  await copyFile(one.keyFile, files.key)
  const flags = [`server.tls.cert=${files.cert}`, `server.tls.key=${files.key}`, ...set]
  const { settings } = loadSettings({ stateDir: join(folder, 'state'), env: {}, flags })
  const log: string[] = []
  const app = await buildServer({ settings, logStream: { write: (line) => void log.push(line) } })
  t.after(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const dial = async (more: ConnectionOptions = {}): Promise<TLSSocket> => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: 'localhost',
      rejectUnauthorized: false,
      ...more,
    })
    t.after(() => socket.destroy())
    socket.on('error', () => {})
    await once(socket, 'secureConnect')
    return socket
  }
  return { app, port, files, other, dial, log }
}

const fingerprintOf = (socket: TLSSocket) => socket.getPeerCertificate().fingerprint256

/** The status of a GET on a connection that is kept. */
async function get(port: number, path: string, more: ConnectionOptions & { headers?: object } = {}) {
  const asked = request({
    ...{ port, host: '127.0.0.1', servername: 'localhost', path, rejectUnauthorized: false },
    ...(more as object),
  })
  asked.end()
  const [response] = await once(asked, 'response')
  response.resume()
  return response
}

test('renewed certificate files are served to those who come, and whoever is there stays', {
  skip,
}, async (t) => {
  const { files, other, dial, log } = await startTls(t)
  const before = await dial()
  // Half of the pair: the former one goes on.
  await copyFile(other.certFile, files.cert)
  await until(() => log.some((line) => line.includes('cannot be used')))
  assert.equal(fingerprintOf(await dial()), fingerprintOf(before))
  await copyFile(other.keyFile, files.key)
  await until(() => log.some((line) => line.includes('the new certificate')))
  const after = await dial()
  assert.notEqual(fingerprintOf(after), fingerprintOf(before))
  // The connection of before still answers.
  before.write('GET /api/tunnel/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
  assert.match(String((await once(before, 'data'))[0]), /^HTTP\/1\.1 200/)
})

test('TLS 1.3 alone is spoken, its group is known to tunnel status, and every answer has the headers of helmet', {
  skip,
}, async (t) => {
  const { app, port, dial, files } = await startTls(t)
  const [, ends] =
    /_expiry_timestamp_seconds\{certificate="server"\} (\d+)$/m.exec(await app.tunnelMetrics.read()) ?? []
  assert.equal(Number(ends) * 1_000, Date.parse(new X509Certificate(await readFile(files.cert)).validTo))
  await assert.rejects(dial({ maxVersion: 'TLSv1.2' }))
  const { headers } = await get(port, '/api/tunnel/health')
  assert.equal(
    headers['content-security-policy'],
    "default-src 'none';frame-ancestors 'none';base-uri 'none'",
  )
  assert.match(headers['strict-transport-security'], /max-age=\d{8}/)
  assert.equal(headers['x-content-type-options'], 'nosniff')
  assert.equal(headers['x-powered-by'], undefined)
  const token = app.auth.sign({ sub: 'ann', ttlSeconds: 60 })
  const env = isolated(files.cert, { NODE_EXTRA_CA_CERTS: files.cert, TUNNEL_TOKEN: token })
  const status = await tunnel(['status', '--url', `https://localhost:${port}`], { env })
  assert.match(status.stdout, /^TLS to the proxy: TLSv1\.3, keys by X25519\w*, TLS_\w+$/m, status.stderr)
  assert.match(status.stdout, /^sealed streams: keys are agreed on between your ssh and the machine's sshd/m)
})

test('where agents have to show a certificate, one without is refused before anything else, and clients are not asked', {
  skip,
}, async (t) => {
  const folder = await tempFolder(t, 'ca')
  const [key, cert] = [join(folder, 'agent.key'), join(folder, 'agent.pem')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const made = spawnSync('openssl', [
    'req',
    '-x509',
    ...curve,
    '-days',
    '1',
    '-subj',
    '/CN=agents',
    '-keyout',
    key,
    '-out',
    cert,
  ])
  assert.equal(made.status, 0)
  const { app, port, files } = await startTls(t, [`server.tls.agentCa=${cert}`])
  const token = app.auth.sign({ sub: 'ann', ttlSeconds: 60 })
  const upgrade = {
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-protocol': 'tunnel.v1',
    authorization: `Bearer ${token}`,
  }
  const status = async (route: string, more: ConnectionOptions = {}) => {
    const asked = request({
      ...{ port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false },
      ...{ path: `/api/tunnel/${route}`, headers: upgrade },
      ...(more as object),
    })
    asked.end()
    const answered = once(asked, 'response')
    const [{ statusCode }, socket] = await Promise.race([answered, once(asked, 'upgrade')])
    socket?.destroy()
    return statusCode
  }
  const stranger = { key: await readFile(files.key), cert: await readFile(files.cert) }
  const shown = { key: await readFile(key), cert: await readFile(cert) }
  assert.deepEqual(
    // Each a second time: its TLS session is resumed.
    [
      ...[await status('connect'), await status('agent'), await status('agent')],
      ...[await status('agent', stranger), await status('agent', stranger)],
      ...[await status('agent', shown), await status('agent', shown)],
    ],
    [101, 403, 403, 403, 403, 101, 101],
  )
  const words = ['agent', '--machine', 'home', '--url', `https://localhost:${port}`, '--ca', files.cert]
  const env = isolated(folder, { TUNNEL_TOKEN: token })
  const refused = await tunnel(words, { env })
  assert.match(refused.stderr, /an agent has to show a certificate/)
  const agent = startTunnel(t, [...words, '--cert', cert, '--key', key], { env })
  await agent.line(/home is on line/)
})

test('handshakes and heads that do not come to their end are bounded, and others are served beside them', {
  skip,
}, async (t) => {
  const { app, port } = await startTls(t, ['server.maxSockets=400', 'server.socketsPerIp=300'])
  const slow = Array.from({ length: 350 }, () => {
    const socket = connectTcp({ port, host: '127.0.0.1' })
    t.after(() => socket.destroy())
    socket.on('error', () => {}).write('\x16\x03\x01\x02\x00\x01', 'latin1')
    return socket
  })
  await until(() => slow.filter(({ destroyed }) => destroyed).length >= 50)
  const open = () => new Promise<number>((resolve) => app.server.getConnections((_, count) => resolve(count)))
  assert.ok((await open()) <= 300)
  // As somebody of another address.
  const statuses = []
  for (let count = 0; count < 20; count++)
    statuses.push((await get(port, '/api/tunnel/health', { localAddress: '127.0.0.9' } as object)).statusCode)
  assert.deepEqual([...new Set(statuses)], [200])
  for (const socket of slow) socket.destroy()
  await until(async () => (await open()) < 5)
})
