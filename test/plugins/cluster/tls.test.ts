import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Places } from '../../../plugins/cluster/places.ts'
import { makeCertificate } from '../../support/certificate.ts'
import { drop, listenTcp, type TestProxy, until } from '../../support/proxy.ts'
import { startRedis } from '../../support/redis.ts'
import { freePort, requireSystem } from '../../support/system.ts'
import { startReplica } from './replicas.ts'

test('with cluster.tls replicas show each other certificates, and who has none that is trusted stays out', {
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
  // It trusts theirs, and they do not trust its own; and one that has no TLS at all.
  const c = await startReplica(t, redis, { id: 'c', port: ports[2], peers, set: tls(others, ours.certFile) })
  const plain = peers.map((url) => url.replace('https', 'http'))
  const d = await startReplica(t, redis, { id: 'd', port: ports[3], peers: plain })
  const notReached = ({ log }: TestProxy) =>
    log.find(({ message }) => /is not reached/.test(message))?.context
  await until(() => a.app.cluster?.size === 2 && b.app.cluster?.size === 2)
  await until(() => notReached(c) !== undefined && notReached(d) !== undefined)
  t.diagnostic(`${JSON.stringify(notReached(c))} ${JSON.stringify(notReached(d))}`)
  assert.deepEqual([c.app.cluster?.size, d.app.cluster?.size, a.app.cluster?.size], [1, 1, 2])

  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await a.startAgent('home', 'alice', '127.0.0.1:1', { allow: [echo] })
  await until(() => b.app.machines.find('alice', 'home')?.online === true)
  const stream = await (await b.connect('alice')).open({ machine: 'home', kind: 'ssh', target: echo })
  stream.write('sealed')
  assert.equal(String((await once(stream, 'data'))[0]), 'sealed')
  drop(stream)
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
