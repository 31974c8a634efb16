import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { AuditLine } from '../../../plugins/audit/line.ts'
import { verifyTrail } from '../../../plugins/audit/verify.ts'
import { describe } from '../../../plugins/machines/host-keys.ts'
import { drop, listenTcp, startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { newPublicKey } from '../../support/public-key.ts'
import { helloOf, RawClient } from '../links/raw-client.ts'
import { smallDisk } from './small-disk.ts'

const fileOf = ({ settings }: TestProxy) => join(settings.state.dir, 'audit.log')

function linesOf(proxy: TestProxy): AuditLine[] {
  const lines = readFileSync(fileOf(proxy), 'utf8').trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line) as AuditLine)
}

test('a machine that is enrolled, changed, trusted and forgotten has a line of each, with whose it is and its keys', async (t) => {
  const proxy = await startProxy(t)
  const keys = [newPublicKey(), newPublicKey()]
  for (const [index, hostKey] of keys.entries()) {
    const agent = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('ann'), route: 'agent' })
    const enrol = { hostKeys: [hostKey], sshUser: 'me' }
    await agent.hello(helloOf({ role: 'agent', machine: 'home', enrol }))
    await until(() => proxy.log.filter(({ message }) => message === 'machine on line').length > index)
  }
  const [before = '', after = ''] = keys.map((key) => describe(key).fingerprint)
  const trust = (hostKeys: string[]) =>
    proxy.api('ann', 'machines/home/trust', { method: 'POST', body: { hostKeys } })
  const answers = [
    // Whoever has compared other keys than are shown by now trusts nothing.
    await trust([before]),
    await trust([after]),
    await proxy.api('ann', 'machines/home', { method: 'DELETE' }),
    // What was refused changed nothing, and is no line.
    await proxy.api('ann', 'machines/home/trust', { method: 'POST' }),
    await proxy.api('ann', 'machines/home', { method: 'DELETE' }),
  ]
  assert.deepEqual(
    answers.map(({ status }) => status),
    [502, 200, 204, 404, 404],
  )
  await proxy.close()
  assert.deepEqual((await verifyTrail([fileOf(proxy)])).findings, [])
  const lines = linesOf(proxy).filter(({ event }) => event.startsWith('machine.'))
  assert.deepEqual(
    lines.map(({ event, userId, machine, details }) => [`${event} ${userId} ${machine}`, details]),
    [
      ['machine.enrolled ann home', { hostKeys: before }],
      ['machine.key_changed ann home', { pinned: before, shown: after }],
      ['machine.enrolled ann home', { hostKeys: before }],
      ['machine.trusted ann home', { hostKeys: after, before }],
      ['machine.forgotten ann home', undefined],
    ],
  )
  const [trusted, forgotten] = lines.slice(3).map(({ correlationId }) => correlationId)
  const [, trusting, forgetting] = answers.map(({ headers }) => headers.get('x-correlation-id'))
  assert.deepEqual([trusted, forgotten], [trusting, forgetting])
})

