import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { Places } from '../../../plugins/cluster/places.ts'
import { makeCertificate } from '../../support/certificate.ts'
import { drop, listenTcp, readAll, type TestProxy, until } from '../../support/proxy.ts'
import { startRedis } from '../../support/redis.ts'
import { freePort, requireSystem } from '../../support/system.ts'
import { startReplica, UPGRADE } from './replicas.ts'

test('with cluster.tls replicas show each other certificates; who has none that is trusted stays out, and both say why', {
  skip: requireSystem('redis-server', 'openssl'),
}, async (t) => {
  const redis = await startRedis(t)
  const [ours, others] = [await makeCertificate(t), await makeCertificate(t)]
  assert.ok(ours !== undefined && others !== undefined)
  const tls = ({ certFile, keyFile }: typeof ours, ca = certFile) => [
    ...[`cluster.tls.cert=${certFile}`, `cluster.tls.key=${keyFile}`, `cluster.tls.ca=${ca}`],
  ]
  const ports = [await freePort(), await freePort(), await freePort(), await freePort()] as const
  const peers = ports.slice(0, 2).map((port) => `https://localhost:${port}`)
  const a = await startReplica(t, redis, { id: 'a', port: ports[0], peers, set: tls(ours) })
  const b = await startReplica(t, redis, { id: 'b', port: ports[1], peers, set: tls(ours), sharing: a })
  // It trusts theirs, and they do not trust its own; one that has no TLS, and is dialled with TLS too.
  const plain = `http://localhost:${ports[0]}`
  const toPlain = `https://localhost:${ports[3]}`
  const d = await startReplica(t, redis, { id: 'd', port: ports[3], peers: [plain] })
  const c = await startReplica(t, redis, {
    ...{ id: 'c', port: ports[2], peers: [...peers, toPlain], set: tls(others, ours.certFile) },
  })
  const told = ({ log }: TestProxy, message: RegExp, code: RegExp, reason: RegExp) =>
    log.some(
      (line) =>
        message.test(line.message) &&
        code.test(`${line.context?.code}`) &&
        reason.test(`${line.context?.reason}`),
    )
  const saysOf = /is not reached/
  const saysTo = /who came to the port of replicas was refused/
  await until(() => a.app.cluster?.size === 2 && b.app.cluster?.size === 2)
  for (const [replica, message, code, reason] of [
    [c, saysOf, /CERTIFICATE_UNTRUSTED/, /does not take the certificate of this one.*localhost/],
    [a, saysTo, /CERTIFICATE_UNTRUSTED/, /certificate of 127\.0\.0\.1:\d+ is signed by itself/],
    // The alert of TLS may come before the end of the connection.
    [d, saysOf, /LINK_LOST|CONNECT_REFUSED/, /https:/],
    [a, saysTo, /TLS_FAILED/, /does not speak TLS/],
    [c, saysOf, /CONNECT_REFUSED/, /did you mean http:/],
    [d, saysTo, /TLS_FAILED/, /speaks TLS, and there is none here/],
  ] as const) {
    await until(() => told(replica, message, code, reason)).catch(() => assert.fail(`not told: ${reason}`))
  }
  assert.deepEqual([c.app.cluster?.size, d.app.cluster?.size, a.app.cluster?.size], [1, 1, 2])
  const nobody = connect({ port: ports[0], host: 'localhost', ca: await readFile(ours.certFile) })
  nobody.write(`GET /api/tunnel/relay HTTP/1.1\r\nhost: a\r\n${UPGRADE.join('\r\n')}\r\n\r\n`)
  assert.match(String(await readAll(nobody)), /^HTTP\/1\.1 502 .*shows no certificate/s)

  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await a.startAgent('home', 'alice', '127.0.0.1:1', { allow: [echo] })
  await until(() => b.app.machines.find('alice', 'home')?.online === true)
  const stream = await (await b.connect('alice')).open({ machine: 'home', kind: 'ssh', target: echo })
  stream.write('sealed')
  assert.equal(String((await once(stream, 'data'))[0]), 'sealed')
  drop(stream)
})

test('whoever has said in Redis where it is stays known while Redis is away, beside whom the settings name', async () => {
  let isAway = false
  const said = [['b', { url: 'http://10.0.0.2:3002' }]] as const
  const list = async () => {
    if (isAway) throw new Error('away')
    return said
  }
  const lookup = async () => [{ address: '10.0.0.1', family: 4 }]
  const places = new Places(['http://a:3002'], { volatile: { list } } as never, lookup)
  const known = [
    { url: 'http://a:3002', address: '10.0.0.1' },
    { id: 'b', url: 'http://10.0.0.2:3002' },
  ]
  assert.deepEqual(await places.find(), known)
  isAway = true
  assert.deepEqual(await places.find(), known)
  const alone = new Places([], { volatile: { list } } as never, lookup)
  await assert.rejects(alone.find())
})

test('a name that stands for several addresses is each of them, and one that stands for none is left', async () => {
  const state = { volatile: { list: async () => [] } }
  const addresses = ['10.0.0.1', '10.0.0.2', 'fd00::1'].map((address) => ({
    address,
    family: address.includes(':') ? 6 : 4,
  }))
  const lookup = async (host: string) => {
    if (host === 'tunnel-mesh') return addresses
    throw new Error('ENOTFOUND')
  }
  const urls = ['http://tunnel-mesh:3002', 'http://gone:3002']
  const places = await new Places(urls, state as never, lookup).find()
  assert.deepEqual(
    places,
    addresses.map(({ address }) => ({ url: 'http://tunnel-mesh:3002', address })),
  )
})
