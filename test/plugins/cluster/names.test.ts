import assert from 'node:assert/strict'
import test from 'node:test'
import { Lookups } from '../../../agent/lookups.ts'
import type { TunnelError, TunnelService } from '../../../client/index.ts'
import { TunnelError as Failure } from '../../../protocol/codec/errors.ts'
import { listenTcp, readAll, until } from '../../support/proxy.ts'
import { startRedis } from '../../support/redis.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'
import { startReplicas } from './replicas.ts'

const skip = requireSystem('redis-server', 'sshd')

test('a name is resolved by the agent also where its link is at another replica, for whomever it is', {
  skip,
}, async (t) => {
  const redis = await startRedis(t)
  const service = await listenTcp(t, (socket) => socket.end('here'))
  const port = service.split(':')[1]
  const rules = [
    { effect: 'allow', targets: ['*'] },
    { effect: 'allow', users: ['bob'], owners: ['alice'], targets: ['*'] },
  ]
  const set = [`policy.rules=${JSON.stringify(rules)}`]
  const [sshd, replicas] = await Promise.all([startSshd(t), startReplicas(t, redis, ['a', 'b'], set)])
  const [a, b] = replicas
  if (a === undefined || b === undefined) return assert.fail()
  const asked: string[] = []
  await a.startAgent('home', 'alice', sshd, {
    // Two addresses, so that it looks for no second home at the other replica.
    urls: [a.url, a.url.replace('127.0.0.1', 'localhost')],
    lookup: async (name) => {
      asked.push(name)
      return [{ address: name === 'cloud.test' ? '169.254.169.254' : '127.0.0.1', family: 4 }]
    },
  })
  await sshd.authorize(a.app.ssh.publicKey('bob'))
  await until(() => b.app.machines.find('alice', 'home')?.online === true)
  assert.equal(b.app.machines.agents.own('alice', 'home'), undefined)
  const seen = async (client: TunnelService, machine: string, name: string): Promise<string> => {
    try {
      const stream = await client.open({ machine, kind: 'tcp', target: `${name}:${port}` })
      return String(await readAll(stream))
    } catch (error) {
      return (error as TunnelError).code
    }
  }
  for (const [user, machine] of [
    ['alice', 'home'],
    ['bob', 'alice/home'],
  ] as const) {
    const client = await b.connect(user)
    assert.equal(await seen(client, machine, 'good.test'), 'here', user)
    assert.equal(await seen(client, machine, 'cloud.test'), 'POLICY_DENIED', user)
  }
  assert.deepEqual(asked, ['good.test', 'cloud.test', 'good.test', 'cloud.test'])
  // One that knows no lookups is known for what it is through the other replica as well.
  const old = t.mock.method(Lookups.prototype, 'answer', async () => {
    throw new Failure('FRAME_INVALID', 'kind "lookup" is unknown', { hop: 'link' })
  })
  const alice = await b.connect('alice')
  for (const name of ['one.test', 'two.test'])
    assert.equal(await seen(alice, 'home', name), 'VERSION_UNSUPPORTED')
  assert.equal(old.mock.callCount(), 1)
})
