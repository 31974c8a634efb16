import assert from 'node:assert/strict'
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type AuditLine, AuditTrail, firstBrokenLine } from '../../../plugins/audit/trail.ts'
import { describe } from '../../../plugins/machines/host-keys.ts'
import { startProxy, until } from '../../support/proxy.ts'
import { newPublicKey } from '../../support/public-key.ts'
import { helloOf, RawClient } from '../links/raw-client.ts'

function fileFor(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'audit-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return join(dir, 'audit.log')
}

async function write(file: string, events: string[]): Promise<void> {
  const trail = new AuditTrail(file, assert.fail)
  for (const event of events) trail.record({ event, userId: 'ann', machine: 'home' })
  await trail.close()
}

test('every line holds the hash of the one before, over restarts too', async (t) => {
  const file = fileFor(t)
  await write(file, ['machine.enrolled', 'resume.refused'])
  await write(file, ['machine.trusted'])
  const text = readFileSync(file, 'utf8')
  const lines = text.trimEnd().split('\n')
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).event),
    ['machine.enrolled', 'resume.refused', 'machine.trusted'],
  )
  assert.equal(firstBrokenLine(text), undefined)
  assert.equal(statSync(file).mode & 0o777, 0o600)
})

test('a line that was changed or taken out is found', async (t) => {
  const file = fileFor(t)
  await write(file, ['a.one', 'a.two', 'a.three'])
  const text = readFileSync(file, 'utf8')
  const lines = text.trimEnd().split('\n')
  assert.equal(firstBrokenLine(text.replace('a.two', 'a.2')), 1)
  assert.equal(firstBrokenLine([lines[0], lines[2]].join('\n')), 1)
  assert.equal(firstBrokenLine([...lines, '{'].join('\n')), 3)
})

test('a whole run of the proxy that was taken out is found', async (t) => {
  const file = fileFor(t)
  for (const event of ['a.first', 'a.second', 'a.third']) await write(file, [event])
  const text = readFileSync(file, 'utf8')
  assert.equal(firstBrokenLine(text), undefined)
  const [first, , third] = text.trimEnd().split('\n')
  assert.equal(firstBrokenLine([first, third].join('\n')), 1)
  assert.equal(firstBrokenLine(third ?? ''), 0)
})

const skip = existsSync('/dev/full') ? undefined : 'there is no /dev/full'
test('a trail that could not be written is written again when it can be, and each lost line is told', {
  skip,
}, async (t) => {
  const file = fileFor(t)
  const failures: string[] = []
  const trail = new AuditTrail(file, (error) => failures.push((error as NodeJS.ErrnoException).code ?? ''))
  t.after(() => trail.close())
  trail.record({ event: 'a.one' })
  await until(() => existsSync(file) && statSync(file).size > 0)
  // Linux's device that is always full, in the file's place.
  rmSync(file)
  symlinkSync('/dev/full', file)
  const other = new AuditTrail(file, (error) => failures.push((error as NodeJS.ErrnoException).code ?? ''))
  for (const event of ['a.two', 'a.three']) {
    const before = failures.length
    other.record({ event })
    await until(() => failures.length > before)
  }
  assert.deepEqual(failures, ['ENOSPC', 'ENOSPC'])
  rmSync(file)
  other.record({ event: 'a.four' })
  await other.close()
  assert.match(readFileSync(file, 'utf8'), /a\.four/)
})

test('half a line that a crash or a full disk has left is a line of its own', async (t) => {
  const file = fileFor(t)
  await write(file, ['a.one'])
  appendFileSync(file, '{"timestamp":"2026-')
  await write(file, ['a.two'])
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
  assert.deepEqual(
    lines.map((line) => line.includes('a.one') || line.includes('a.two')),
    [true, false, true],
  )
  assert.equal(JSON.parse(lines[2] ?? '').event, 'a.two')
})

test('a machine that is enrolled, trusted and forgotten has a line of each, with whose it is and its keys', async (t) => {
  const proxy = await startProxy(t)
  const keys = [newPublicKey(), newPublicKey()]
  for (const [index, hostKey] of keys.entries()) {
    const agent = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('ann'), route: 'agent' })
    const enrol = { hostKeys: [hostKey], sshUser: 'me' }
    await agent.hello(helloOf({ role: 'agent', machine: 'home', enrol }))
    await until(() => proxy.log.filter(({ message }) => message === 'machine on line').length > index)
  }
  const answers = [
    await proxy.api('ann', 'machines/home/trust', { method: 'POST' }),
    await proxy.api('ann', 'machines/home', { method: 'DELETE' }),
    // What was refused changed nothing, and is no line.
    await proxy.api('ann', 'machines/home/trust', { method: 'POST' }),
    await proxy.api('ann', 'machines/home', { method: 'DELETE' }),
  ]
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 204, 404, 404],
  )
  await proxy.close()
  const text = readFileSync(join(proxy.settings.state.dir, 'audit.log'), 'utf8')
  assert.equal(firstBrokenLine(text), undefined)
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as AuditLine)
  assert.deepEqual(
    lines.map(({ event, userId, machine }) => `${event} ${userId} ${machine}`),
    ['enrolled', 'enrolled', 'trusted', 'forgotten'].map((what) => `machine.${what} ann home`),
  )
  const [first, second, trusted, forgotten] = lines.map(({ correlationId }) => correlationId)
  assert.equal(typeof first, 'string')
  assert.notEqual(first, second)
  const [trust, forget] = answers.map(({ headers }) => headers.get('x-correlation-id'))
  assert.deepEqual([trusted, forgotten], [trust, forget])
  assert.deepEqual(lines[2]?.details, { hostKeys: describe(keys[1]!).fingerprint })
})
