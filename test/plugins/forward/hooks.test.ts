import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OpenContext } from '../../../plugins/forward/index.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { startProxy } from '../../support/proxy.ts'
import { ADA, startRig, webService } from './rig.ts'

const GET = { kind: 'http' as const, http: { method: 'GET', path: '/', headers: [] } }
const hasCode = (code: string) => (error: unknown) => {
  assert.equal((error as TunnelError).code, code, String(error))
  return true
}

test('hooks run in the order of registration, and onClose exactly once', async (t) => {
  const calls: string[] = []
  const rig = await startRig(t, {
    plugins: [
      (app) => {
        app.tunnel.addHook('preOpen', () => void calls.push('preOpen 1'))
        app.tunnel.addHook('onOpen', async () => void calls.push('onOpen'))
        app.tunnel.addHook('onClose', ({ error }) => void calls.push(`onClose ${error?.code ?? 'ok'}`))
      },
      (app) => app.tunnel.addHook('preOpen', async () => void calls.push('preOpen 2')),
    ],
  })
  const target = await webService(t, (_incoming, outgoing) => void outgoing.end('x'))
  await rig.open({ ...GET, target }, undefined, true).closed
  await rig.settled()
  assert.deepEqual(calls, ['preOpen 1', 'preOpen 2', 'onOpen', 'onClose ok'])
  calls.length = 0
  await rig.open({ ...GET, target: '127.0.0.1:1' }, undefined, true).closed.catch(() => {})
  await rig.settled()
  assert.deepEqual(calls, ['preOpen 1', 'preOpen 2', 'onClose CONNECT_REFUSED'])
})

test('preOpen may change the target and add headers', async (t) => {
  const target = await webService(
    t,
    (incoming, outgoing) => void outgoing.end(`${incoming.headers['x-added']}`),
  )
  const rig = await startRig(t, {
    plugins: [
      (app) =>
        app.tunnel.addHook('preOpen', (context) => {
          context.target = target
          context.headers = { 'X-Added': 'by a plugin' }
        }),
    ],
  })
  const opened = rig.open(
    { ...GET, http: { ...GET.http, headers: [['x-added', 'by the client']] }, target: '127.0.0.1:1' },
    undefined,
    true,
  )
  await opened.closed
  assert.equal(opened.text, 'by a plugin')
})

test('a hook refuses with its own error, a broken one is INTERNAL, and one that hangs is TIMEOUT', async (t) => {
  let hook: (context: OpenContext) => Promise<void> = async () => {}
  const rig = await startRig(t, {
    request: { hookMs: 50 },
    plugins: [(app) => app.tunnel.addHook('preOpen', (context) => hook(context))],
  })
  const tryOpen = () => rig.open({ ...GET, target: '127.0.0.1:1' }, undefined, true).closed
  hook = () => Promise.reject(new TunnelError('TIER_REQUIRED', 'pay first', { hop: 'proxy' }))
  await assert.rejects(tryOpen(), hasCode('TIER_REQUIRED'))
  hook = () => Promise.reject(new Error('a secret detail'))
  await assert.rejects(tryOpen(), (error: unknown) => {
    assert.doesNotMatch(String(error), /secret/)
    return hasCode('INTERNAL')(error)
  })
  const logged: unknown[] = []
  hook = ({ log }) => {
    t.mock.method(log, 'error', (_context: object, text: string) => logged.push(text))
    return new Promise(() => {})
  }
  await assert.rejects(tryOpen(), hasCode('TIMEOUT'))
  assert.deepEqual(logged, ["a plugin's preOpen hook failed"])
  assert.equal(rig.sockets.length, 0)
})

test('an error of onOpen ends the stream before anything is sent', async (t) => {
  let requests = 0
  const target = await webService(t, (_incoming, outgoing) => {
    requests++
    outgoing.end()
  })
  const rig = await startRig(t, {
    plugins: [
      (app) =>
        app.tunnel.addHook('onOpen', () => {
          throw new TunnelError('FORBIDDEN', 'not now', { hop: 'proxy' })
        }),
    ],
  })
  await assert.rejects(rig.open({ ...GET, target }, undefined, true).closed, hasCode('FORBIDDEN'))
  await assert.rejects(
    rig.open({ kind: 'exec', exec: { command: 'true' } }, undefined, true).closed,
    hasCode('FORBIDDEN'),
  )
  await rig.settled()
  assert.equal(requests, 0)
})

test('a token that has expired meanwhile opens nothing, nor does the token of an agent', async (t) => {
  const expired = await startRig(t, { user: { ...ADA, expiresAtMs: Date.now() - 1 } })
  await assert.rejects(
    expired.open({ ...GET, target: '127.0.0.1:1' }, undefined, true).closed,
    hasCode('TOKEN_EXPIRED'),
  )
  const agent = await startRig(t, { user: { ...ADA, roles: ['agent'] } })
  await assert.rejects(
    agent.open({ ...GET, target: '127.0.0.1:1' }, undefined, true).closed,
    hasCode('POLICY_DENIED'),
  )
})

test('a user above the limit of his tier is RATE_LIMITED and told when to come again', async (t) => {
  const rateLimit = { tiers: { free: { perMinute: 1, burst: 2 } } }
  const rig = await startRig(t, { user: { ...ADA, tier: 'free' }, rateLimit })
  const target = await webService(t, (_incoming, outgoing) => void outgoing.end('x'))
  for (let index = 0; index < 2; index++) await rig.open({ ...GET, target }, undefined, true).closed
  await assert.rejects(rig.open({ ...GET, target }, undefined, true).closed, (error: unknown) => {
    assert.ok(((error as TunnelError).retryAfterMs ?? 0) > 0)
    return hasCode('RATE_LIMITED')(error)
  })
})

test('a machine that cannot be reached opens the circuit, and a dead service behind it does not', async (t) => {
  const rig = await startRig(t, { breaker: { failures: 2 } })
  const tryOpen = () => rig.open({ ...GET, target: '127.0.0.1:1' }, undefined, true).closed
  for (let index = 0; index < 5; index++) await assert.rejects(tryOpen(), hasCode('CONNECT_REFUSED'))
  await rig.sshd.close()
  for (const socket of rig.sockets) socket.destroy()
  const codes: string[] = []
  for (let index = 0; index < 4; index++)
    await tryOpen().catch((error: TunnelError) => codes.push(error.code))
  assert.equal(codes.at(-1), 'CIRCUIT_OPEN', codes.join())
})

test('what a broken preOpen hook or policy refuses has certainly not been executed, and its user is told so', async (t) => {
  const proxy = await startProxy(t)
  const tunnel = await proxy.connect('alice')
  const post = () => tunnel.fetch('http://home:80/', { method: 'POST', body: 'pay' })
  const isRefusal = { code: 'INTERNAL', hop: 'proxy', refused: true }
  let isBroken = true
  proxy.app.tunnel.addHook('preOpen', () => {
    if (isBroken) throw new Error('the plugin has a mistake')
  })
  await assert.rejects(tunnel.exec('home', 'true'), isRefusal)
  await assert.rejects(post(), isRefusal)
  isBroken = false
  t.mock.method(proxy.app.rateLimits, 'takeStream', () => Promise.reject(new Error('so has this one')))
  await assert.rejects(tunnel.exec('home', 'true'), isRefusal)
})
