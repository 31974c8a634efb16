import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { appendFileSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { AuditFileOptions } from '../../../plugins/audit/file.ts'
import { type AuditLine, sealed } from '../../../plugins/audit/line.ts'
import { AuditTrail } from '../../../plugins/audit/trail.ts'
import { verifyTrail } from '../../../plugins/audit/verify.ts'
import { until } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'
import { smallDisk } from './small-disk.ts'

const ROOMY: AuditFileOptions = {
  maxBytes: 1_048_576,
  maxMs: 86_400_000,
  keep: 3,
  failed: assert.fail,
  recovered: assert.fail,
}

const fileFor = async (t: TestContext) => join(await tempFolder(t, 'audit'), 'audit.log')

/** One process' part of a trail. */
async function write(file: string, events: string[], options: Partial<AuditFileOptions> = {}): Promise<void> {
  const trail = new AuditTrail(file, { ...ROOMY, ...options })
  for (const event of events) trail.record({ event, userId: 'ann', machine: 'home' })
  await trail.close()
}

const linesOf = (file: string) => readFileSync(file, 'utf8').trimEnd().split('\n')
const eventsOf = (file: string) => linesOf(file).map((line) => (JSON.parse(line) as AuditLine).event)
const found = async (...files: string[]) =>
  (await verifyTrail(files)).findings.map(({ line, what }) => [line, what])

test('every line holds the hash of the one before, over restarts too, and a process says that it has closed', async (t) => {
  const file = await fileFor(t)
  await write(file, ['machine.enrolled', 'resume.refused'])
  await write(file, ['machine.trusted'])
  const [one, two, closed, three] = eventsOf(file)
  assert.deepEqual(
    [one, two, closed, three],
    ['machine.enrolled', 'resume.refused', 'audit.closed', 'machine.trusted'],
  )
  const { findings, notes, lines, head } = await verifyTrail([file])
  assert.deepEqual([findings, notes, lines], [[], [], 5])
  assert.equal(head?.hash, (JSON.parse(linesOf(file).at(-1) ?? '') as AuditLine).hash)
  assert.equal(statSync(file).mode & 0o777, 0o600)
})

test('each line that was changed, removed, put elsewhere, repeated, made up or cut off is named', async (t) => {
  const file = await fileFor(t)
  await write(file, ['a.one', 'a.two', 'a.three', 'a.four'])
  await write(file, ['b.one'])
  await write(file, ['c.one'])
  const lines = linesOf(file)
  const changed = lines[1]!.replace('a.two', 'a.TWO')
  const { hash: _, timestamp, chain, sequence, previous, ...two } = JSON.parse(changed) as AuditLine
  const resealed = sealed(timestamp, { chain, sequence, previous }, two).text
  const tampered: [what: string, lines: string[], expected: [number, RegExp][]][] = [
    ['one is changed', lines.with(1, changed), [[2, /was changed/]]],
    ['one is changed in its white space', lines.with(1, lines[1]!.replace(':', ': ')), [[2, /was changed/]]],
    ['one is changed, and its hash with it', lines.with(1, resealed), [[3, /does not follow/]]],
    ['one is removed', lines.toSpliced(1, 1), [[2, /a line is missing/]]],
    ['two are removed', lines.toSpliced(1, 2), [[2, /2 lines are missing/]]],
    ['the first is removed', lines.toSpliced(0, 1), [[1, /1 lines? of its process/]]],
    ['two have changed places', [lines[0]!, lines[2]!, lines[1]!, ...lines.slice(3)], [[3, /stands behind/]]],
    ['one is repeated', lines.toSpliced(2, 0, lines[1]!), [[3, /there twice/]]],
    ['a whole process is removed', lines.toSpliced(5, 2), [[6, /of another process, is missing/]]],
    ['the end of a process is removed', lines.toSpliced(4, 1), [[5, /of another process, is missing/]]],
    ['nonsense is put in', lines.toSpliced(2, 0, 'nonsense'), [[3, /not a whole line/]]],
    ['the last is cut off', lines.with(-1, lines.at(-1)!.slice(0, 50)), [[9, /not a whole line/]]],
  ]
  for (const [what, texts, expected] of tampered) {
    writeFileSync(file, `${texts.join('\n')}\n`)
    const findings = await found(file)
    assert.deepEqual(
      findings.map(([line, text], index) => [line, expected[index]?.[1].test(String(text)) ? true : text]),
      expected.map(([line]) => [line, true]),
      what,
    )
  }
})

test('what was cut off at the very end is seen by a hash that was kept elsewhere, and guessed at without', async (t) => {
  const file = await fileFor(t)
  await write(file, ['a.one', 'a.two'])
  const { head } = await verifyTrail([file])
  writeFileSync(file, `${linesOf(file)[0]}\n`)
  const { findings, notes } = await verifyTrail([file])
  assert.deepEqual(findings, [])
  assert.match(notes.join(), /has not closed its trail: .*lines are missing at the end/)
  assert.match(
    (await verifyTrail([file], head?.hash)).findings[0]?.what ?? '',
    /is not there: lines are missing/,
  )
})

test('half a line that a crash has left is a line of its own, and in order once the next process has seen it', async (t) => {
  const file = await fileFor(t)
  await write(file, ['a.one'])
  appendFileSync(file, '{"timestamp":"2026-')
  assert.match(String(await found(file)), /3,it is not a whole line/)
  await write(file, ['a.two'])
  const { findings, notes } = await verifyTrail([file])
  assert.deepEqual(findings, [])
  assert.match(notes.join(), /line 3: cut off when its process was killed/)
  writeFileSync(file, readFileSync(file, 'utf8').replace('"2026-\n', '"2025-\n'))
  assert.match(String(await found(file)), /3,it is not a whole line.*4,the last line before it/)
})

test('a trail goes on in another file when one is full or old; the oldest files go, and no other can be removed', async (t) => {
  const file = await fileFor(t)
  const folder = join(file, '..')
  const trail = new AuditTrail(file, { ...ROOMY, maxBytes: 4_096 })
  for (let count = 0; count < 100; count++) {
    trail.record({ event: 'a.line', details: { count, padding: '.'.repeat(200) } })
    // Files change between what is written together.
    await until(() => readFileSync(file, 'utf8').includes(`"count":${count},`) || count === 0)
  }
  await trail.close()
  const names = readdirSync(folder).sort()
  assert.equal(names.length, 4)
  assert.deepEqual(names.at(-1), 'audit.log')
  const files = names.map((name) => join(folder, name))
  const verdict = await verifyTrail([...files].reverse())
  assert.deepEqual(verdict.findings, [])
  assert.match(verdict.notes.join(), /follows on a file that is not here/)
  assert.equal(eventsOf(files[1]!)[0], 'audit.rotated')
  assert.match(linesOf(file)[0]!, /"from":"audit-\d{8}T\d{9}Z\.log","deleted":"audit-/)
  // A restart follows on the last line also where the newest file was set aside a moment ago.
  await write(file, ['b.one'], { maxMs: 1_000 })
  assert.deepEqual((await verifyTrail(files)).findings, [])
  assert.match(String(await found(...files.filter((_, index) => index !== 1))), /lines are missing before it/)
})

test('on a full disk nothing is lost up to a bound: it is told once, and goes on from the very byte when there is room', async (t) => {
  const folder = await smallDisk(t, 65_536)
  if (folder === undefined) return t.skip('no file system can be mounted here')
  const file = join(folder, 'audit.log')
  const told: string[] = []
  const trail = new AuditTrail(file, {
    ...ROOMY,
    maxBytes: 67_108_864,
    failed: (error) => told.push((error as NodeJS.ErrnoException).code ?? ''),
    recovered: () => told.push('recovered'),
  })
  trail.record({ event: 'a.first' })
  await until(() => statSync(file).size > 0)
  const ballast = join(folder, 'ballast')
  writeFileSync(ballast, Buffer.alloc(49_152))
  const padding = '.'.repeat(1_000)
  for (let count = 0; count < 50; count++) trail.record({ event: 'a.line', details: { count, padding } })
  await until(() => told.length > 0)
  assert.equal((trail.problem as NodeJS.ErrnoException).code, 'ENOSPC')
  // Far more than may wait for it.
  for (let count = 0; count < 8_000; count++) trail.record({ event: 'a.flood', details: { padding } })
  rmSync(ballast)
  trail.record({ event: 'a.late' })
  await until(() => statSync(file).size === 65_536)
  spawnSync('mount', ['-o', 'remount,size=64m', folder])
  await until(() => trail.problem === undefined)
  assert.deepEqual(told, ['ENOSPC', 'recovered'])
  trail.record({ event: 'a.last' })
  await trail.close()
  const { findings, lines } = await verifyTrail([file])
  assert.deepEqual(findings, [])
  const events = eventsOf(file)
  assert.equal(events.filter((event) => event === 'a.line').length, 50)
  const { details } = JSON.parse(
    linesOf(file).find((line) => line.includes('audit.lost')) ?? '{}',
  ) as AuditLine
  const flood = events.filter((event) => event === 'a.flood').length
  // Whatever was left out was counted.
  assert.equal(flood + Number(details?.lines), 8_001)
  assert.equal(trail.lostLines, details?.lines)
  assert.equal(trail.failures, 1)
  assert.ok(lines < 8_000)
})