test('who came, who was refused and why, each stream and each start and end have a line, and floods of strangers a sample', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'ann', await listenTcp(t, (socket) => socket.pipe(socket)))
  const tunnel = await proxy.connect('ann')
  const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
  drop(stream)
  await assert.rejects(tunnel.open({ machine: 'nowhere', kind: 'ssh' }), { code: 'MACHINE_UNKNOWN' })
  // A hundred in a row have a line, and then five a second, however long a busy computer takes.
  const sinceMs = performance.now()
  const told = () => 100 + 5 * Math.ceil((performance.now() - sinceMs) / 1_000)
  let asked = 0
  const ask = () => proxy.api(undefined, `machines?secret=hunter-${asked++}`)
  while (asked < told() + 25) await Promise.all(Array.from({ length: 25 }, ask))
  const most = told()
  await proxy.api(undefined, 'machines', { token: proxy.tokenOf('eve', { ttlSeconds: -3_600 }) })
  await tunnel.disconnect(0)
  await proxy.close()
  const lines = linesOf(proxy)
  const of = (name: string) => lines.filter(({ event }) => event === name)
  assert.deepEqual(of('proxy.started').length, 1)
  assert.deepEqual(lines.at(-1)?.event, 'audit.closed')
  assert.deepEqual(
    of('link.opened').map(({ userId, details }) => [userId, details?.role, details?.address]),
    [
      ['ann', 'agent', '127.0.0.1'],
      ['ann', 'client', '127.0.0.1'],
    ],
  )
  assert.equal(of('link.closed').length, 2)
  const [closed] = of('stream.closed')
  assert.deepEqual([closed?.userId, closed?.machine, closed?.details?.kind], ['ann', 'home', 'ssh'])
  for (const name of ['outcome', 'durationMs', 'bytesIn', 'bytesOut'])
    assert.ok(closed?.details?.[name] !== undefined, name)
  assert.equal(of('stream.refused')[0]?.details?.outcome, 'MACHINE_UNKNOWN')
  const refused = of('auth.refused')
  // The last is of a token that is over.
  assert.ok(refused.length > 100 && refused.length <= most + 1 && most < asked, `${refused.length}`)
  const { code, address, method, route } = refused[0]?.details ?? {}
  assert.deepEqual(
    [code, address, method, route],
    ['TOKEN_MISSING', '127.0.0.1', 'GET', '/api/tunnel/machines'],
  )
  assert.ok(refused.every(({ correlationId }) => correlationId !== undefined))
  const text = readFileSync(fileOf(proxy), 'utf8')
  for (const secret of ['hunter', proxy.settings.auth.secret, proxy.settings.ssh.masterSecret])
    assert.ok(!text.includes(secret))
})

test('a setting that was changed between two starts is told by the digest of the configuration, a secret is not in it', async (t) => {
  const proxy = await startProxy(t)
  proxy.settings.auth.secret = `another ${proxy.settings.auth.secret}`
  await proxy.restart()
  proxy.settings.tiers.free.links++
  await proxy.restart()
  await proxy.close()
  const starts = linesOf(proxy).filter(({ event }) => event === 'proxy.started')
  const [first, second, third] = starts.map(({ details }) => details?.configuration)
  assert.match(String(first), /^[0-9a-f]{64}$/)
  assert.deepEqual([first === second, second === third], [true, false])
})

test('with a full disk the policy says whether the proxy goes on, and it is not ready meanwhile', async (t) => {
  for (const onFailure of ['continue', 'refuse']) {
    const dir = await smallDisk(t, 65_536)
    if (dir === undefined) return t.skip('no file system can be mounted here')
    const proxy = await startProxy(t, { set: [`audit.dir=${dir}`, `audit.onFailure=${onFailure}`] })
    await proxy.startAgent('home', 'ann', await listenTcp(t, (socket) => socket.pipe(socket)))
    const tunnel = await proxy.connect('ann')
    const open = async () => drop(await tunnel.open({ machine: 'home', kind: 'ssh' }))
    await open()
    writeFileSync(join(dir, 'ballast'), Buffer.alloc(61_440))
    for (let count = 0; count < 200 && proxy.app.audit.problem === undefined; count++)
      await proxy.api(undefined, 'machines')
    await until(() => proxy.app.audit.problem !== undefined)
    assert.equal((await proxy.api(undefined, 'health/ready')).status, 503)
    const outcomes = await Promise.all([
      open().then(
        () => 'open',
        (error: { code: string }) => error.code,
      ),
      proxy.connect('ann').then(
        () => 'connected',
        (error: { code: string }) => error.code,
      ),
      proxy.api('ann', 'machines/home/trust', { method: 'POST' }).then(({ status }) => status),
      proxy.api('ann', 'machines').then(({ status }) => status),
    ])
    const isRefused = onFailure === 'refuse'
    assert.deepEqual(
      outcomes,
      isRefused ? ['STATE_UNAVAILABLE', 'STATE_UNAVAILABLE', 503, 200] : ['open', 'connected', 503, 200],
    )
    rmSync(join(dir, 'ballast'))
    await until(() => proxy.app.audit.problem === undefined)
    await open()
    assert.equal((await proxy.api(undefined, 'health/ready')).status, 200)
    await proxy.close()
    assert.deepEqual((await verifyTrail([join(dir, 'audit.log')])).findings, [])
    // Told once, whatever could not be written.
    assert.equal(proxy.log.filter(({ message }) => /cannot be written/.test(message)).length, 1)
  }
})
