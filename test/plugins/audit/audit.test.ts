import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { AuditTrail, firstBrokenLine } from '../../../plugins/audit/trail.ts'

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
